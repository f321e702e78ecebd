"""The gateway tells who trains when it judges a part, and does not mind how it is heard."""

import socket

import pytest

from edge_agent.clock import SystemClock
from edge_agent.models.finetune.right_of_way import WAY_SOCKET, RightOfWay
from tests.waiting import until

CAMERA = {"top": {"source": "synthetic:good", "fps": 10, "mode": "trained"}}


@pytest.fixture
def running(gateway_with):
    """A gateway that inspects ten parts a second."""
    return gateway_with(CAMERA).start("inspect")


def _judged(gateway):
    return (gateway.camera("top") or {}).get("judged", 0)


def test_the_gateway_says_when_it_judges_a_part_and_when_it_has_judged_it(running):
    told = []
    way = RightOfWay(running.runtime / WAY_SOCKET, SystemClock(), told.append)
    try:
        until(lambda: sum(told) > 10 and told.count(False) > 10)
        # Ten parts a second that take milliseconds: most of the time the way is free.
        way.share()
        seen = len(told)
        until(lambda: len(told) > seen + 20)
        assert way.share() < 0.5
    finally:
        way.close()

    before = _judged(running)
    until(lambda: _judged(running) > before + 20)


@pytest.mark.long
def test_inspection_goes_on_beside_a_learner_that_hears_nothing(running):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:  # bound, and never read
        deaf.bind(str(running.runtime / WAY_SOCKET))
        before = _judged(running)
        until(lambda: _judged(running) > before + 40)
    before = _judged(running)
    until(lambda: _judged(running) > before + 20)
    assert running.camera("top")["dropped"] == {}
