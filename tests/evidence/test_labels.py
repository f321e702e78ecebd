"""What people said, and what it amounts to."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadLabelError
from edge_agent.evidence.labels import (
    LabelEvent,
    LabelSource,
    check_class,
    check_person,
    last_word,
    opinion,
)
from edge_agent.records import Standing

LABELLED, WAITING, DISPUTED, UNLABELLED = Standing.LABELLED, Standing.WAITING, Standing.DISPUTED, Standing.UNLABELLED


def said(*words):
    """Events from short words: "ann:ok", "judge!ok", "list=ok" (import), "ann-2" (takes back her second event)."""
    events = []
    for number, word in enumerate(words):
        sign = next(sign for sign in ":!=-" if sign in word)
        by, _, what = word.partition(sign)
        events.append(
            LabelEvent(
                id=f"{number}",
                sample="s",
                by=by,
                source=LabelSource.IMPORT if sign == "=" else LabelSource.TERMINAL,
                at_utc_s=float(number),
                label=None if sign == "-" else what,
                withdraws=what if sign == "-" else None,
                adjudicator=sign == "!",
            )
        )
    return events


@pytest.mark.parametrize(
    ("words", "needed", "standing", "truth"),
    [
        ([], 1, UNLABELLED, None),
        (["ann:ok"], 1, LABELLED, "ok"),
        (["ann:ok"], 2, WAITING, None),
        (["ann:ok", "ann:ok"], 2, WAITING, None),
        (["ann:ok", "bob:ok"], 2, LABELLED, "ok"),
        (["ann:ok", "bob:dent"], 1, DISPUTED, None),
        (["ann:ok", "bob:dent"], 2, DISPUTED, None),
        (["ann:ok", "bob:dent", "eve:dent"], 2, LABELLED, "dent"),
        (["ann:ok", "bob:dent", "eve:pit"], 2, DISPUTED, None),
        (["ann:ok", "bob:dent", "eve:dent", "joe:ok"], 1, DISPUTED, None),
        (["ann:ok", "bob:dent", "chief!pit"], 2, LABELLED, "pit"),
        (["chief!pit"], 2, LABELLED, "pit"),
        (["chief!pit", "ann:ok", "bob:ok"], 2, LABELLED, "pit"),
        (["chief!pit", "ann:ok", "chief-0"], 1, LABELLED, "ok"),
        (["ann:ok", "ann:dent"], 1, LABELLED, "dent"),
        (["ann:ok", "ann:dent", "ann-1"], 1, LABELLED, "ok"),
        (["ann:ok", "ann-0"], 1, UNLABELLED, None),
        (["ann:ok", "bob:dent", "bob-1"], 1, LABELLED, "ok"),
        (["list=ok"], 2, LABELLED, "ok"),
        (["list=ok", "ann:dent"], 1, LABELLED, "dent"),
        (["list=ok", "ann:dent"], 2, WAITING, None),
        (["list=ok", "ann:dent", "ann-1"], 2, LABELLED, "ok"),
        (["list=ok", "list=dent"], 1, LABELLED, "dent"),
    ],
)
def test_words_amount_to_a_standing(words, needed, standing, truth):
    found = opinion(said(*words), needed)

    assert (found.standing, found.truth) == (standing, truth)


people = st.sampled_from(["ann", "bob", "eve"])
history = st.lists(
    st.tuples(people, st.sampled_from(["ok", "dent", "pit", "undo"]), st.booleans(), st.booleans()), max_size=12
)


def play(moves):
    """A history that the book would let happen: nobody undoes what is not theirs or was undone before."""
    events = []
    for number, (by, what, imported, adjudicator) in enumerate(moves):
        last = last_word(events, by)
        if what == "undo" and last is None:
            continue
        source = LabelSource.IMPORT if imported else LabelSource.PAGE
        events.append(
            LabelEvent(
                id=str(number),
                sample="s",
                by=by,
                source=source,
                at_utc_s=0.0,
                label=None if what == "undo" else what,
                withdraws=last.id if what == "undo" else None,
                adjudicator=adjudicator and what != "undo" and not imported,
            )
        )
    return events


@given(history, st.sampled_from([1, 2]))
def test_there_is_a_truth_exactly_when_it_is_settled_and_somebody_said_it(moves, needed):
    events = play(moves)
    found = opinion(events, needed)

    assert (found.truth is not None) == (found.standing is LABELLED)
    assert found.truth is None or found.truth in {event.label for event in events}


@given(history, people, st.sampled_from([1, 2]))
def test_a_label_and_its_undo_leave_everything_as_it_was(moves, by, needed):
    events = play(moves)
    label = LabelEvent(id="x", sample="s", by=by, source=LabelSource.PAGE, at_utc_s=0.0, label="dent")
    undo = dataclasses.replace(label, id="y", label=None, withdraws="x")

    assert opinion([*events, label, undo], needed) == opinion(events, needed)


@given(history)
def test_asking_for_a_second_opinion_settles_nothing_that_one_opinion_leaves_open(moves):
    events = play(moves)

    two, one = opinion(events, 2), opinion(events, 1)
    assert two.standing is not LABELLED or two.truth == one.truth


def test_an_unknown_class_is_refused_with_the_one_that_was_probably_meant():
    with pytest.raises(BadLabelError, match=r"unknown class 'scrach'; did you mean 'scratch'\? known: dent, scratch; "):
        check_class("scrach", {"dent", "scratch"}, new_class=False)
    check_class("scrach", {"dent", "scratch"}, new_class=True)


@pytest.mark.parametrize("label", ["", " ok", "ok ", "a\nb", "x" * 65, "\x1b[31m", "\x00"])
def test_what_cannot_be_a_class_is_refused_even_as_a_new_one(label):
    with pytest.raises(BadLabelError, match="expected 1 to 64 printable"):
        check_class(label, {label}, new_class=True)


@pytest.mark.parametrize(
    ("by", "note"), [("", None), (" ann", None), ("a" * 65, None), ("a\tb", None), ("ann", "n" * 501)]
)
def test_names_and_notes_have_bounds(by, note):
    with pytest.raises(BadLabelError, match="expected"):
        check_person(by, note)
