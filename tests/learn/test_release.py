"""What may go into force on live parts: a table of stages, and laws that no tally may break."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.learn.release import (
    PASSED_OVER,
    PATIENCE,
    TABLE,
    Case,
    Event,
    Policy,
    Stage,
    after,
    limit_of,
    rule,
)
from edge_agent.learn.tally import CELLS, Opinions, Tally, alone, cell, counted, heard, share_interval
from edge_agent.records import Verdict

PASS, FAIL, HOLD = Verdict.PASS, Verdict.FAIL, Verdict.HOLD
counts = st.integers(0, 400)
tallies = st.builds(
    Tally,
    verdicts=st.lists(counts, min_size=CELLS, max_size=CELLS).map(tuple),
    blamed=st.integers(0, 20),
    reference_errors=counts,
    candidate_errors=counts,
    alone=st.integers(0, 10_000),
)
cases = st.builds(
    Case,
    stage=st.sampled_from(Stage),
    shadow=tallies,
    probation=tallies,
    shares_network=st.booleans(),
    waited_s=st.floats(0, 1e6),
    won=st.integers(0, 5),
    sealed=st.integers(5, 50),
    crashes=st.integers(0, 5),
)


def of(**pairs):
    """A tally of so many parts: PASS_FAIL=3 are three that the reference passed and the candidate failed."""
    verdicts = [0] * CELLS
    for pair, number in pairs.items():
        reference, candidate = pair.split("_")
        verdicts[cell(Verdict(reference), Verdict(candidate))] = number
    return Tally(verdicts=tuple(verdicts))


def ruled(stage=Stage.SHADOW, policy=None, **fields):
    made = {"shadow": Tally(), "probation": Tally(), "shares_network": True, "waited_s": 0.0, **fields}
    return rule(Case(stage=stage, **made), policy or Policy())


# --- the table -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("event", Event)
def test_every_stage_and_event_moves_or_means_nothing_and_what_is_closed_stays_closed(stage, event):
    found = after(stage, event)
    assert found is None or found in Stage
    assert stage.open or found is None


@pytest.mark.parametrize("stage", TABLE)
def test_from_every_open_stage_a_person_can_end_it_and_whoever_chooses_by_hand_does(stage):
    assert not after(stage, Event.REFUSED).open
    assert after(stage, Event.MOVED) is Stage.ENDED


def test_nothing_comes_into_force_but_by_what_is_sound_or_what_a_person_confirms():
    ways = {(stage, event) for stage, row in TABLE.items() for event, to in row.items() if to is Stage.PROBATION}
    assert {event for _, event in ways} == {Event.SOUND, Event.CONFIRMED}


# --- laws ----------------------------------------------------------------------------------------------------------


@given(case=cases)
def test_an_event_that_is_ruled_always_means_something_and_always_has_a_reason(case):
    ruling = rule(case, Policy())
    assert ruling.event is None or (after(case.stage, ruling.event) is not None and ruling.reasons)


@given(case=cases, wait_s=st.floats(0, 100))
def test_a_candidate_that_differs_on_more_than_the_limit_never_goes_into_force_nor_stays_by_itself(case, wait_s):
    policy = Policy(wait_s=wait_s)
    ruling = rule(case, policy)
    if case.tally.parts and case.tally.suspicious / case.tally.parts > limit_of(case, policy):
        assert ruling.event is not Event.SOUND


@given(case=cases)
def test_where_a_person_is_to_be_asked_nothing_goes_into_force_by_itself(case):
    ruling = rule(case, Policy(by_person=True))
    if case.stage in (Stage.SHADOW, Stage.WAITING):
        assert ruling.event in (None, Event.ASKED, Event.WORSE)


@given(case=cases, scale=st.integers(0, 3))
def test_every_shadow_run_and_every_probation_ends_with_the_parts_that_come(case, scale):
    policy = Policy(shadow_parts=50 * scale, probation_parts=50 * scale)
    enough = tuple(number + PATIENCE * 50 for number in case.tally.verdicts)
    full = dataclasses.replace(case.tally, verdicts=enough)
    case = dataclasses.replace(case, shadow=full, probation=full)
    if case.stage in (Stage.SHADOW, Stage.PROBATION):
        assert rule(case, policy).event is not None


@given(candidate=st.sampled_from((None, *Verdict)), stage=st.sampled_from((Stage.SHADOW, Stage.PROBATION)))
def test_every_trial_ends_though_no_part_ever_has_a_second_opinion(candidate, stage):
    policy = Policy()
    tally = Tally(alone=PASSED_OVER * max(policy.shadow_parts, policy.probation_parts))
    for _ in range(3):
        tally = counted(tally, Opinions(reference=None, candidate=candidate, reference_ms=1, candidate_ms=1), None)
    assert ruled(stage, shadow=tally, probation=tally, shares_network=False).event is not None


@given(case=cases)
def test_what_is_worse_with_one_crash_is_worse_with_more(case):
    if rule(case, Policy()).event is Event.WORSE:
        assert rule(dataclasses.replace(case, crashes=case.crashes + 1), Policy()).event is Event.WORSE


# --- the interval --------------------------------------------------------------------------------------------------


@given(parts=st.integers(0, 5000), share=st.floats(0, 1))
def test_the_interval_holds_the_share_that_was_seen_and_lies_within_0_and_1(parts, share):
    hits = round(parts * share)
    low, high = share_interval(hits, parts, 0.95)
    assert 0.0 <= low <= (hits / parts if parts else 0.5) <= high <= 1.0


@given(parts=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_interval_is_the_same_seen_from_the_other_side(parts, share):
    hits = round(parts * share)
    low, high = share_interval(hits, parts, 0.95)
    mirrored = share_interval(parts - hits, parts, 0.95)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_the_interval_misses_the_truth_no_more_often_than_it_says_however_often_one_looks(share):
    rng = np.random.default_rng(20261124)
    missed = 0
    for _ in range(200):
        hits = np.cumsum(rng.random(400) < share)
        missed += any(
            not low <= share <= high
            for low, high in (share_interval(int(hits[n - 1]), n, 0.95) for n in range(10, 401, 10))
        )
    assert missed / 200 <= 0.05


@pytest.mark.parametrize(("hits", "parts"), [(-1, 5), (6, 5)])
def test_counts_that_cannot_be_are_refused(hits, parts):
    with pytest.raises(ValueError, match="expected 0 <= hits <= parts"):
        share_interval(hits, parts, 0.95)


# --- shadow runs ---------------------------------------------------------------------------------------------------


def test_a_candidate_that_says_the_same_goes_into_force_after_the_parts_that_are_wanted_and_not_before():
    assert ruled(shadow=of(PASS_PASS=190, FAIL_FAIL=9)).event is None
    assert ruled(shadow=of(PASS_PASS=191, FAIL_FAIL=9)).event is Event.SOUND


def test_a_candidate_that_fails_every_part_is_dismissed_after_a_few_of_them():
    assert ruled(shadow=of(PASS_FAIL=9)).event is None
    ruling = ruled(shadow=of(PASS_FAIL=10))
    assert ruling.event is Event.WORSE
    assert "differs on 10 of 10 parts" in ruling.reasons[0]


def test_a_candidate_that_is_blind_is_dismissed_though_few_parts_are_bad():
    ruling = ruled(shadow=of(PASS_PASS=490, FAIL_PASS=12))
    assert ruling.event is Event.WORSE
    assert "that the other fails" in ruling.reasons[0]


def test_a_head_waits_a_while_for_live_parts_and_then_goes_into_force_as_unproven():
    assert ruled(shadow=of(PASS_PASS=12), waited_s=5).event is None
    ruling = ruled(shadow=of(PASS_PASS=12), waited_s=10)
    assert ruling.event is Event.SOUND
    assert "unproven: 12 of 200 live parts" in ruling.reasons[0]
    assert ruled(shadow=of(PASS_PASS=12), waited_s=1e6, shares_network=False).event is None


def test_what_people_said_of_differing_parts_counts_instead_of_the_difference():
    tally = of(PASS_PASS=10, FAIL_PASS=10)
    assert ruled(shadow=tally).event is Event.WORSE
    for _ in range(10):
        tally = heard(tally, FAIL, PASS, defect=False)
    assert ruled(shadow=tally, waited_s=20).event is Event.SOUND
    tally = of(PASS_PASS=300, PASS_FAIL=12)
    assert ruled(shadow=tally).event is Event.SOUND
    for _ in range(12):
        tally = heard(tally, PASS, FAIL, defect=False)
    assert "people say that it is wrong about 12 of 12" in ruled(shadow=tally).reasons[0]


def test_the_hold_out_lets_expect_as_much_difference_as_it_shows_for_certain():
    tally = of(PASS_PASS=160, HOLD_PASS=40)
    assert ruled(shadow=tally).event is Event.WORSE
    assert ruled(shadow=tally, won=40, sealed=80).event is Event.SOUND
    assert ruled(shadow=tally, won=1, sealed=2).event is Event.WORSE


def test_a_network_that_gets_no_time_is_dismissed_with_the_reason():
    ruling = ruled(shadow=Tally(alone=4000), shares_network=False)
    assert ruling.event is Event.WORSE
    assert "no time to try it" in ruling.reasons[0]


def test_without_a_shadow_run_it_goes_into_force_at_once_and_with_a_person_asked_it_waits():
    assert ruled(policy=Policy(shadow_parts=0)).event is Event.SOUND
    assert ruled(policy=Policy(shadow_parts=0, by_person=True)).event is Event.ASKED


# --- probation -----------------------------------------------------------------------------------------------------


def test_probation_keeps_what_stays_sound():
    assert ruled(Stage.PROBATION, probation=of(PASS_PASS=499)).event is None
    assert ruled(Stage.PROBATION, probation=of(PASS_PASS=495, PASS_FAIL=5)).event is Event.SOUND


def test_probation_ends_at_the_first_clear_sign_of_each_kind():
    fine = of(PASS_PASS=100)
    assert "gives no answer" in ruled(Stage.PROBATION, probation=Tally(candidate_errors=2)).reasons[0]
    slow = dataclasses.replace(fine, slow=10, timed=100)
    assert "takes more than 50 ms" in ruled(Stage.PROBATION, Policy(latency_ms=50), probation=slow).reasons[0]
    assert ruled(Stage.PROBATION, probation=slow).event is None
    assert "ended 2 times" in ruled(Stage.PROBATION, probation=fine, crashes=2).reasons[0]
    assert ruled(Stage.PROBATION, probation=fine, crashes=1).event is None
    drifted = of(PASS_PASS=170, PASS_FAIL=30)
    assert ruled(Stage.PROBATION, probation=drifted).event is None
    assert "in its shadow run" in ruled(Stage.PROBATION, shadow=of(PASS_PASS=500), probation=drifted).reasons[0]


def test_a_machine_that_is_too_slow_for_both_speaks_against_neither():
    busy = dataclasses.replace(of(PASS_PASS=100), slow=20, timed=100, reference_slow=18)
    assert ruled(Stage.SHADOW, Policy(latency_ms=50), shadow=busy).event is None
    assert ruled(Stage.PROBATION, Policy(latency_ms=50), shadow=busy, probation=busy).event is None
    alone_slow = dataclasses.replace(busy, reference_slow=0)
    assert ruled(Stage.SHADOW, Policy(latency_ms=50), shadow=alone_slow).event is Event.WORSE


def test_slow_parts_count_also_where_nobody_had_a_second_look():
    tally = Tally()
    for _ in range(5):
        tally = alone(tally, 80.0, 50.0)
    assert (tally.alone, tally.slow, tally.timed) == (5, 5, 5)
    assert ruled(Stage.PROBATION, Policy(latency_ms=50), probation=tally).event is Event.WORSE
    assert alone(Tally(), None, 50.0) == Tally(alone=1)
