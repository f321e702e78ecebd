"""Which pictures are trained on: groups whole, rare classes whole, bounded, the same again."""

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.learn.teach import is_held
from edge_agent.processes.finetuning.jobs import chosen, divided


def lessons(counts):
    """Lessons as far as the rules look at them: class -> how many, each part a group of its own."""
    return [
        types.SimpleNamespace(
            sample=types.SimpleNamespace(id=f"{name}-{number:04}", group=f"{name}{number}", truth=name)
        )
        for name, count in counts.items()
        for number in range(count)
    ]


COUNTS = st.dictionaries(st.sampled_from(["ok", "pit", "scratch", "crack"]), st.integers(1, 80), min_size=1)


@given(COUNTS, st.integers(0, 200))
def test_no_more_than_the_limit_is_chosen_and_all_where_they_fit(counts, limit):
    found = chosen(lessons(counts), limit)

    assert len(found) <= limit
    if sum(counts.values()) <= limit:
        assert len(found) == sum(counts.values())


@given(COUNTS, st.integers(40, 200))
def test_a_rare_class_is_never_cut_while_a_frequent_one_has_more(counts, limit):
    kept = [lesson.sample.truth for lesson in chosen(lessons(counts), limit)]

    for name, count in counts.items():
        if kept.count(name) < count:
            assert kept.count(name) >= max(kept.count(other) for other in counts) - len(counts)


@given(COUNTS, st.integers(0, 200))
def test_the_same_are_chosen_again_in_the_order_of_their_ids(counts, limit):
    found = [lesson.sample.id for lesson in chosen(lessons(counts), limit)]

    assert found == sorted(found)
    assert found == [lesson.sample.id for lesson in chosen(list(reversed(lessons(counts))), limit)]


def test_what_calibrates_the_head_is_not_trained_on_and_a_class_of_one_picture_is_left_to_the_head():
    trained, held = divided(lessons({"ok": 100, "pit": 60, "crack": 1}), 1000)

    assert not {lesson.sample.id for lesson in trained} & {lesson.sample.id for lesson in held}
    assert all(is_held(lesson.sample.group) for lesson in held)
    assert {lesson.sample.truth for lesson in trained} == {"ok", "pit"}


@pytest.mark.parametrize("counts", [{"ok": 4, "pit": 4}])
def test_with_too_few_held_back_all_do_both(counts):
    trained, held = divided(lessons(counts), 1000)

    assert len(trained) == len(held) == 8
