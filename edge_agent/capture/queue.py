"""The bounded queue between camera threads and the inspect thread, and the ledger of every frame.

    camera threads --put--> one lane per camera --get, in turn--> inspect thread --done or drop-->

A full lane drops its oldest frame (the newest wins), or makes its camera thread wait (no file is dropped for speed).
One lock guards all of it: a frame is numbered and queued in one step, and the books balance whenever they are read.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge_agent.capture.accounting import Accounting, Skip
from edge_agent.clock import Clock
from edge_agent.records import Drop, Frame, HoldReason

# A live camera needs one place for the frame that waits and one for the frame that comes.
DEFAULT_CAPACITY = 2
# The rate is taken over so many frames: three seconds at 10 fps.
_RATE_FRAMES = 32


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """One camera's frames and counts; touched only under the queue's lock."""

    waits: bool
    capacity: int
    space: threading.Condition  # writers wait here; one per lane, so that no thread is woken for another's space
    closed: bool = False
    waiting: deque[Frame] = field(default_factory=deque)
    judging: set[int] = field(default_factory=set)
    captured: int = 0
    judged: int = 0
    dropped: Counter[HoldReason] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)
    reconnects: int = 0
    last_mono_s: float | None = None
    stamps: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_FRAMES))

    def count(self, mono_s: float | None) -> None:
        self.captured += 1
        if mono_s is not None:
            self.last_mono_s = mono_s
            self.stamps.append(mono_s)

    def surplus(self) -> Frame:
        """The frame to let go of: the oldest that nobody asked for, else the oldest."""
        place = next((place for place, frame in enumerate(self.waiting) if frame.trigger is None), 0)
        frame = self.waiting[place]
        del self.waiting[place]
        return frame

    def dropped_as(self, frame: Frame, reason: HoldReason) -> Drop:
        self.dropped[reason] += 1
        return Drop(
            camera=frame.camera,
            sequence=frame.sequence,
            captured_utc_s=frame.captured_utc_s,
            reason=reason,
            part=frame.part_id,
            recipe=frame.recipe,
            device=frame.device,
            trigger=frame.trigger,
        )


class FrameQueue:
    """Frames of all cameras, fair between them. Any number of threads may write and read.

    `on_flight` is told at each step whether a frame is on its way from its camera to its verdict; it is called under
    the lock and must not wait.

    Raises:
        KeyError: a camera that was never added.
        ValueError: a frame finished twice, or built with another number than it was given: a fault of the caller.
    """

    def __init__(self, clock: Clock, on_flight: Callable[[bool], None] = lambda _flying: None) -> None:
        self._clock = clock
        self._on_flight = on_flight
        self._coming = 0  # pictures that are not numbered yet
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[str] = deque()  # cameras with waiting frames, the next to be served first

    def add(self, camera: str, *, waits: bool, capacity: int = DEFAULT_CAPACITY) -> None:
        """Open the lane of a camera, or open it again with other settings; its counts and numbers go on.

        `waits`: when the lane is full its writer waits; else its oldest frame is dropped.
        """
        if capacity < 1:
            raise ValueError(f"queue of {capacity} frames for {camera}, expected 1 or more")
        with self._lock:
            lane = self._lanes.get(camera)
            if lane is None:
                space = threading.Condition(self._lock)
                self._lanes[camera] = _Lane(waits=waits, capacity=capacity, space=space)
            else:
                lane.waits, lane.capacity, lane.closed = waits, capacity, False

    def close(self, camera: str) -> None:
        """Take no more frames of this camera: a `put` that waits returns. What is queued will still be judged."""
        with self._lock:
            lane = self._lanes[camera]
            lane.closed = True
            lane.space.notify_all()

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Inside, a picture is being made ready to be put: it is on its way already."""
        with self._lock:
            self._coming += 1
            self._show()
        try:
            yield
        finally:
            with self._lock:
                self._coming -= 1
                self._show()

    def put(self, camera: str, build: Callable[[int], Frame]) -> Drop | None:
        """Number a frame (1, then without gaps) and queue it, in one step; the frame that is dropped for it, if any.

        `build` makes the frame of its number; it is called under the lock and does nothing else. A full lane that waits
        does so before it numbers. Any other drops its oldest frame (OVERLOAD), but none that a trigger asked for while
        it has one that none did. A closed lane drops the frame itself (STOPPING).
        """
        with self._lock:
            lane = self._lanes[camera]
            if lane.waits:
                lane.space.wait_for(lambda: lane.closed or len(lane.waiting) < lane.capacity)
            frame = build(lane.captured + 1)
            _check_number(camera, frame, lane.captured + 1)
            lane.count(frame.captured_mono_s)
            if lane.closed:
                return lane.dropped_as(frame, HoldReason.STOPPING)
            lane.waiting.append(frame)
            if len(lane.waiting) == 1:
                self._turns.append(camera)
            self._show()
            self._arrived.notify()
            return lane.dropped_as(lane.surplus(), HoldReason.OVERLOAD) if len(lane.waiting) > lane.capacity else None

    def lost(self, camera: str, build: Callable[[int], Drop], captured_mono_s: float | None) -> Drop:
        """Number and drop, in one step, a part that has no picture to queue.

        `captured_mono_s` is when its picture came that could not be decoded; None when none came at all: then the
        camera's rate and the age of its last picture stay what they are.
        """
        with self._lock:
            lane = self._lanes[camera]
            drop = build(lane.captured + 1)
            _check_number(camera, drop, lane.captured + 1)
            lane.count(captured_mono_s)
            lane.dropped[drop.reason] += 1
            return drop

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame, cameras in turn; None when none came within `timeout_s`. End it with `done` or `drop`."""
        with self._lock:
            if not self._turns and not self._arrived.wait_for(lambda: bool(self._turns), timeout_s):
                return None
            camera = self._turns.popleft()
            lane = self._lanes[camera]
            frame = lane.waiting.popleft()
            if lane.waiting:
                self._turns.append(camera)
            lane.judging.add(frame.sequence)
            lane.space.notify()
            return frame

    def has_waiting(self) -> bool:
        """Whether a frame waits to be judged."""
        with self._lock:
            return bool(self._turns)

    def done(self, frame: Frame) -> None:
        """The frame has its verdict."""
        with self._lock:
            self._finish(frame).judged += 1
            self._show()

    def drop(self, frame: Frame, reason: HoldReason) -> Drop:
        """The frame was taken and will not be judged after all."""
        with self._lock:
            drop = self._finish(frame).dropped_as(frame, reason)
            self._show()
            return drop

    def drain(self) -> list[Drop]:
        """Drop whatever still waits (STOPPING), in the order it would have been served."""
        with self._lock:
            drops = []
            while self._turns:
                camera = self._turns.popleft()
                lane = self._lanes[camera]
                drops.append(lane.dropped_as(lane.waiting.popleft(), HoldReason.STOPPING))
                if lane.waiting:
                    self._turns.append(camera)
                lane.space.notify()
            self._show()
            return drops

    def skip(self, camera: str, why: Skip, mono_s: float) -> None:
        """A picture came that nobody asked for, and was let go: it is no part and has no number."""
        with self._lock:
            lane = self._lanes[camera]
            lane.skipped[why] += 1
            lane.last_mono_s = mono_s

    def reconnected(self, camera: str) -> None:
        """The camera is being opened again."""
        with self._lock:
            self._lanes[camera].reconnects += 1

    def accounting(self, camera: str) -> Accounting:
        """One camera's counts at this instant."""
        with self._lock:
            return self._snapshot(self._lanes[camera])

    def accountings(self) -> dict[str, Accounting]:
        """All cameras' counts at one instant."""
        with self._lock:
            return {camera: self._snapshot(lane) for camera, lane in self._lanes.items()}

    def _finish(self, frame: Frame) -> _Lane:
        lane = self._lanes[frame.camera]
        if frame.sequence not in lane.judging:
            raise ValueError(f"{frame.camera}: frame {frame.sequence} is not being judged; it was finished before")
        lane.judging.remove(frame.sequence)
        return lane

    def _show(self) -> None:
        self._on_flight(bool(self._coming or self._turns) or any(lane.judging for lane in self._lanes.values()))

    def _snapshot(self, lane: _Lane) -> Accounting:
        now_s = self._clock.mono_s()
        return Accounting(
            captured=lane.captured,
            judged=lane.judged,
            dropped=dict(lane.dropped),
            in_flight=len(lane.waiting) + len(lane.judging),
            skipped=dict(lane.skipped),
            reconnects=lane.reconnects,
            last_frame_age_s=None if lane.last_mono_s is None else max(0.0, now_s - lane.last_mono_s),
            fps=_rate(lane.stamps, now_s),
        )


def _check_number(camera: str, what: Frame | Drop, number: int) -> None:
    if (what.camera, what.sequence) != (camera, number):
        raise ValueError(f"{what.camera}: frame {what.sequence} was built, expected {camera}: frame {number}")


def _rate(stamps: deque[float], now_s: float) -> float:
    """Frames a second: that of the stamps while they come, falling as soon as one is overdue."""
    if len(stamps) < 2 or stamps[-1] <= stamps[0]:
        return 0.0
    return min((len(stamps) - 1) / (stamps[-1] - stamps[0]), len(stamps) / (max(now_s, stamps[-1]) - stamps[0]))
