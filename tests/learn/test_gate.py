"""The gate: a worse model never passes, and how sure we are is part of the answer."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.learn.gate import Examination, Judged, Outcome, Policy, compare, paired_interval, rule

POLICY = Policy()


def parts(*, both, won=0, lost=0, neither=0, defect=False):
    """Judged parts: how many of them each model was right about."""
    kinds = [(both, True, True), (won, False, True), (lost, True, False), (neither, False, False)]
    return tuple(
        Judged(defect=defect, active_right=active, candidate_right=candidate)
        for count, active, candidate in kinds
        for _ in range(count)
    )


def ruled(judged, **found):
    return rule(Examination(judged=tuple(judged), **found), POLICY)


ENOUGH = parts(both=300) + parts(both=300, defect=True)


# The interval


def constrained_score(won, lost, count, difference):
    """The score statistic with the likeliest nuisance share found by trying, not by the square equation."""
    shares = np.linspace(max(0.0, -difference), (1 - difference) / 2, 200_001)[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (
            won * np.log(shares + difference)
            + (lost * np.log(shares) if lost else 0.0)
            + (count - won - lost) * np.log(1 - 2 * shares - difference)
        )
    share = shares[np.nanargmax(likelihood)]
    return (won - lost - count * difference) / math.sqrt(count * (2 * share + difference * (1 - difference)))


@pytest.mark.parametrize(("won", "lost", "count"), [(0, 1, 44), (3, 9, 60), (12, 5, 200), (30, 30, 100), (1, 14, 15)])
def test_the_ends_are_where_the_score_against_the_likeliest_nuisance_is_at_its_limit(won, lost, count):
    low, high = paired_interval(won, lost, count, 0.975)

    assert constrained_score(won, lost, count, low) == pytest.approx(1.96, abs=0.01)
    assert constrained_score(won, lost, count, high) == pytest.approx(-1.96, abs=0.01)


@pytest.mark.parametrize("count", [1, 44, 1000])
def test_where_no_part_differs_the_interval_is_not_empty(count):
    # Then the likeliest share is 0, and the square equation has a solution in closed form.
    end = 1.959964**2 / (count + 1.959964**2)

    assert paired_interval(0, 0, count, 0.975) == pytest.approx((-end, end), abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.floats(0.6, 0.99))
def test_the_interval_holds_its_estimate_lies_within_minus_1_to_1_and_mirrors(won, lost, same, confidence):
    count = won + lost + same
    if count == 0:
        return
    low, high = paired_interval(won, lost, count, confidence)

    assert -1.0 <= low <= (won - lost) / count <= high <= 1.0
    assert paired_interval(lost, won, count, confidence) == pytest.approx((-high, -low), abs=1e-9)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 100))
def test_more_confidence_makes_it_wider_and_more_parts_narrower(won, lost, same):
    count = won + lost + same
    narrow, wide = paired_interval(won, lost, count, 0.8), paired_interval(won, lost, count, 0.99)
    tenfold = paired_interval(10 * won, 10 * lost, 10 * count, 0.8)

    assert wide[0] <= narrow[0] <= tenfold[0] + 1e-12
    assert tenfold[1] <= narrow[1] + 1e-12
    assert narrow[1] <= wide[1] + 1e-12


@pytest.mark.parametrize(("true_won", "true_lost"), [(0.03, 0.03), (0.02, 0.06), (0.0, 0.01), (0.2, 0.2)])
def test_a_lower_end_is_too_high_about_as_seldom_as_its_confidence_says(true_won, true_lost):
    rng = np.random.default_rng(20261124)
    draws = rng.multinomial(120, [true_won, true_lost, 1 - true_won - true_lost], size=2000)
    ends = {tuple(draw[:2]): paired_interval(int(draw[0]), int(draw[1]), 120, 0.95)[0] for draw in draws}

    too_high = np.mean([ends[tuple(draw[:2])] > true_won - true_lost for draw in draws])

    assert too_high <= 0.075  # 5 % by name; the score interval is known to be a little off either way


def test_counts_that_cannot_be_are_a_fault_of_the_caller():
    for counts in ((-1, 0, 5), (0, 0, 0), (4, 4, 5)):
        with pytest.raises(ValueError, match="expected counts"):
            paired_interval(*counts, 0.95)


# The ruling


def test_a_candidate_that_is_as_good_on_many_sealed_parts_passes():
    ruling = ruled(ENOUGH)

    assert ruling.outcome is Outcome.PASS
    assert ruling.reasons == ()
    assert ruling.accuracy.low == pytest.approx(0, abs=0.01)


def test_a_candidate_that_is_clearly_worse_is_refused_with_its_figures():
    ruling = ruled(parts(both=500, lost=40) + parts(both=100, defect=True))

    assert ruling.outcome is Outcome.REFUSE
    assert "-6.25%" in ruling.reasons[0]
    assert "640 parts, 0 won, 40 lost" in ruling.reasons[0]


def test_defects_that_are_missed_cannot_be_made_good_by_good_parts_passed():
    ruling = ruled(parts(both=500, won=60) + parts(both=80, lost=20, defect=True))

    assert ruling.outcome is Outcome.REFUSE
    assert ruling.accuracy.share > 0
    assert [reason.partition(":")[0] for reason in ruling.reasons] == ["defects found"]


def test_too_few_sealed_parts_prove_nothing_and_refuse_nothing():
    ruling = ruled(parts(both=10) + parts(both=3, won=1, defect=True))

    assert ruling.outcome is Outcome.UNPROVEN
    assert ruling.reasons == (
        "right answers: 14 sealed parts, 30 are wanted",
        "defects found: 4 sealed parts, 10 are wanted",
    )


def test_no_sealed_parts_at_all_prove_nothing():
    assert ruled(()).outcome is Outcome.UNPROVEN


def test_few_parts_are_enough_to_refuse_what_is_plainly_worse():
    ruling = ruled(parts(both=5, lost=12))

    assert ruling.outcome is Outcome.REFUSE
    assert "on these it is worse" in ruling.reasons[0]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"faults": ("golden picture 0: off",)}, "golden picture 0: off"),
        ({"latency_ms": 21.0, "latency_limit_ms": 20.0}, "latency: 21 ms, at most 20"),
        ({"memory_bytes": 2e9, "memory_limit_bytes": 1e9}, "memory: 1907 MiB, at most 953.7"),
        ({"agreement": 0.9}, "int8 and float agree on 90.00% of 0 parts"),
    ],
)
def test_one_rule_that_is_broken_refuses_however_good_the_rest_is(found, words):
    ruling = ruled(ENOUGH, **found)

    assert ruling.outcome is Outcome.REFUSE
    assert words in ruling.reasons[0]


@pytest.mark.parametrize("found", [{"latency_ms": math.nan, "latency_limit_ms": 20.0}, {"agreement": math.nan}])
def test_what_is_not_a_number_is_no_pass(found):
    assert ruled(ENOUGH, **found).outcome is Outcome.REFUSE


@pytest.mark.parametrize(
    ("differ", "of", "outcome"), [(1, 64, Outcome.PASS), (2, 64, Outcome.UNPROVEN), (6, 64, Outcome.REFUSE)]
)
def test_a_few_parts_on_which_int8_and_float_differ_leave_it_open_and_many_refuse(differ, of, outcome):
    assert ruled(ENOUGH, agreement=1 - differ / of, agreement_parts=of).outcome is outcome


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300), st.integers(0, 30), st.integers(0, 30))
def test_a_candidate_that_passes_never_lost_more_than_the_margin(won, lost, both, defects_won, defects_lost):
    judged = parts(both=both, won=won, lost=lost) + parts(both=50, won=defects_won, lost=defects_lost, defect=True)
    ruling = ruled(judged)

    if ruling.outcome is Outcome.PASS:
        assert ruling.accuracy.share >= -POLICY.margin
        assert ruling.recall.share >= -POLICY.recall_margin


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 300))
def test_losing_one_more_part_never_helps(won, lost, both):
    order = [Outcome.PASS, Outcome.UNPROVEN, Outcome.REFUSE]
    rest = parts(both=100, defect=True)
    better = ruled(parts(both=both + 1, won=won, lost=lost - 1) + rest)
    worse = ruled(parts(both=both, won=won, lost=lost) + rest)

    assert order.index(better.outcome) <= order.index(worse.outcome)


def test_nothing_judged_is_compared_with_nothing():
    assert compare((), 0.95) is None
