"""What is worth a label: each reason by itself, bounds by the hour, no second picture of the same thing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence.keeping import (
    LABELS_REMEMBERED,
    HourlyQuota,
    KeepRules,
    Look,
    Occasion,
    RecentLooks,
    alike,
    reasons_to_keep,
)
from edge_agent.records import HoldReason, KeepReason, Region, Verdict
from tests.evidence.samples import inspection

RULES = KeepRules(pass_share=0.01, near_threshold=0.1)


def reasons(verdict=Verdict.PASS, *, rules=RULES, draw=0.99, unlikeness=None, requested=False, **other):
    occasion = Occasion(inspection=inspection(verdict, **other), draw=draw, unlikeness=unlikeness, requested=requested)
    return reasons_to_keep(occasion, rules)


@pytest.mark.parametrize(
    ("expected", "case"),
    [
        ((), {}),
        ((KeepReason.FAIL,), {"verdict": Verdict.FAIL}),
        ((KeepReason.HOLD,), {"verdict": Verdict.HOLD}),
        ((), {"verdict": Verdict.HOLD, "reason": HoldReason.DARK}),
        ((KeepReason.NEAR_THRESHOLD,), {"score": 0.61}),
        ((KeepReason.FAIL, KeepReason.NEAR_THRESHOLD), {"verdict": Verdict.FAIL, "score": 0.75}),
        ((), {"score": 0.55}),
        ((), {"score": None}),
        ((KeepReason.UNLIKE,), {"unlikeness": 1.0}),
        ((), {"unlikeness": 0.99}),
        ((KeepReason.RANDOM,), {"draw": 0.009}),
        ((KeepReason.FAIL,), {"verdict": Verdict.FAIL, "draw": 0.0}),
        ((KeepReason.REQUEST,), {"requested": True}),
    ],
)
def test_each_reason_keeps_what_it_names(expected, case):
    assert reasons(**case) == expected


@pytest.mark.parametrize("reason", [reason for reason in KeepReason if reason is not KeepReason.IMPORT])
def test_a_reason_that_is_not_asked_for_keeps_nothing(reason):
    rules = KeepRules(reasons=frozenset(KeepReason) - {reason})

    assert reason not in reasons(Verdict.FAIL, rules=rules, score=0.7, unlikeness=9.0, requested=True, draw=0.0)


def test_the_quota_of_a_reason_is_full_after_so_many_in_an_hour_and_opens_as_time_passes():
    quota = HourlyQuota()
    fail = (KeepReason.FAIL,)
    admitted = [quota.admit("top", fail, mono_s, 3) for mono_s in (0.0, 10.0, 20.0, 30.0, 3599.9, 3600.0, 3601.0)]

    assert admitted == [True, True, True, False, False, True, False]


def test_a_flood_of_one_reason_leaves_room_for_another_and_for_other_cameras_and_what_is_asked_for_always_fits():
    quota = HourlyQuota()
    for _ in range(5):
        quota.admit("top", (KeepReason.FAIL,), 0.0, 2)

    assert quota.admit("top", (KeepReason.FAIL, KeepReason.NEAR_THRESHOLD), 0.0, 2)
    assert quota.admit("side", (KeepReason.FAIL,), 0.0, 2)
    assert quota.admit("top", (KeepReason.REQUEST, KeepReason.FAIL), 0.0, 2)
    assert not quota.admit("top", (KeepReason.FAIL,), 0.0, 2)


BOX = Region(x=0.1, y=0.1, width=0.2, height=0.2)


def look(likeness=0, *, verdict=Verdict.FAIL, label="scratch", score=0.9, where=None):
    return Look(likeness=likeness, verdict=verdict, label=label, score=score, where=where)


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (True, look(0b1111)),
        (False, look(0b11111)),
        (False, look(label="dent")),
        (False, look(verdict=Verdict.HOLD)),
        (False, look(score=0.75)),
        (True, look(score=0.85)),
        (False, look(where=BOX)),
    ],
)
def test_like_means_looks_label_certainty_and_place(same, other):
    assert alike(look(), other, 4) == same
    assert alike(other, look(), 4) == same


def test_a_defect_elsewhere_on_a_part_that_looks_the_same_is_new():
    elsewhere = Region(x=0.6, y=0.6, width=0.2, height=0.2)
    beside = Region(x=0.25, y=0.25, width=0.2, height=0.2)

    assert not alike(look(where=BOX), look(where=elsewhere), 4)
    assert alike(look(where=BOX), look(where=beside), 4)


def test_what_was_kept_lately_is_not_kept_again_unless_another_camera_sees_it_or_nothing_counts_as_alike():
    looks = RecentLooks()
    looks.add("top", look())

    assert not looks.is_new("top", look(1), 4)
    assert looks.is_new("top", look(0xFF), 4)
    assert looks.is_new("side", look(1), 4)
    assert looks.is_new("top", look(), None)


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(["a", "b", "c"])), max_size=60), st.integers(0, 12)
)
def test_no_two_that_were_kept_are_alike(pictures, bits):
    looks, kept = RecentLooks(), []
    for likeness, label in pictures:
        one = look(likeness, label=label)
        if looks.is_new("top", one, bits):
            looks.add("top", one)
            kept.append(one)

    assert not any(alike(one, other, bits) for place, one in enumerate(kept) for other in kept[:place])


def test_models_that_invent_labels_do_not_fill_the_memory():
    looks = RecentLooks()
    for number in range(3 * LABELS_REMEMBERED):
        looks.add("top", look(label=f"class {number}"))

    assert len(looks._looks) == LABELS_REMEMBERED
