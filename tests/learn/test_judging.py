"""Right or wrong about a part of known truth, for models that do not know the same."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.learn.judging import NOTHING, Said, Terms, is_defect, is_right, judged, scored

PLAIN = Terms(classes=frozenset({"ok", "scratch"}), good=frozenset({"ok"}), threshold=0.5)
KNOWS_DENTS = Terms(classes=frozenset({"ok", "scratch", "dent"}), good=frozenset({"ok"}), threshold=0.5)
LENIENT = Terms(classes=frozenset({"ok", "scratch"}), good=frozenset({"ok", "scratch"}), threshold=0.5)
ONLY_DEFECTS = Terms(classes=frozenset({"scratch", "dent"}), good=frozenset(), threshold=0.5)


@pytest.mark.parametrize(
    ("truth", "terms", "defect"),
    [
        ("ok", (PLAIN, PLAIN), False),
        ("scratch", (PLAIN, PLAIN), True),
        ("dent", (PLAIN, KNOWS_DENTS), True),  # new to one of them
        ("dent", (PLAIN, PLAIN), True),  # new to both: nobody calls it good
        ("ok", (PLAIN, ONLY_DEFECTS), False),  # good by the only one that knows it
        ("scratch", (PLAIN, LENIENT), True),  # a candidate does not make defects good by saying so
        ("scratch", (LENIENT, PLAIN), True),
    ],
)
def test_a_part_is_a_defect_unless_one_model_calls_it_good_and_none_a_defect(truth, terms, defect):
    assert is_defect(truth, terms) is defect


@pytest.mark.parametrize(
    ("score", "truth", "right"),
    [(0.5, "scratch", True), (0.49, "scratch", False), (0.49, "ok", True), (0.5, "ok", False)],
)
def test_a_model_with_good_classes_is_right_when_the_line_is_told_what_is_true(score, truth, right):
    # Whatever it calls it: the line hears PASS or FAIL.
    assert is_right(Said(label="dent", score=score), truth, PLAIN, defect=truth != "ok") is right


def test_a_model_that_fails_everything_is_right_only_when_it_names_the_class():
    assert is_right(Said(label="dent", score=1.0), "dent", ONLY_DEFECTS, defect=True)
    assert not is_right(Said(label="dent", score=1.0), "scratch", ONLY_DEFECTS, defect=True)
    assert not is_right(Said(label="dent", score=1.0), "ok", ONLY_DEFECTS, defect=False)


@given(st.sampled_from(["ok", "scratch", "dent", ""]), st.booleans())
def test_no_answer_is_never_right(truth, defect):
    for terms in (PLAIN, ONLY_DEFECTS, LENIENT):
        assert not is_right(NOTHING, truth, terms, defect=defect)
        assert not is_right(Said(label=truth, score=math.nan), truth, terms, defect=defect)


def test_the_active_model_is_wrong_about_a_class_it_was_never_shown_and_the_candidate_wins_these_parts():
    truths = ["ok", "dent", "dent"]
    active = [Said(label="ok", score=0.1)] * 3
    candidate = [Said(label="ok", score=0.1), Said(label="dent", score=0.9), Said(label="ok", score=0.2)]

    found = judged(truths, active, candidate, terms=(PLAIN, KNOWS_DENTS))

    assert [(part.defect, part.active_right, part.candidate_right) for part in found] == [
        (False, True, True),
        (True, False, True),
        (True, False, False),
    ]


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_every_part_is_counted_once(parts):
    score = scored([right for right, _ in parts], [defect for _, defect in parts])

    assert score.parts == len(parts) == score.defects + score.good
    assert score.right == score.found + score.good - score.false_alarms
    assert 0 <= score.found <= score.defects
    assert 0 <= score.false_alarms <= score.good
