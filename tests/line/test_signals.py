"""What the line is shown: fail-safe in every state but running, and registers that never change their meaning."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.line.modbus import registers_text
from edge_agent.line.signals import (
    BLOCK_REGISTERS,
    NOTHING_TOLD,
    REASON_CODES,
    TABLE,
    LineEvent,
    LineState,
    fields,
    first_output,
    moved,
    next_sequence,
    registers,
    told,
    untold,
)
from edge_agent.records import HoldReason, Verdict
from tests.line.parts import inspection

verdicts = st.sampled_from(list(Verdict))
moves = st.lists(st.one_of(st.sampled_from(list(LineEvent)), verdicts, st.just("lost")), max_size=40)


@settings(deadline=None)
@given(st.sampled_from([Verdict.HOLD, Verdict.FAIL]), moves)
def test_the_output_is_the_fail_safe_whenever_the_state_is_not_running(safe, events):
    output, sequence = first_output(safe), 0
    for event in events:
        if isinstance(event, LineEvent):
            output = moved(output, event)
        elif event == "lost":
            output = untold(output, sequence)
        else:
            sequence = next_sequence(sequence)
            output = told(output, inspection(event, part="p"), sequence)
            assert output.sequence == sequence
        if output.state is not LineState.RUNNING:
            assert (output.verdict, output.score) == (safe, None)
            assert output.reason != 0


def test_a_part_that_is_held_while_its_camera_is_lost_is_answered_with_its_name_and_reason():
    stalled = moved(moved(first_output(Verdict.FAIL), LineEvent.TURNING), LineEvent.SILENT)
    held = told(stalled, inspection(Verdict.HOLD, reason=HoldReason.NO_PICTURE, part="A-17"), 5)
    passed = told(stalled, inspection(Verdict.PASS, part="A-18"), 6)

    assert (held.verdict, held.text, held.part, held.sequence) == (Verdict.FAIL, "no-picture", "A-17", 5)
    assert (passed.verdict, passed.reason, passed.part) == (Verdict.FAIL, NOTHING_TOLD, "A-18")


@settings(deadline=None)
@given(moves)
def test_a_verdict_from_before_a_stall_does_not_come_back_after_it(events):
    output = told(moved(first_output(Verdict.HOLD), LineEvent.TURNING), inspection(Verdict.PASS), 1)
    for event in (e for e in events if isinstance(e, LineEvent)):
        stalled = output.state is not LineState.RUNNING
        output = moved(output, event)
        assert not (stalled and output.verdict is Verdict.PASS)


@pytest.mark.parametrize("state", list(LineState))
@pytest.mark.parametrize("event", list(LineEvent))
def test_every_event_moves_along_the_table_or_changes_nothing(state, event):
    output = first_output(Verdict.HOLD)
    by = {LineState.RUNNING: [LineEvent.TURNING], LineState.STALLED: [LineEvent.TURNING, LineEvent.SILENT]}
    for step in by.get(state, [LineEvent.STOP] if state is LineState.STOPPED else []):
        output = moved(output, step)
    assert output.state is state

    after = moved(output, event)

    assert after.state is TABLE[state].get(event, state)
    assert after == output or event in TABLE[state]


def test_every_reason_has_a_code_of_its_own_that_is_not_zero():
    assert set(REASON_CODES) == set(HoldReason)
    assert len({0, NOTHING_TOLD, *REASON_CODES.values()}) == len(HoldReason) + 2


def test_the_block_lies_in_the_registers_as_the_documentation_says():
    running = moved(first_output(Verdict.HOLD), LineEvent.TURNING)
    block = registers(told(running, inspection(Verdict.FAIL, part="A-17"), 300))

    assert len(block) == BLOCK_REGISTERS == 24
    assert block[:8] == (2, 0, 300, 2, 0, 250, 1, 0)
    assert registers_text(block[8:]) == "A-17"


def test_of_a_long_name_the_end_is_shown_where_numbers_count():
    running = moved(first_output(Verdict.HOLD), LineEvent.TURNING)
    block = registers(told(running, inspection(part="X" * 40 + "0001"), 1))

    assert registers_text(block[8:]) == "X" * 28 + "0001"


@settings(deadline=None)
@given(st.integers(0, 65_535))
def test_sequence_numbers_never_return_to_nothing_yet(sequence):
    assert 1 <= next_sequence(sequence) <= 65_535


def test_who_reads_names_is_told_words():
    running = moved(first_output(Verdict.HOLD), LineEvent.TURNING)
    output = told(running, inspection(Verdict.HOLD, part="A-17", reason=HoldReason.LATE), 3)

    assert fields("top", output) == {
        "camera": "top",
        "state": "RUNNING",
        "heartbeat": 0,
        "sequence": 3,
        "verdict": "HOLD",
        "reason": "late",
        "part": "A-17",
    }
