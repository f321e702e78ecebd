"""Which pictures become parts: every n-th, so many a second, and what a full lane does."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.load import EveryNth, Load, RateLimit


def test_a_file_waits_and_a_live_camera_does_not_unless_told():
    assert [Load.AUTO.waits(live=live) for live in (True, False)] == [False, True]
    assert not Load.LATEST.waits(live=False)
    assert Load.ALL.waits(live=False)


@given(st.integers(1, 9), st.integers(0, 60))
def test_every_nth_picture_is_taken_and_it_is_known_before(nth, count):
    thinned = EveryNth(nth)
    taken = [(thinned.wants_next, thinned.take()) for _ in range(count)]

    assert all(foreseen == took for foreseen, took in taken)
    assert [number for number, (_, took) in enumerate(taken) if took] == list(range(0, count, nth))


@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
def test_a_camera_at_the_limit_loses_hardly_a_frame_to_jitter(jitter_s):
    limit = RateLimit(10.0)
    offsets = itertools.cycle((0.0, jitter_s, -jitter_s))
    taken = sum(limit.take(100 + number * 0.1 + next(offsets)) for number in range(1000))

    assert taken >= 990


@given(st.floats(0.5, 60), st.lists(st.floats(0.001, 0.5), min_size=50, max_size=200))
def test_the_limit_holds_over_any_stretch_of_time(fps, gaps):
    limit = RateLimit(fps)
    times = list(itertools.accumulate(gaps))
    taken = [time for time in times if limit.take(time)]
    for first, last in itertools.combinations(range(0, len(taken), 7), 2):
        assert last - first <= (taken[last] - taken[first]) * fps + 2


def test_a_faster_camera_is_thinned_evenly():
    limit = RateLimit(10.0)
    taken = [number for number in range(300) if limit.take(number / 30)]

    assert 98 <= len(taken) <= 101
    assert {later - earlier for earlier, later in itertools.pairwise(taken[2:])} <= {2, 3, 4}


def test_without_a_limit_everything_is_taken():
    limit = RateLimit(None)

    assert all(limit.take(5.0) for _ in range(10))
    assert limit.wait_s(5.0) == 0


def test_waiting_as_told_is_enough():
    limit, now_s = RateLimit(4.0), 10.0
    for _ in range(20):
        now_s += limit.wait_s(now_s)
        limit.take(now_s)

    assert 4.4 <= now_s - 10.0 <= 5.0
