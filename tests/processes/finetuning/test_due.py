"""When a fine-tuning run is begun, gone on with, begun anew or left alone."""

import dataclasses
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.models.finetune.budget import Window
from edge_agent.processes.finetuning.due import (
    DAY_S,
    Order,
    Rules,
    Situation,
    Step,
    decide,
    is_open,
    new_labels,
    next_opening,
    night_of,
    stale_reason,
    too_few,
)

NIGHT = Window(begin=datetime.time(22), end=datetime.time(5))
RULES = Rules(enabled=True, window=NIGHT, every_days=7, min_labels=20, min_new_labels=5, cpu_s=3600)
ZONE = datetime.timezone(datetime.timedelta(hours=1))
EVENING = datetime.datetime(2026, 11, 24, 23, 0, tzinfo=ZONE)
NOON = datetime.datetime(2026, 11, 24, 12, 0, tzinfo=ZONE)
LABELS = {f"s{number}": "ok" if number % 2 else "pit" for number in range(40)}


def situation(**changes):
    labels = changes.get("labels", LABELS)
    known = {
        "moment": EVENING,
        "base": "a" * 64,
        "labels": labels,
        "said_utc_s": dict.fromkeys(labels, EVENING.timestamp() - 3600),
    }
    return Situation(**{**known, **changes})


def order(**changes):
    known = {"model": "surface", "base": "a" * 64, "asked": False, "by": "gateway", "begun_utc_s": 0.0}
    return Order(**{**known, "labels": LABELS, **changes})


def test_enough_new_labels_inside_the_window_begin_a_run():
    assert decide(RULES, situation()).step is Step.BEGIN


@pytest.mark.parametrize(
    ("rules", "changes", "words"),
    [
        ({"enabled": False}, {}, "enabled"),
        ({"min_labels": 41}, {}, "40 labelled pictures, 41 are needed"),
        ({"min_new_labels": 41}, {}, "40 new labels since the last run, 41"),
        ({}, {"last_begun_utc_s": EVENING.timestamp() - 2 * DAY_S}, "2.0 days ago"),
        ({}, {"moment": NOON}, "waits for its window (2026-11-24 22:00)"),
        ({}, {"busy": "a candidate is on trial"}, "on trial"),
        ({}, {"labels": dict.fromkeys(LABELS, "ok")}, "2 classes with 2 labelled pictures each"),
    ],
)
def test_what_is_not_due_says_what_is_missing(rules, changes, words):
    found = decide(dataclasses.replace(RULES, **rules), situation(**changes))

    assert found.step is Step.REST
    assert words in found.reason


def test_a_person_overrules_switch_window_days_and_numbers_but_not_labels_that_teach_nothing():
    rules = dataclasses.replace(RULES, enabled=False, min_labels=1000, min_new_labels=1000)
    recent = NOON.timestamp() - 60

    assert decide(rules, situation(asked=True, moment=NOON, last_begun_utc_s=recent)).step is Step.BEGIN
    assert decide(rules, situation(asked=True, labels=dict.fromkeys(LABELS, "ok"))).step is Step.REST


def test_an_interrupted_run_goes_on_in_its_window_and_waits_outside_of_it():
    assert decide(RULES, situation(order=order())).step is Step.RESUME
    waiting = decide(RULES, situation(order=order(), moment=NOON))
    assert waiting.step is Step.REST
    assert waiting.opens_utc_s == NOON.replace(hour=22).timestamp()


def test_a_run_that_a_person_started_goes_on_at_any_hour():
    rules = dataclasses.replace(RULES, enabled=False)

    assert decide(rules, situation(order=order(asked=True), moment=NOON)).step is Step.RESUME
    assert decide(rules, situation(order=order(), asked=True, moment=NOON)).step is Step.RESUME


def test_a_run_from_a_bundle_that_is_not_active_any_more_is_begun_anew_or_dropped():
    gone = order(base="b" * 64)

    assert decide(RULES, situation(order=gone)).step is Step.BEGIN
    assert decide(RULES, situation(order=gone, moment=NOON)).step is Step.DROP


@given(st.integers(0, 40))
def test_a_run_is_stale_when_more_than_a_fifth_of_its_labels_changed(count):
    changed = {name: "other" if number < count else label for number, (name, label) in enumerate(LABELS.items())}

    assert bool(stale_reason(order(), situation(labels=changed))) == (count > 8)


