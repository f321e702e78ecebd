"""What is reported besides verdicts: names with units, books that balance."""

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
