"""Alarms: only news is published, a restart ends what no longer holds, a full disk does not silence them."""

import json

from edge_agent.processes.alarm_desk import GRACE_S, AlarmDesk
from edge_agent.sync.alarms import Condition
from tests.fakes.clock import FakeClock


def lost(active=True, subject="press-3"):
    return Condition(code="camera-lost", subject=subject, active=active, text="refused")


def desk_of(tmp_path, clock=None):
    sent = []
    return AlarmDesk(file=tmp_path / "alarms.json", clock=clock or FakeClock(), publish=sent.append), sent


def states(sent):
    return [json.loads(message.payload)["state"] if message.payload else "emptied" for message in sent]


def test_a_condition_told_ten_times_is_published_once_and_cleared_once(tmp_path):
    desk, sent = desk_of(tmp_path)

    for _ in range(10):
        desk.note(lost())
    for _ in range(10):
        desk.note(lost(active=False))

    assert states(sent) == ["active", "cleared", "emptied"]


def test_an_alarm_of_an_earlier_run_that_is_not_noticed_again_is_cleared_after_the_grace_time(tmp_path):
    first, _ = desk_of(tmp_path)
    first.note(lost())
    clock = FakeClock()
    second, sent = desk_of(tmp_path, clock)

    second.settle()
    assert sent == []
    clock.advance(GRACE_S)
    second.settle()
    second.settle()

    assert states(sent) == ["cleared", "emptied"]


def test_an_alarm_that_still_holds_after_a_restart_keeps_its_beginning(tmp_path):
    clock = FakeClock()
    first, before = desk_of(tmp_path, clock)
    first.note(lost())
    clock.advance(3600)
    second, after = desk_of(tmp_path, clock)

    second.note(lost())
    clock.advance(GRACE_S)
    second.settle()

    assert states(after) == ["active"]
    assert json.loads(after[0].payload)["since"] == json.loads(before[0].payload)["since"]


def test_a_condition_that_ended_while_we_were_away_clears_the_alarm_at_once(tmp_path):
    first, _ = desk_of(tmp_path)
    first.note(lost())
    second, sent = desk_of(tmp_path)

    second.note(lost(active=False))

    assert states(sent) == ["cleared", "emptied"]


def test_a_damaged_alarm_file_is_no_reason_not_to_start(tmp_path):
    (tmp_path / "alarms.json").write_bytes(b"[{")

    desk, sent = desk_of(tmp_path)
    desk.note(lost())

    assert states(sent) == ["active"]


def test_an_alarm_is_published_even_when_the_state_directory_is_gone(tmp_path):
    desk, sent = desk_of(tmp_path / "missing")

    desk.note(lost())

    assert states(sent) == ["active"]


def test_acknowledging_says_so_and_an_unknown_alarm_is_told_apart(tmp_path):
    desk, sent = desk_of(tmp_path)
    desk.note(lost())

    assert desk.acknowledge("camera-lost", "press-3")
    assert not desk.acknowledge("camera-lost", "press-4")
    assert states(sent) == ["active", "acked"]