@given(st.integers(0, 20), st.integers(0, 20))
def test_withdrawn_and_added_labels_count_alike(gone, came):
    kept = dict(list(LABELS.items())[gone:]) | {f"new{number}": "ok" for number in range(came)}

    assert bool(stale_reason(order(), situation(labels=kept))) == (gone + came > 8)


def test_a_night_that_failed_or_spent_its_time_is_over_and_the_next_one_goes_on():
    tonight, tomorrow = "2026-11-24", EVENING + datetime.timedelta(days=1)
    for spent in (order(night=tonight, cpu_s=3600.0), order(night=tonight, failed=True)):
        assert decide(RULES, situation(order=spent)).step is Step.REST
        assert decide(RULES, situation(order=spent, moment=tomorrow)).step is Step.RESUME


def test_switched_off_means_that_an_unfinished_run_goes():
    assert decide(dataclasses.replace(RULES, enabled=False), situation(order=order())).step is Step.DROP


def test_only_labels_said_since_the_last_run_are_new():
    said = {"s0": 100.0, "s1": 200.0, "s2": 300.0}

    assert new_labels(situation(said_utc_s=said, last_begun_utc_s=200.0)) == 1
    assert new_labels(situation(said_utc_s=said)) == 3


def test_a_clock_that_was_set_back_does_not_hold_the_next_run_up():
    future = EVENING.timestamp() + 900 * DAY_S
    said = dict.fromkeys(LABELS, future + 1)

    assert decide(RULES, situation(last_begun_utc_s=future, said_utc_s=said)).step is Step.BEGIN


MOMENTS = st.integers(1_600_000_000, 2_100_000_000).map(lambda utc_s: datetime.datetime.fromtimestamp(utc_s, ZONE))
WINDOWS = st.tuples(st.times(), st.times()).filter(lambda pair: pair[0] != pair[1])
SITUATIONS = st.builds(
    situation,
    moment=MOMENTS,
    labels=st.dictionaries(st.sampled_from(sorted(LABELS)), st.sampled_from(["ok", "pit", "scratch"])),
    order=st.none() | st.builds(order, asked=st.booleans(), base=st.sampled_from(["a" * 64, "b" * 64])),
    last_begun_utc_s=st.none() | st.floats(0, 2e9),
    asked=st.booleans(),
)
ANY_RULES = st.builds(
    Rules,
    enabled=st.booleans(),
    window=st.none() | WINDOWS.map(lambda pair: Window(begin=pair[0], end=pair[1])),
    every_days=st.floats(0, 30),
    min_labels=st.integers(0, 50),
    min_new_labels=st.integers(0, 50),
    cpu_s=st.floats(1, 1e5),
)


@given(ANY_RULES, SITUATIONS)
def test_nothing_runs_by_itself_outside_of_its_window_or_while_it_is_off(rules, found):
    asked = found.asked or (found.order is not None and found.order.asked)
    decision = decide(rules, found)

    assert decision.reason
    if decision.step in (Step.BEGIN, Step.RESUME) and not asked:
        assert rules.enabled
        assert is_open(rules.window, found.moment)


@given(ANY_RULES, SITUATIONS)
def test_only_an_order_of_the_active_bundle_is_gone_on_with_and_nothing_is_begun_that_cannot_be_taught(rules, found):
    decision = decide(rules, found)

    if decision.step is Step.RESUME:
        assert found.order is not None
        assert found.order.base == found.base
    if decision.step is Step.BEGIN:
        assert not too_few(found.labels)
    if decision.step is Step.DROP:
        assert found.order is not None


@given(WINDOWS, MOMENTS)
def test_the_next_opening_is_within_a_day_and_opens(pair, moment):
    window = Window(begin=pair[0].replace(microsecond=0), end=pair[1])
    opens = next_opening(window, moment)

    assert datetime.timedelta(0) < opens - moment <= datetime.timedelta(days=1)
    assert opens.time() == window.begin


def test_hours_after_midnight_belong_to_the_night_before():
    assert night_of(NIGHT, EVENING) == "2026-11-24"
    assert night_of(NIGHT, EVENING + datetime.timedelta(hours=4)) == "2026-11-24"
    assert night_of(NIGHT, NOON) == "2026-11-24"
    assert night_of(None, EVENING + datetime.timedelta(hours=4)) == "2026-11-25"
