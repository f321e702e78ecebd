"""One line signal: a thread that shows the line each verdict, a heartbeat, and the fail-safe whenever in doubt.

    inspect thread --put--> VerdictQueue --> output of each camera (signals.py) --one write--> port: PLC, GPIO, socket

Nothing the line does can hold the inspect thread up. While the line cannot be reached, verdicts are counted and not
kept: when it answers again it is first shown the fail-safe, never what is stale.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.backoff import backoff_s
from edge_agent.line.signals import HEARTBEATS, LineEvent, Output, first_output, moved, told, untold
from edge_agent.line.verdict_queue import Numbered, VerdictQueue
from edge_agent.records import Inspection, Verdict

CLOSE_S = 2.0
LATENCIES_KEPT = 512
# The watch looks this often within the time after which silence counts.
LOOKS = 4


class Port(Protocol):
    """A way to show outputs. Used by one thread; `write` opens what is not open."""

    def write(self, outputs: Mapping[str, Output]) -> None:
        """Show these cameras' outputs, each whole.

        Raises:
            LineError: the line was not reached, or nobody listens.
        """

    def close(self) -> None:
        """Let go; also twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalPlan:
    """How one signal is to be run. `cameras` in the order of their blocks; `safe` is the fail-safe verdict."""

    name: str
    to: str
    cameras: tuple[str, ...]
    safe: Verdict = Verdict.HOLD
    heartbeat_s: float = 0.5
    stall_s: float = 2.0
    show_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalStatus:
    """One signal now. `written` counts verdicts shown, `missed` those that were not; latencies are trigger to written.
    `states` by camera.
    """

    to: str
    connected: bool
    reason: str
    written: int
    missed: int
    states: dict[str, str]
    last_verdict: str | None
    last_part: str | None
    heartbeat_age_s: float | None
    latencies_ms: tuple[float, ...] = ()


class Signaller:
    """See the module's first lines. `steps` counts the turns of the inspect loop; `note(active, text)` hears of the
    line being lost and found.
    """

    def __init__(
        self, plan: SignalPlan, port: Port, *, steps: Callable[[], int], clock: Clock, note: Callable[[bool, str], None]
    ) -> None:
        self.plan = plan
        self._queue = VerdictQueue(plan.cameras, clock, show_s=plan.show_s)
        self._clock = clock
        self._link = _Link(port, clock, note)
        self._board = _Board(plan, steps, clock)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"signal-{plan.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, inspection: Inspection) -> None:
        """A verdict that may be told; from any thread, never waits."""
        self._queue.put(inspection)

    def expect(self, inspection: Inspection) -> None:
        """A verdict that may be told once it is durable: then `put` it."""
        self._queue.expect(inspection)

    def set_up(self, camera: str, *, up: bool) -> None:
        """Whether this camera gives pictures; from any thread."""
        self._board.up[camera] = up
        self._queue.kick()

    def halt(self) -> None:
        """Show that we stop, and end. Halt all signals first, then join each."""
        self._closing.set()
        self._queue.kick()

    def join(self, timeout_s: float = CLOSE_S) -> None:
        """After `halt`: wait for its last word, but not for longer than this."""
        self._thread.join(timeout_s)

    @property
    def status(self) -> SignalStatus:
        board, link = self._board, self._link
        last, beat_s = board.last, board.beat_s
        return SignalStatus(
            to=self.plan.to,
            connected=link.connected,
            reason=link.reason,
            written=link.written,
            missed=self._queue.missed + link.missed,
            states={camera: output.state.name.lower() for camera, output in board.outputs.items()},
            last_verdict=last.verdict.value if last else None,
            last_part=last.part if last else None,
            heartbeat_age_s=None if beat_s is None else self._clock.mono_s() - beat_s,
            latencies_ms=tuple(link.latencies_ms),
        )

    def _run(self) -> None:
        while not self._closing.is_set():
            self._turn()
            self._queue.wait(self._seconds_to_next())
        self._board.move_all(LineEvent.STOP)
        self._link.farewell(self._board.outputs)

    def _turn(self) -> None:
        board, link = self._board, self._link
        board.watch(self._queue.awaited_s())
        everything = board.beat()
        if not link.connected:
            board.forget(self._queue.forget())
            everything = link.is_due()
        verdicts = self._queue.take() if link.connected else {}
        changed = board.show(verdicts)
        wanted = board.outputs if everything else changed
        if wanted and (link.connected or everything) and not link.write(wanted, verdicts):
            board.forget(self._queue.forget())

    def _seconds_to_next(self) -> float:
        watch_s = self.plan.stall_s / LOOKS
        return min(watch_s, self._board.seconds_to_beat(), self._link.seconds_to_retry())


