"""Training runs only where it disturbs nobody, and goes on only when that is clearly so again."""

import datetime
import math

import pytest

from edge_agent.models.finetune.budget import Act, Budget, Reading, Window, permit

NOON = datetime.time(12)
BUDGET = Budget(
    window=Window(begin=datetime.time(22), end=datetime.time(5)),
    cpu_s=3600,
    pause_c=75,
    available_bytes=2_000_000_000,
    power_w=15,
    frames_share=0.99,
)


def reading(**found):
    good = {
        "time_of_day": datetime.time(23),
        "cpu_s": 10.0,
        "hottest_c": 50.0,
        "available_bytes": 8_000_000_000,
        "power_w": 8.0,
        "frames_share": 1.0,
    }
    return Reading(**{**good, **found})


def test_it_runs_where_nothing_speaks_against_it():
    assert permit(BUDGET, reading(), paused=False).act is Act.RUN
    assert permit(BUDGET, reading(), paused=True).act is Act.RUN


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"hottest_c": 75.0}, "hot: 75 °C"),
        ({"available_bytes": 1_000_000_000}, "memory available"),
        ({"power_w": 20.0}, "power: 20 W"),
        ({"frames_share": 0.9}, "of the frames judged"),
        ({"hottest_c": math.nan}, "hot"),
    ],
)
def test_it_pauses_for_each_reason_and_says_which(found, words):
    permission = permit(BUDGET, reading(**found), paused=False)

    assert permission.act is Act.PAUSE
    assert words in permission.reason


@pytest.mark.parametrize(
    ("found", "words"), [({"time_of_day": NOON}, "22:00 to 05:00"), ({"cpu_s": 3600.0}, "CPU time are spent")]
)
def test_it_ends_when_its_window_closes_or_its_time_is_spent_whatever_else_holds(found, words):
    permission = permit(BUDGET, reading(hottest_c=99.0, **found), paused=True)

    assert permission.act is Act.END
    assert words in permission.reason


def test_what_paused_it_must_be_well_below_its_limit_before_it_goes_on():
    assert permit(BUDGET, reading(hottest_c=73.0), paused=False).act is Act.RUN
    assert permit(BUDGET, reading(hottest_c=73.0), paused=True).act is Act.PAUSE
    assert permit(BUDGET, reading(hottest_c=69.0), paused=True).act is Act.RUN
    assert permit(BUDGET, reading(available_bytes=2_100_000_000), paused=True).act is Act.PAUSE


def test_what_a_machine_does_not_say_stops_nothing():
    silent = Reading(time_of_day=datetime.time(23))

    assert permit(BUDGET, silent, paused=False).act is Act.RUN


@pytest.mark.parametrize(
    ("begin", "end", "inside", "outside"), [(22, 5, (22, 23, 0, 4), (5, 12, 21)), (1, 4, (1, 3), (0, 4, 23))]
)
def test_a_window_may_cross_midnight(begin, end, inside, outside):
    window = Window(begin=datetime.time(begin), end=datetime.time(end))

    assert all(window.holds(datetime.time(hour)) for hour in inside)
    assert not any(window.holds(datetime.time(hour)) for hour in outside)
