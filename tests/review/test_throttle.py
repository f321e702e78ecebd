"""Guessing gets slower and slower, forgetting takes an hour, and no stranger makes the list of failures endless."""

import pytest

from edge_agent.review.throttle import FREE_BY_ADDRESS, FREE_BY_NAME, LONGEST_WAIT_S, MOST_ENTRIES, Throttle
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def test_the_waits_double_up_to_a_longest_one(throttle, clock):
    waits = []
    for _ in range(FREE_BY_NAME + 12):
        clock.advance(throttle.wait_s("10.0.0.7", "ann"))
        throttle.failed("10.0.0.7", "ann")
        waits.append(throttle.wait_s("10.0.0.7", "ann"))

    assert waits[: FREE_BY_NAME - 1] == [0.0] * (FREE_BY_NAME - 1)
    assert waits[FREE_BY_NAME - 1 : FREE_BY_NAME + 3] == pytest.approx([1, 2, 4, 8])
    assert waits[-1] == pytest.approx(LONGEST_WAIT_S)


def test_many_names_from_one_address_wait_together_and_other_addresses_do_not(throttle):
    for number in range(FREE_BY_ADDRESS):
        throttle.failed("10.0.0.7", f"guess-{number}")

    assert throttle.wait_s("10.0.0.7", "ann") > 0
    assert throttle.wait_s("10.0.0.8", "ann") == 0


def test_another_spelling_of_a_name_is_no_new_start(throttle):
    for name in ("ann", "Ann", "ANN", "aNN", "anN"):
        throttle.failed("10.0.0.7", name)

    assert throttle.wait_s("10.0.0.7", "AnN") > 0


def test_a_right_password_and_an_hour_make_it_as_if_nothing_was(throttle, clock):
    for _ in range(FREE_BY_NAME):
        throttle.failed("10.0.0.7", "ann")
    clock.advance(1)
    throttle.succeeded("10.0.0.7", "ann")
    throttle.failed("10.0.0.7", "ann")
    assert throttle.wait_s("10.0.0.7", "ann") == 0

    for _ in range(FREE_BY_NAME):
        throttle.failed("10.0.0.7", "ann")
    clock.advance(3601)
    throttle.failed("10.0.0.7", "ann")
    assert throttle.wait_s("10.0.0.7", "ann") == 0


def test_a_flood_of_names_does_not_fill_the_memory(throttle):
    for number in range(MOST_ENTRIES + 500):
        throttle.failed(f"10.0.{number >> 8}.{number & 255}", f"guess-{number}")

    assert len(throttle._failures) <= MOST_ENTRIES + 1
