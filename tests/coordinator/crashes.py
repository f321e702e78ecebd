"""The same rounds whatever kills the coordinator in between: plants send until they are answered, as they do over MQTT.

Run as a program it kills itself for good: python -m tests.coordinator.crashes FOLDER TASK KIND STATEMENT
"""

import os
import signal
import sys
from pathlib import Path

from edge_agent import storage
from edge_agent.coordinator.rounds import ENDED
from tests.coordinator.scene import GATEWAYS, Scene, claim, delta_payload, statistics_payload
from tests.fakes.clock import FakeClock


class Killed(BaseException):
    """What stands for kill -9 within one process: nothing of ours may catch it."""


class Steps:
    """Counts statements and placed files, and dies before or after one of them."""

    def __init__(self, last=None, *, after=False, die=None):
        self.count = 0
        self._last, self._after = last, after
        self._die = die or self._raise

    def step(self, act, *given):
        self.count += 1
        mine = self.count == self._last
        if mine and not self._after:
            self._die()
        result = act(*given)
        if mine and self._after:
            self._die()
        return result

    def _raise(self):
        raise Killed

    def wrap(self, connection):
        return _Counting(connection, self)


class _Counting:
    """A connection whose every statement is a step, BEGIN and COMMIT among them."""

    def __init__(self, connection, steps):
        self._connection, self._steps = connection, steps

    def execute(self, *given):
        return self._steps.step(self._connection.execute, *given)

    def executemany(self, *given):
        return self._steps.step(self._connection.executemany, *given)

    @property
    def in_transaction(self):
        return self._connection.in_transaction


def play(root, task, kind, steps, monkeypatch=None):
    """Two rounds of four plants; goes on from whatever is there. Returns the model's bytes."""
    place = storage.place_files
    if monkeypatch is not None:
        monkeypatch.setattr(storage, "place_files", lambda *given, **named: steps.step(lambda: place(*given, **named)))
        # A killed process leaves its writes to the kernel: what a flush adds matters to a power cut only.
        monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    scene = Scene(root, clock=FakeClock(), wrap=steps.wrap, keep_sums_every=2)
    try:
        if task not in scene.ledger.registry.tasks() or not {
            gateway.name for gateway in scene.ledger.registry.gateways()
        }.issuperset(GATEWAYS):
            scene.begin(task)
        for number in (1, 2):
            state = scene.ledger.round(task)
            if state is None or state.terms.number < number:
                state = scene.clerk.open_round(task, kind)
            if state.terms.number > number:
                continue
            if state.phase not in ENDED:
                _everybody(scene, state)
                state = scene.clerk.tick(task)
                assert state.phase in ENDED, state
        return scene.model(task)
    finally:
        scene.close()
        if monkeypatch is not None:
            monkeypatch.undo()


def _everybody(scene, state):
    terms = state.terms
    for gateway in GATEWAYS:
        if terms.kind == "statistics":
            payload = statistics_payload(gateway, terms.number)
        else:
            payload = delta_payload(gateway, terms.bases[0], terms.number)
        for _ in range(2):  # and once more, as if the receipt had been lost
            assert scene.clerk.receive(claim(state, gateway, payload), payload).state in {"counted", "late"}


if __name__ == "__main__":
    folder, name, what, at = sys.argv[1:]
    play(Path(folder), name, what, Steps(int(at), die=lambda: os.kill(os.getpid(), signal.SIGKILL)))
