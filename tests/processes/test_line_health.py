"""Loss and return of the line, as alarms."""

from edge_agent.processes.line_health import LineHealth


def test_loss_and_return_are_told_once_each_however_often_they_are_said():
    told = []
    health = LineHealth("signal-lost", "plc", told.append)
    for active, text in (
        (True, "no connection"),
        (True, "no answer"),
        (False, "back"),
        (False, "back"),
        (True, "gone"),
    ):
        health(active=active, text=text)

    assert [(one.active, one.text) for one in told] == [(True, "no connection"), (False, "back"), (True, "gone")]
    assert {(one.code, one.subject) for one in told} == {("signal-lost", "plc")}
    assert (health.lost, health.reason) == (True, "gone")


def test_the_reason_that_is_shown_is_the_newest():
    health = LineHealth("trigger-lost", "top", lambda _: None)
    health(active=True, text="no connection")
    health(active=True, text="no answer")

    assert health.reason == "no answer"


def test_what_ends_ends_its_alarm_and_a_thread_that_comes_back_later_raises_none():
    told = []
    health = LineHealth("signal-lost", "plc", told.append)
    health(active=True, text="no connection")
    health.end()
    health(active=True, text="from a thread that hung in the driver")

    assert [one.active for one in told] == [True, False]
