"""The table of a camera's life, the backoff, and the fps limit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.states import (
    FIRST_BACKOFF_S,
    MOST_BACKOFF_S,
    TABLE,
    CameraEvent,
    CameraState,
    RateLimit,
    backoff_s,
)


def test_every_state_has_a_row_and_can_be_stopped_but_stopped_is_final():
    assert set(TABLE) == set(CameraState)
    assert not TABLE[CameraState.STOPPED]
    for state in set(CameraState) - {CameraState.STOPPED}:
        assert TABLE[state][CameraEvent.STOP] is CameraState.STOPPED


@given(st.lists(st.sampled_from(list(CameraEvent)), max_size=30))
def test_a_camera_that_is_not_finished_can_always_stream_again(events):
    state = CameraState.OPENING
    for event in events:
        state = TABLE[state].get(event, state)
    if state in (CameraState.ENDED, CameraState.STOPPED):
        return
    state = TABLE[state].get(CameraEvent.RETRY, state)
    assert TABLE[state].get(CameraEvent.UP, state) is CameraState.STREAMING


def test_only_a_streaming_camera_can_end():
    assert [state for state in CameraState if CameraEvent.END in TABLE[state]] == [CameraState.STREAMING]


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_backoff_grows_to_its_cap_and_never_reaches_zero(failures, chance):
    assert FIRST_BACKOFF_S / 2 <= backoff_s(failures, chance) <= MOST_BACKOFF_S
    assert backoff_s(failures, chance) <= backoff_s(failures + 1, chance)


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
