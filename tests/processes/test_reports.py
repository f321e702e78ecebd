"""What is reported besides verdicts: names with units, books that balance."""

import dataclasses

from edge_agent.processes.live import SignalLive, TriggerLive
from edge_agent.processes.reports import summary, telemetry
from tests.processes.test_live import camera, live


def test_telemetry_is_flat_numbers_and_its_books_balance():
    numbers = telemetry(live())

    assert all(isinstance(value, (int, float)) for value in numbers.values())
    dropped = sum(value for name, value in numbers.items() if name.startswith("press-3_dropped_"))
    assert numbers["press-3_captured"] == numbers["press-3_judged"] + dropped + numbers["press-3_in_flight"]


def test_a_summary_accounts_for_every_captured_frame():
    told = summary(live(), "press-3", None)

    assert told.captured == told.passed + told.failed + told.held + told.in_flight
    assert told.state == "running"


def test_a_camera_that_learns_is_paused_or_is_away_is_told_apart():
    cameras = {
        "a": camera(mode="good-only 12/50"),
        "b": camera(paused=True),
        "c": camera(state="stalled"),
        "d": camera(state="ended"),
    }

    assert [summary(live(**cameras), name, None).state for name in cameras] == [
        "learning",
        "paused",
        "stalled",
        "stopped",
    ]


def test_triggers_and_signals_are_told_as_numbers():
    trigger = TriggerLive(
        source="mqtt",
        connected=True,
        reason="",
        fired=5,
        claimed=3,
        waiting=1,
        lost={"no-picture": 1},
        last_age_s=2.0,
        last_part="A-17",
    )
    signal = SignalLive(
        to="modbus://10.0.0.20/holding/100",
        connected=False,
        reason="no connection",
        written=3,
        missed=2,
        states={"press-3": "running"},
        last_verdict="PASS",
        last_part="A-17",
        heartbeat_age_s=0.1,
        trigger_p50_ms=7.5,
        trigger_p99_ms=None,
    )
    numbers = telemetry(dataclasses.replace(live(), triggers={"press-3": trigger}, signals={"plc": signal}))

    assert numbers["press-3_triggers_fired"] == 5
    assert numbers["press-3_triggers_lost_no-picture"] == 1
    assert (numbers["signal_plc_connected"], numbers["signal_plc_missed"]) == (0.0, 2)
    assert numbers["signal_plc_trigger_p50_ms"] == 7.5
    assert "signal_plc_trigger_p99_ms" not in numbers
