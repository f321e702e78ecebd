"""What the log says at three in the morning: events, no floods, no passwords."""

import json
import logging

import pytest

from edge_agent.processes.logs import LineFormatter, RepeatFilter
from tests.fakes.clock import FakeClock


def record(message, *arguments, level=logging.WARNING, name="edge_agent.capture.worker"):
    return logging.LogRecord(name, level, __file__, 1, message, arguments, None)


def test_a_repeat_is_held_back_and_the_next_one_shown_carries_the_count():
    clock = FakeClock()
    repeats = RepeatFilter(60.0, clock)

    shown = [repeats.filter(record("camera=%s state=stalled", "press-3")) for _ in range(5)]
    clock.advance(61)
    later = record("camera=%s state=stalled", "press-3")
    shown.append(repeats.filter(later))

    assert shown == [True, False, False, False, False, True]
    assert later.getMessage() == "camera=press-3 state=stalled (said 4 more times)"


def test_messages_that_differ_in_their_ids_are_not_repeats():
    repeats = RepeatFilter(60.0, FakeClock())

    assert repeats.filter(record("camera=%s", "a"))
    assert repeats.filter(record("camera=%s", "b"))


def test_the_filter_forgets_old_messages_rather_than_growing():
    repeats = RepeatFilter(60.0, FakeClock())

    for number in range(10_000):
        assert repeats.filter(record("part=%d", number))

    assert len(repeats._seen) <= 256


@pytest.mark.parametrize("form", ["journal", "text", "json"])
def test_credentials_in_an_address_never_reach_the_log(form):
    line = LineFormatter(form, "inspect").format(record("source=%s", "rtsp://operator:hunter2@10.0.0.12/stream1"))

    assert "hunter2" not in line
    assert "operator" not in line
    assert "10.0.0.12" in line


def test_a_journal_line_begins_with_its_syslog_priority_on_every_line_of_a_traceback():
    try:
        raise ValueError("lens")
    except ValueError as error:
        fault = record("broken", level=logging.ERROR)
        fault.exc_info = (ValueError, error, error.__traceback__)

    lines = LineFormatter("journal", "inspect").format(fault).split("\n")

    assert len(lines) > 2
    assert all(line.startswith("<3>") for line in lines)


def test_a_json_line_is_one_object_with_its_fields():
    line = json.loads(LineFormatter("json", "sync").format(record("broker=connected", level=logging.INFO)))

    assert (line["level"], line["process"], line["source"], line["message"]) == (
        "info",
        "sync",
        "capture.worker",
        "broker=connected",
    )
