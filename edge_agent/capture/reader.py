"""One generation of reading a camera: a thread that opens, reads and delivers, and that may hang in the driver.

    open -> read -> fps limit -> view -> number -> queue         fault: back off, open again, for ever

A blocking read cannot be ended from outside. So a reader can be abandoned: whatever it still brings is discarded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.capture.picture import Image
from edge_agent.capture.queue import DEFAULT_CAPACITY, FrameQueue
from edge_agent.capture.source import Picture, Source
from edge_agent.capture.states import CameraEvent, RateLimit
from edge_agent.capture.view import EVERYTHING, View, apply
from edge_agent.clock import Clock
from edge_agent.errors import BadPictureError, CameraError
from edge_agent.records import Drop, Frame, HoldReason

DEFAULT_STALL_S = 3.0
# The first picture may take longer than the next ones: a session is set up, and a key frame awaited.
DEFAULT_FIRST_FRAME_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraPlan:
    """How one camera is to be run. `fps` None: every picture."""

    name: str
    fps: float | None = None
    view: View = EVERYTHING
    stall_s: float = DEFAULT_STALL_S
    first_frame_s: float = DEFAULT_FIRST_FRAME_S
    capacity: int = DEFAULT_CAPACITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What a camera's threads work with. `make_source` is called for each reader, with the event that ends it.
    `on_drop` hears of each frame that will not be judged, and why; it is called from camera threads and must not block.
    `prepare` gives a view the size the camera's model takes, None while there is no model: done here, so that cameras
    share the work and the inspect thread is left with inference.
    """

    plan: CameraPlan
    make_source: Callable[[threading.Event], Source]
    queue: FrameQueue
    on_drop: Callable[[Drop, str], None]
    clock: Clock
    prepare: Callable[[Image], Image | None] = lambda _image: None


class Report(Protocol):
    """Where a reader's news go."""

    def __call__(self, reader: Reader, event: CameraEvent, reason: str) -> float | None:
        """Seconds to back off after a fault, else 0; None when this reader's words no longer count."""


class Reader:
    """See the module's first lines. Used once."""

    def __init__(self, wiring: Wiring, report: Report, *, delay_s: float) -> None:
        self.allowance_s = wiring.plan.first_frame_s
        self._wiring = wiring
        self._report = report
        self._stop = threading.Event()
        self._delivering = threading.Lock()
        self._limit = RateLimit(wiring.plan.fps)
        self._due_s: float | None = None  # when patience ends; None while nothing is expected
        self._thread = threading.Thread(
            target=self._run, args=(delay_s,), name=f"camera-{wiring.plan.name}", daemon=True
        )

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start reading after the delay."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, but not for longer than this."""
        self._thread.join(timeout_s)

    def abandon(self) -> None:
        """When this returns, nothing more of this reader will be delivered, whenever its read comes back."""
        with self._delivering:
            self._stop.set()

    def patience_left_s(self) -> float:
        """Seconds until this reader is silent for too long; 0 or less when it is."""
        due_s = self._due_s
        return self._wiring.plan.stall_s if due_s is None else due_s - self._wiring.clock.mono_s()

    def _run(self, delay_s: float) -> None:
        source = self._wiring.make_source(self._stop)
        next_s: float | None = delay_s
        while next_s is not None and not self._wiring.clock.wait(self._stop, next_s):
            if self._report(self, CameraEvent.RETRY, "opening again") is None:
                return
            next_s = self._session(source)

    def _session(self, source: Source) -> float | None:
        """From open to close; seconds until the next session, None when there is to be none."""
        try:
            self._expect_within(self._wiring.plan.first_frame_s)
            source.open()
            self._read_on(source)
        except CameraError as error:
            return self._report(self, CameraEvent.FAULT, str(error))
        finally:
            self._due_s = None
            source.close()
        self._report(self, CameraEvent.END, "no more pictures")
        return None

    def _read_on(self, source: Source) -> None:
        """Deliver until the source ends or nobody wants more.

        Raises:
            CameraError: the source failed, or a live one ended.
        """
        up = not source.live
        if up:
            self._report(self, CameraEvent.UP, "open")
        while not self._stop.is_set() and (source.live or self._paced()):
            try:
                picture = source.read()
            except BadPictureError as error:
                self._lose(error)
                continue
            if picture is None:
                if source.live:
                    raise CameraError(f"{source.description}: the stream ended")
                return
            self._expect_within(self._wiring.plan.stall_s)
            if not up:
                up = self._report(self, CameraEvent.UP, "streaming") is not None
            self._take(picture, live=source.live)

    def _paced(self) -> bool:
        """Wait until the next picture of a file is wanted; False when stopped meanwhile."""
        clock = self._wiring.clock
        if clock.wait(self._stop, self._limit.wait_s(clock.mono_s())):
            return False
        self._limit.take(clock.mono_s())
        return True

    def _take(self, picture: Picture, *, live: bool) -> None:
        plan, queue, clock = self._wiring.plan, self._wiring.queue, self._wiring.clock
        utc_s, mono_s = clock.utc_s(), picture.captured_mono_s or clock.mono_s()
        if live and not self._limit.take(mono_s):
            queue.skip(plan.name, mono_s)
            return
        image = apply(plan.view, picture.image)
        begun_s = clock.mono_s()
        prepared = self._wiring.prepare(image)
        prepare_ms = (clock.mono_s() - begun_s) * 1e3
        with self._delivering:
            if self._stop.is_set():
                return
            frame = Frame(
                camera=plan.name,
                sequence=queue.next_sequence(plan.name),
                captured_utc_s=utc_s,
                captured_mono_s=mono_s,
                image=image,
                part=picture.part,
                path=picture.path,
                prepared=prepared,
                prepare_ms=prepare_ms,
            )
            drop = queue.put(frame)
        if drop is not None:
            newer = drop.reason is HoldReason.OVERLOAD
            self._wiring.on_drop(drop, "a newer frame came first" if newer else "stopped before it was judged")

    def _lose(self, error: BadPictureError) -> None:
        queue, clock = self._wiring.queue, self._wiring.clock
        with self._delivering:
            if self._stop.is_set():
                return
            drop = queue.lost(
                self._wiring.plan.name,
                captured_utc_s=clock.utc_s(),
                captured_mono_s=clock.mono_s(),
                reason=HoldReason.CAMERA,
                part=error.part,
            )
        self._wiring.on_drop(drop, str(error))

    def _expect_within(self, allowance_s: float) -> None:
        self.allowance_s = allowance_s
        self._due_s = self._wiring.clock.mono_s() + allowance_s
