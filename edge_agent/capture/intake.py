"""What becomes of a picture between a source and the queue. One reader has one intake and calls it from its thread.

    wanted? (trigger; every n-th; fps limit) -> view -> examine, prepare -> number -> queue

A picture that was asked for is a part and gets a number, whatever is wrong with it. One that was not is skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.capture.accounting import Skip
from edge_agent.capture.knock import Knock
from edge_agent.capture.load import EveryNth, Load, RateLimit
from edge_agent.capture.picture import Image
from edge_agent.capture.queue import DEFAULT_CAPACITY, FrameQueue
from edge_agent.capture.source import Picture, Source
from edge_agent.capture.states import backoff_s
from edge_agent.capture.view import EVERYTHING, View, apply
from edge_agent.clock import Clock
from edge_agent.errors import BadPictureError
from edge_agent.records import CameraIdentity, Drop, Frame, HoldReason, Trigger

DEFAULT_STALL_S = 3.0
# The first picture may take longer than the next ones: a session is set up, and a key frame awaited.
DEFAULT_FIRST_FRAME_S = 10.0
# A wait for a trigger looks this often whether it should end.
GATE_TURN_S = 0.2

WHY_DROPPED = {HoldReason.OVERLOAD: "a newer frame came first", HoldReason.STOPPING: "stopped before it was judged"}


class Gate(Protocol):
    """Where a camera's triggers come from. Called in the camera's thread; a trigger is given out once."""

    def claim(self, captured_mono_s: float) -> Trigger | None:
        """The trigger that the picture of this moment belongs to; None: nobody asked for it. For live sources."""

    def wait(self, stop: threading.Event, timeout_s: float) -> Trigger | None:
        """The next trigger, which takes the next picture; None when none came, or `stop` was set. For files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPlan:
    """How one camera is to be run. `fps` None: every picture; `every_nth` is thinned out before that. Neither touches
    a picture that a trigger asked for. `verdict_within_s`: later than this after its trigger, or else its picture, a
    verdict is of no use to the line; None where it does not matter. `arrives`: files that come by themselves, into a
    watched folder; a trigger takes the first that comes after it, as it would a camera's picture.
    """

    name: str
    fps: float | None = None
    every_nth: int = 1
    load: Load = Load.AUTO
    view: View = EVERYTHING
    stall_s: float = DEFAULT_STALL_S
    first_frame_s: float = DEFAULT_FIRST_FRAME_S
    capacity: int = DEFAULT_CAPACITY
    verdict_within_s: float | None = None
    arrives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a camera's threads work with. `make_source` is called for each reader, with the event that ends it.
    `on_drop` hears of each frame that will not be judged, and why; it is called from camera threads and must not block.
    `prepare` gives a view the size the camera's model takes, None while there is no model: done here, so that cameras
    share the work and the inspect thread is left with inference; `examine` says what is wrong with a view as a picture.
    `on_identity` hears which camera answered, each time one came up, and again where it says so only later; `on_unheld`
    which of its locks do not hold. `knock` asks whether something is there to be opened; `backoff_s` says how
    long to wait after so many faults. `gate` None: the camera runs freely.
    """

    plan: CameraPlan
    make_source: Callable[[threading.Event], Source]
    queue: FrameQueue
    on_drop: Callable[[Drop, str], None]
    clock: Clock
    prepare: Callable[[Image], Image | None] = lambda _image: None
    examine: Callable[[Image], HoldReason | None] = lambda _image: None
    on_identity: Callable[[str, CameraIdentity | None], None] = lambda _camera, _identity: None
    on_unheld: Callable[[str, tuple[str, ...]], None] = lambda _camera, _unheld: None
    knock: Knock | None = None
    backoff_s: Callable[[int, float], float] = backoff_s
    gate: Gate | None = None


def lose(wiring: Wiring, trigger: Trigger, reason: HoldReason, why: str, device: CameraIdentity | None) -> None:
    """Number and drop the part of a trigger that gets no picture; from any thread."""

    def build(sequence: int) -> Drop:
        return Drop(
            camera=wiring.plan.name,
            sequence=sequence,
            captured_utc_s=trigger.utc_s,
            reason=reason,
            part=trigger.part,
            recipe=trigger.recipe,
            device=device,
            trigger=trigger,
        )

    wiring.on_drop(wiring.queue.lost(wiring.plan.name, build, None), why)


class Intake:
    """See the module's first lines. `stop` ends it: what comes afterwards is discarded."""

    def __init__(self, wiring: Wiring, stop: threading.Event) -> None:
        self.device: CameraIdentity | None = None
        self._wiring = wiring
        self._stop = stop
        self._working = threading.Lock()
        self._nth = EveryNth(wiring.plan.every_nth)
        self._limit = RateLimit(wiring.plan.fps)
        self._asked: Trigger | None = None  # took the next picture of a file, which has not come yet

    def close(self) -> None:
        """When this returns, nothing more will be queued."""
        with self._working:
            self._stop.set()

    def await_turn(self) -> bool:
        """Wait until the next picture of a file is wanted: for its trigger, or its pace. False when stopped."""
        clock, gate = self._wiring.clock, self._wiring.gate
        if gate is not None and self._wiring.plan.arrives:
            return not self._stop.is_set()
        if gate is not None:
            while self._asked is None and not self._stop.is_set():
                self._asked = gate.wait(self._stop, GATE_TURN_S)
            return self._asked is not None
        if not self._nth.wants_next:
            return not self._stop.is_set()
        if clock.wait(self._stop, self._limit.wait_s(clock.mono_s())):
            return False
        self._limit.take(clock.mono_s())
        return True

    def take(self, picture: Picture, *, live: bool) -> None:
        """Queue the picture if it is wanted."""
        clock = self._wiring.clock
        utc_s, mono_s = clock.utc_s(), clock.mono_s()
        if picture.captured_mono_s is not None:
            utc_s, mono_s = utc_s - (mono_s - picture.captured_mono_s), picture.captured_mono_s
        with self._working:
            if self._stop.is_set():
                return
            trigger, skip = self._sort(mono_s, live=live)
            if skip is not None:
                self._wiring.queue.skip(self._wiring.plan.name, skip, mono_s)
                return
            with self._wiring.queue.coming():
                drop = self._queue(picture, trigger, utc_s, mono_s)
        if drop is not None:
            self._wiring.on_drop(drop, WHY_DROPPED[drop.reason])

    def bad(self, error: BadPictureError, *, live: bool) -> None:
        """A picture came that cannot be decoded: if it is wanted, its part is dropped."""
        plan, clock = self._wiring.plan, self._wiring.clock
        utc_s, mono_s = clock.utc_s(), clock.mono_s()
        with self._working:
            if self._stop.is_set():
                return
            trigger, skip = self._sort(mono_s, live=live)
            if skip is not None:
                self._wiring.queue.skip(plan.name, skip, mono_s)
                return

            def build(sequence: int) -> Drop:
                return Drop(
                    camera=plan.name,
                    sequence=sequence,
                    captured_utc_s=utc_s,
                    reason=HoldReason.CAMERA,
                    part=trigger.part if trigger is not None and trigger.part is not None else error.part,
                    recipe=trigger.recipe if trigger is not None else None,
                    device=self.device,
                    trigger=trigger,
                )

            drop = self._wiring.queue.lost(plan.name, build, mono_s)
        self._wiring.on_drop(drop, str(error))

    def forsake(self) -> None:
        """No picture will come: the part whose trigger took it is not forgotten."""
        trigger, self._asked = self._asked, None
        if trigger is not None:
            stopping = self._stop.is_set()
            reason = HoldReason.STOPPING if stopping else HoldReason.NO_PICTURE
            why = "stopped before its picture came" if stopping else "its picture did not come"
            lose(self._wiring, trigger, reason, why, self.device)

    def _sort(self, mono_s: float, *, live: bool) -> tuple[Trigger | None, Skip | None]:
        """The trigger that asked for the picture of this moment, and why it is skipped, if it is."""
        if self._wiring.gate is not None:
            by_moment = live or self._wiring.plan.arrives
            trigger, self._asked = self._wiring.gate.claim(mono_s) if by_moment else self._asked, None
            return trigger, Skip.UNTRIGGERED if trigger is None else None
        if not self._nth.take():
            return None, Skip.NTH
        if live and not self._limit.take(mono_s):
            return None, Skip.RATE
        return None, None

    def _queue(self, picture: Picture, trigger: Trigger | None, utc_s: float, mono_s: float) -> Drop | None:
        plan, clock = self._wiring.plan, self._wiring.clock
        image = apply(plan.view, picture.image)
        begun_s = clock.mono_s()
        fault = self._wiring.examine(image)
        prepared = self._wiring.prepare(image) if fault is None else None
        prepare_ms = (clock.mono_s() - begun_s) * 1e3
        due_from_s = mono_s if trigger is None else trigger.mono_s

        def build(sequence: int) -> Frame:
            return Frame(
                camera=plan.name,
                sequence=sequence,
                captured_utc_s=utc_s,
                captured_mono_s=mono_s,
                image=image,
                part=trigger.part if trigger is not None and trigger.part is not None else picture.part,
                path=picture.path,
                prepared=prepared,
                prepare_ms=prepare_ms,
                recipe=trigger.recipe if trigger is not None else None,
                device=self.device,
                trigger=trigger,
                fault=fault,
                due_mono_s=None if plan.verdict_within_s is None else due_from_s + plan.verdict_within_s,
            )

        return self._wiring.queue.put(plan.name, build)
