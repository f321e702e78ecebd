"""Budgets: over any day no more than allowed, quiet hours are quiet, and every wait ends."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.federate.budget import DAY_S, Budget, Now, QuietHours, answer, quiet_hours, spend, usage_of

MIDNIGHT_S = 20_781 * DAY_S


def at(hour, *, mono_s=0.0, metered=False, offset_s=0):
    return Now(utc_s=MIDNIGHT_S + hour * 3600, mono_s=mono_s, metered=metered, utc_offset_s=offset_s)


FAST = Budget(bytes_per_s=1e12, burst_bytes=10**12)


def test_a_day_has_so_many_bytes_and_the_next_one_has_them_again():
    budget = dataclasses.replace(FAST, bytes_per_day=1000)
    usage = spend(budget, usage_of(at(8)), 900, at(8))

    assert answer(budget, usage, 100, at(8, mono_s=60)).allowed
    held = answer(budget, usage, 101, at(8, mono_s=60))
    assert held.wait_s == 16 * 3600
    assert held.reason == "900 of 1000 bytes a day are used, 101 are waiting"
    assert answer(budget, usage, 1000, at(24, mono_s=DAY_S)).allowed
    assert answer(budget, usage, 1001, at(24)).wait_s is None
    # The plant's midnight, not Greenwich's.
    assert answer(budget, usage, 101, at(8, mono_s=60, offset_s=7200)).wait_s == 14 * 3600


def test_a_clock_that_is_set_back_gives_no_day_anew():
    budget = dataclasses.replace(FAST, bytes_per_day=1000)
    usage = spend(budget, usage_of(at(30)), 900, at(30))

    assert not answer(budget, usage, 200, at(5, mono_s=60)).allowed
    assert spend(budget, usage, 10, at(5)).used_bytes == 910


def test_a_restart_keeps_the_day_and_gives_no_burst():
    budget = Budget(bytes_per_day=1000, bytes_per_s=10, burst_bytes=100)
    usage = usage_of(at(9, mono_s=5), day=20_781, used_bytes=950)

    assert not answer(budget, usage, 60, at(9, mono_s=1e6)).allowed
    assert answer(budget, usage, 50, at(9, mono_s=5)).wait_s == pytest.approx(5)
    assert usage_of(at(9), day=20_780, used_bytes=950).used_bytes == 0


def test_a_metered_link_has_a_budget_of_its_own():
    budget = dataclasses.replace(FAST, bytes_per_day=10**9, metered_bytes_per_day=50)
    usage = usage_of(at(9))

    assert answer(budget, usage, 50, at(9, mono_s=1, metered=True)).allowed
    assert "more than 50 on a metered link" in answer(budget, usage, 51, at(9, mono_s=1, metered=True)).reason
    assert answer(FAST, usage, 1, at(9, mono_s=1, metered=True)).wait_s is None


@pytest.mark.parametrize(
    ("hours", "hour", "wait_h"),
    [
        ("22:00-06:00", 23, 7),
        ("22:00-06:00", 5, 1),
        ("22:00-06:00", 6, 0),
        ("22:00-06:00", 21.5, 0),
        ("09:00-17:00", 9, 8),
    ],
)
def test_quiet_hours_are_quiet_until_they_end(hours, hour, wait_h):
    budget = dataclasses.replace(FAST, quiet=(quiet_hours(hours),))
    found = answer(budget, usage_of(at(0)), 1, at(hour, mono_s=1))

    assert found.wait_s == wait_h * 3600
    assert found.allowed == (wait_h == 0)


@pytest.mark.parametrize("text", ["", "22-6", "24:00-06:00", "22:00-22:00", "22:00 - 06:00", "22:60-23:00"])
def test_hours_that_mean_nothing_are_refused(text):
    with pytest.raises(ConfigError):
        quiet_hours(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"bytes_per_day": -1},
        {"metered_bytes_per_day": -1},
        {"bytes_per_s": 0},
        {"burst_bytes": 0},
        {"bytes_per_s": float("nan")},
    ],
)
def test_limits_that_mean_nothing_are_refused(fields):
    with pytest.raises(ConfigError):
        Budget(**fields)


@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=40),
    rate=st.floats(1, 1e4),
    burst=st.integers(1, 10_000),
    per_day=st.none() | st.integers(5000, 20_000),
    quiet=st.lists(st.sampled_from([(0, 360), (1320, 300), (700, 720)]), max_size=2),
)
def test_waiting_as_told_always_leads_to_sending_and_never_above_the_limits(sizes, rate, burst, per_day, quiet):
    budget = Budget(
        bytes_per_day=per_day, bytes_per_s=rate, burst_bytes=burst,
        quiet=tuple(QuietHours(start_min=start, end_min=end) for start, end in quiet),
    )  # fmt: skip
    now, sent = at(0), []
    usage = usage_of(now)
    for size in sizes:
        for _ in range(12):
            found = answer(budget, usage, size, now)
            if found.allowed:
                break
            wait_s = found.wait_s + 1e-3
            now = dataclasses.replace(now, utc_s=now.utc_s + wait_s, mono_s=now.mono_s + wait_s)
        else:
            raise AssertionError(f"{size} never goes: {found}")
        usage = spend(budget, usage, size, now)
        sent.append((now, size))
    elapsed_s = now.mono_s
    # A size above the burst goes from a full bucket and leaves a debt, which the next one pays.
    assert sum(sizes[:-1]) <= burst + rate * elapsed_s + max(sizes)
    if per_day:
        by_day = {}
        for moment, size in sent:
            day = int(moment.utc_s // DAY_S)
            by_day[day] = by_day.get(day, 0) + size
        assert max(by_day.values()) <= per_day
