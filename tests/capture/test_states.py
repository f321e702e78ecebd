"""The table of a camera's life, and the backoff."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.states import (
    FIRST_BACKOFF_S,
    MOST_BACKOFF_S,
    TABLE,
    CameraEvent,
    CameraState,
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
