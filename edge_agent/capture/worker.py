"""One camera at work: its state, who is told, and a reader that is replaced when it falls silent.

    reader thread   opens, reads, delivers; one generation at a time counts (reader.py)
    watch thread    silent for too long? abandon the reader, start another   (live cameras only; wakes every `stall_s`)

States and moves are the table in states.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.capture.intake import Wiring, lose
from edge_agent.capture.reader import Reader
from edge_agent.capture.states import HEALTHY_S, TABLE, CameraEvent, CameraState
from edge_agent.records import CameraIdentity, HoldReason, Trigger

# Readers left behind in a driver: each holds a connection and a picture or two. When so many hang, the next one waits
# until one of them returns.
MOST_HANGING = 3
STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraStatus:
    """What a camera is doing, since when and why. `source` without credentials; `failures` counts faults in a row."""

    camera: str
    source: str
    state: CameraState
    reason: str
    since_utc_s: float
    since_mono_s: float
    failures: int = 0


class CameraWorker:
    """Runs one camera. `on_change` hears of each change of state, in order, from camera threads; it must return quickly
    and not call the worker. `rng` spreads the backoff.
    """

    def __init__(self, wiring: Wiring, on_change: Callable[[CameraStatus], None], rng: np.random.Generator) -> None:
        self._wiring = wiring
        self._on_change = on_change
        self._rng = rng
        self._stop = threading.Event()
        self._changing = threading.RLock()  # guards what follows, and the order in which `on_change` is called
        self._reader: Reader | None = None  # the one whose words count
        self._left: list[Reader] = []  # given up; their threads may still hang
        self._status = CameraStatus(
            camera=wiring.plan.name,
            source="",
            state=CameraState.OPENING,
            reason="starting",
            since_utc_s=wiring.clock.utc_s(),
            since_mono_s=wiring.clock.mono_s(),
        )

    @property
    def status(self) -> CameraStatus:
        """What the camera is doing now."""
        return self._status

    def start(self) -> None:
        """Open the camera's lane in the queue and start reading."""
        plan = self._wiring.plan
        source = self._wiring.make_source(self._stop)
        self._wiring.queue.add(plan.name, waits=plan.load.waits(live=source.live), capacity=plan.capacity)
        with self._changing:
            self._status = replace(self._status, source=source.description)
            self._on_change(self._status)
            self._begin(delay_s=0.0)
        if source.live:
            threading.Thread(target=self._watch, name=f"camera-{plan.name}-watch", daemon=True).start()

    def lose(self, trigger: Trigger, reason: HoldReason, why: str) -> None:
        """The part of this trigger gets no picture: it is numbered and dropped. From any thread."""
        lose(self._wiring, trigger, reason, why, self._device())

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Halt, and wait for the reader's thread; returns within `timeout_s` even if the driver hangs."""
        self.halt()
        self.join(timeout_s)

    def halt(self) -> None:
        """Read no more: when this returns, nothing is queued any more. Halt all cameras first, then join each."""
        self._stop.set()
        self._wiring.queue.close(self._wiring.plan.name)  # first, so that a reader that waits for space lets go
        with self._changing:
            reader, self._reader = self._reader, None
            self._change(CameraEvent.STOP, "stopped")
            if reader is not None:
                self._left.append(reader)
        if reader is not None:
            reader.abandon()

    def join(self, timeout_s: float) -> None:
        """After `halt`: wait for the thread that read last."""
        for reader in self._left[-1:]:
            reader.join(timeout_s)

    def _device(self) -> CameraIdentity | None:
        reader = self._reader
        return None if reader is None else reader.device

    def _report(self, reader: Reader, event: CameraEvent, reason: str) -> float | None:
        with self._changing:
            if reader is not self._reader:
                return None
            if self._change(event, reason) and event in (CameraEvent.RETRY, CameraEvent.BACK):
                self._wiring.queue.reconnected(self._wiring.plan.name)
            return self._backoff_s() if event is CameraEvent.FAULT else 0.0

    def _watch(self) -> None:
        wait_s = self._wiring.plan.stall_s
        while not self._wiring.clock.wait(self._stop, wait_s):
            with self._changing:
                wait_s = self._look()

    def _look(self) -> float:
        """Give up a reader that is silent for too long, start another; seconds until it is worth looking again."""
        stall_s = self._wiring.plan.stall_s
        self._left = [reader for reader in self._left if reader.alive]
        reader = self._reader
        if reader is not None:
            left_s = reader.patience_left_s()
            if left_s > 0 and reader.alive:
                return min(left_s, stall_s)
            reader.abandon()
            self._reader = None
            self._left.append(reader)
            more = f"; {MOST_HANGING} reads hang" if len(self._left) == MOST_HANGING else ""
            silence = f"no picture for {reader.allowance_s - left_s:.1f} s{more}"
            self._change(CameraEvent.SILENCE, silence if reader.alive else "its reader broke; the log says how")
        if len(self._left) < MOST_HANGING and not self._stop.is_set():
            self._begin(delay_s=self._backoff_s())
        return stall_s

    def _begin(self, delay_s: float) -> None:
        self._reader = Reader(self._wiring, self._report, delay_s=delay_s)
        self._reader.start()

    def _backoff_s(self) -> float:
        return self._wiring.backoff_s(max(1, self._status.failures), float(self._rng.random()))

    def _change(self, event: CameraEvent, reason: str) -> bool:
        """Move along the table and tell; False when the table has no such move from here."""
        before, now_s = self._status, self._wiring.clock.mono_s()
        state = TABLE[before.state].get(event)
        if state is None:
            return False
        failures = before.failures
        if event in (CameraEvent.FAULT, CameraEvent.SILENCE):
            healthy = before.state is CameraState.STREAMING and now_s - before.since_mono_s >= HEALTHY_S
            failures = 1 if healthy else failures + 1
        elif event is CameraEvent.BACK:
            failures = 0  # it has just started: what it was before tells nothing about now
        self._status = replace(
            before,
            state=state,
            reason=reason,
            since_utc_s=self._wiring.clock.utc_s(),
            since_mono_s=now_s,
            failures=failures,
        )
        self._on_change(self._status)
        return True