class _Board:
    """What every camera's block shows now. Changed by the signal's thread only, but for `up`."""

    def __init__(self, plan: SignalPlan, steps: Callable[[], int], clock: Clock) -> None:
        self.outputs = {camera: first_output(plan.safe) for camera in plan.cameras}
        self.up = dict.fromkeys(plan.cameras, False)
        self.last: Inspection | None = None
        self.beat_s: float | None = None  # when the heartbeat moved last
        self._plan = plan
        self._steps = steps
        self._clock = clock
        self._seen = steps()
        self._turned_s: float | None = None
        self._changed: set[str] = set()
        self._next_beat_s = 0.0

    def watch(self, awaited_s: float) -> None:
        """See whether the inspect loop turns, and the cameras give pictures; move states accordingly.

        `awaited_s` is for how long a verdict has waited to become durable: for too long is a stall too.
        """
        now_s, steps = self._clock.mono_s(), self._steps()
        if steps != self._seen:
            self._seen, self._turned_s = steps, now_s
        for camera in self.outputs:
            fine = self.turning and self.up[camera] and awaited_s < self._plan.stall_s
            self._put(camera, moved(self.outputs[camera], LineEvent.TURNING if fine else LineEvent.SILENT))

    @property
    def turning(self) -> bool:
        """Whether the inspect loop moved within the time it is allowed."""
        return self._turned_s is not None and self._clock.mono_s() - self._turned_s < self._plan.stall_s

    def seconds_to_beat(self) -> float:
        return max(0.0, self._next_beat_s - self._clock.mono_s())

    def beat(self) -> bool:
        """Whether it is time to write everything; the heartbeat moves then, if the inspect loop does."""
        now_s = self._clock.mono_s()
        if now_s < self._next_beat_s:
            return False
        self._next_beat_s = now_s + self._plan.heartbeat_s
        if self.turning:
            self.beat_s = now_s
            for camera, output in self.outputs.items():
                self.outputs[camera] = dataclasses.replace(output, heartbeat=(output.heartbeat + 1) % HEARTBEATS)
        return True

    def show(self, verdicts: Mapping[str, Numbered]) -> dict[str, Output]:
        """Take verdicts in; the outputs that differ from what was given out before."""
        for camera, numbered in verdicts.items():
            self.last = numbered.inspection
            self._changed.add(camera)
            self.outputs[camera] = told(self.outputs[camera], numbered.inspection, numbered.sequence)
        changed, self._changed = self._changed, set()
        return {camera: self.outputs[camera] for camera in changed}

    def forget(self, sequences: Mapping[str, int]) -> None:
        """Nobody could be told: no verdict stands any more."""
        for camera, sequence in sequences.items():
            self.outputs[camera] = untold(self.outputs[camera], sequence)

    def move_all(self, event: LineEvent) -> None:
        for camera, output in self.outputs.items():
            self.outputs[camera] = moved(output, event)

    def _put(self, camera: str, output: Output) -> None:
        if output != self.outputs[camera]:
            self.outputs[camera] = output
            self._changed.add(camera)


class _Link:
    """The port, and whether it works."""

    def __init__(self, port: Port, clock: Clock, note: Callable[[bool, str], None]) -> None:
        self.connected = False
        self.reason = "not tried yet"
        self.written = 0
        self.missed = 0
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._port = port
        self._clock = clock
        self._note = note
        self._failures = 0
        self._retry_s = 0.0

    def is_due(self) -> bool:
        """Whether it is worth trying again."""
        return self._clock.mono_s() >= self._retry_s

    def seconds_to_retry(self) -> float:
        return float("inf") if self.connected else max(0.0, self._retry_s - self._clock.mono_s())

    def write(self, outputs: Mapping[str, Output], verdicts: Mapping[str, Numbered]) -> bool:
        """Show `outputs`, in which `verdicts` are new; False when the line could not be reached."""
        try:
            self._port.write(outputs)
        except LineError as error:
            self._lost(str(error), len(verdicts))
            return False
        now_s = self._clock.mono_s()
        self.written += len(verdicts)
        for numbered in verdicts.values():
            if numbered.inspection.trigger is not None:
                self.latencies_ms.append((now_s - numbered.inspection.trigger.mono_s) * 1e3)
        if not self.connected:
            self.connected, self.reason, self._failures = True, "", 0
            self._note(False, "the line is told")
        return True

    def farewell(self, outputs: Mapping[str, Output]) -> None:
        """The last word, if it can be said: also to a line that was lost, it may be back by now."""
        try:
            self._port.write(outputs)
        except LineError as error:
            self.reason = str(error)
        self._port.close()

    def _lost(self, reason: str, verdicts: int) -> None:
        self._port.close()
        self.connected, self.reason = False, reason
        self.missed += verdicts
        self._failures += 1
        self._retry_s = self._clock.mono_s() + backoff_s(self._failures)
        self._note(True, reason)
