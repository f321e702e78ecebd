"""The rules of the line: exactly one verdict for every input, never a PASS by accident."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inspect.decide import TABLE, Look, Memory, Rules, State, decide, with_thresholds
from edge_agent.records import Assessment, HoldReason, Region, Verdict

ORDER = {Verdict.PASS: 0, Verdict.HOLD: 1, Verdict.FAIL: 2}
shares = st.floats(0, 1)


@st.composite
def some_rules(draw):
    lower, upper = sorted((draw(shares), draw(shares)))
    looks = draw(st.integers(1, 6))
    return Rules(
        threshold=upper,
        hold_below=lower,
        fails_needed=draw(st.integers(1, looks)),
        looks=looks,
        hysteresis=draw(shares),
    )


memories = st.builds(Memory, state=st.sampled_from(State), hits=st.lists(st.booleans(), max_size=8).map(tuple))


def a_look(score, *, heat=None, hold=None):
    return Assessment(label="crack", score=score, heat=heat, hold=hold)


def verdicts(scores, rules):
    memory, given_verdicts = Memory(), []
    for score in scores:
        decision, memory = decide(a_look(score), rules, memory)
        given_verdicts.append(decision.verdict.value[0])
    return "".join(given_verdicts)


@given(score=st.floats(), rules=some_rules(), memory=memories, hold=st.none() | st.sampled_from(HoldReason))
def test_every_input_gives_one_verdict_and_a_reason_exactly_when_it_is_a_hold(score, rules, memory, hold):
    decision, after = decide(a_look(score, hold=hold), rules, memory)
    assert decision.verdict in Verdict
    assert (decision.verdict is Verdict.HOLD) == (decision.reason is not None)
    assert len(after.hits) <= max(rules.looks, len(memory.hits))
    if hold is not None:
        assert decision.reason is hold
        assert after == memory


@given(one=shares, other=shares, rules=some_rules(), memory=memories)
def test_a_higher_score_never_gives_a_milder_verdict(one, other, rules, memory):
    lower, higher = sorted((one, other))
    mild, _ = decide(a_look(lower), rules, memory)
    hard, _ = decide(a_look(higher), rules, memory)
    assert ORDER[mild.verdict] <= ORDER[hard.verdict]


@given(score=st.sampled_from([math.nan, math.inf, -math.inf, -0.001, 1.001]), rules=some_rules(), memory=memories)
def test_a_score_that_is_no_probability_is_held_and_remembered_by_nobody(score, rules, memory):
    decision, after = decide(a_look(score), rules, memory)
    assert (decision.verdict, decision.reason) == (Verdict.HOLD, HoldReason.MODEL)
    assert after == memory


@given(scores=st.lists(shares, max_size=12), rules=some_rules())
def test_lines_that_look_once_judge_each_part_by_itself(scores, rules):
    once = replace(rules, fails_needed=1, looks=1, hysteresis=0.0)
    alone = [decide(a_look(score), once, Memory())[0].verdict.value[0] for score in scores]
    assert verdicts(scores, once) == "".join(alone)


@given(scores=st.lists(shares, max_size=20), rules=some_rules())
def test_without_hysteresis_a_new_fail_has_n_hits_among_the_last_m_looks(scores, rules):
    plain = replace(rules, hysteresis=0.0)
    given_verdicts = verdicts(scores, plain)
    for place, verdict in enumerate(given_verdicts):
        if verdict == "F" and (place == 0 or given_verdicts[place - 1] != "F"):
            window = scores[max(0, place + 1 - plain.looks) : place + 1]
            assert sum(score >= plain.threshold for score in window) >= plain.fails_needed


def test_the_table_has_a_row_for_every_state_and_look():
    assert set(TABLE) == set(State)
    for row in TABLE.values():
        assert set(row) == set(Look)


def test_thresholds_split_scores_into_pass_hold_and_fail():
    rules = Rules(threshold=0.8, hold_below=0.3)
    assert verdicts([0.0, 0.29, 0.3, 0.79, 0.8, 1.0], rules) == "PPHHFF"


def test_two_of_three_looks_must_fail_before_a_fail_is_reported():
    rules = Rules(fails_needed=2, looks=3)
    assert verdicts([0.9, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1], rules) == "HPFPPHFFP"


def test_after_a_fail_the_threshold_is_lower_until_a_look_stays_below_it():
    rules = Rules(threshold=0.8, hold_below=0.5, hysteresis=0.2)
    assert verdicts([0.7, 0.8, 0.7, 0.65, 0.55, 0.7, 0.4], rules) == "HFFFHHP"
    decision, memory = decide(a_look(0.9), rules, Memory())
    assert decision.threshold == 0.8
    decision, _ = decide(a_look(0.7), rules, memory)
    assert decision.threshold == pytest.approx(0.6)


def test_a_part_that_may_be_defective_says_where_and_a_good_one_does_not():
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1.0
    rules = Rules(threshold=0.8, hold_below=0.3)
    box = Region(x=0.5, y=0.0, width=0.5, height=0.5)
    found = [decide(a_look(score, heat=heat), rules, Memory())[0].where for score in (0.1, 0.5, 0.9, math.nan)]
    assert found == [None, box, box, None]
    assert decide(a_look(0.9), rules, Memory())[0].where is None


def test_a_camera_can_have_its_own_thresholds_and_the_other_follows():
    rules = Rules(threshold=0.6, hold_below=0.4)
    assert with_thresholds(rules, None, None) == rules
    assert with_thresholds(rules, 0.9, None) == replace(rules, threshold=0.9)
    assert with_thresholds(rules, 0.2, None) == replace(rules, threshold=0.2, hold_below=0.2)
    assert with_thresholds(rules, None, 0.7) == replace(rules, threshold=0.7, hold_below=0.7)
    assert with_thresholds(rules, 0.9, 0.1) == replace(rules, threshold=0.9, hold_below=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.2},
        {"threshold": math.nan},
        {"hold_below": 0.6},
        {"hold_below": -0.1},
        {"fails_needed": 2},
        {"fails_needed": 0},
        {"looks": 1001},
        {"hysteresis": -0.1},
        {"region_share": 0.0},
    ],
)
def test_rules_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Rules(**wrong)


@pytest.mark.parametrize(
    ("unlikeness", "hold_unlike", "verdict"),
    [
        (None, 1.0, Verdict.PASS),
        (0.99, 1.0, Verdict.PASS),
        (1.0, 1.0, Verdict.HOLD),
        (math.nan, 1.0, Verdict.HOLD),
        (50.0, None, Verdict.PASS),
    ],
)
def test_a_part_unlike_anything_known_passes_unless_the_camera_wants_it_held(unlikeness, hold_unlike, verdict):
    look = Assessment(label="ok", score=0.1, unlikeness=unlikeness)

    decision, memory = decide(look, Rules(hold_unlike=hold_unlike), Memory())

    assert decision.verdict is verdict
    assert (decision.reason is HoldReason.UNSURE) == (verdict is Verdict.HOLD)
    assert memory == Memory()


def test_a_defect_fails_however_unlike_it_is():
    decision, _ = decide(Assessment(label="pit", score=0.9, unlikeness=9.0), Rules(hold_unlike=1.0), Memory())

    assert decision.verdict is Verdict.FAIL
