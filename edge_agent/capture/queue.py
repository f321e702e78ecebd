"""The bounded queue between camera threads and the inspect thread, and the ledger of every frame.

    camera threads --put--> one lane per camera --get, in turn--> inspect thread --done or drop-->

A live lane that is full drops its oldest frame: the newest wins. A lane of files makes its camera thread wait: no file
is dropped for speed. One lock guards all of it, so the books balance whenever they are read.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from edge_agent.capture.accounting import Accounting
from edge_agent.clock import Clock
from edge_agent.records import Drop, Frame, HoldReason

# A live camera needs one place for the frame that waits and one for the frame that comes.
DEFAULT_CAPACITY = 2
# The rate is taken over so many frames: three seconds at 10 fps.
_RATE_FRAMES = 32


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """One camera's frames and counts; touched only under the queue's lock."""

    live: bool
    capacity: int
    space: threading.Condition  # file lanes wait here; one per lane, so that no thread is woken for another's space
    closed: bool = False
    waiting: deque[Frame] = field(default_factory=deque)
    judging: set[int] = field(default_factory=set)
    captured: int = 0
    judged: int = 0
    dropped: Counter[HoldReason] = field(default_factory=Counter)
    skipped: int = 0
    reconnects: int = 0
    last_mono_s: float | None = None
    stamps: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_FRAMES))

    def count(self, mono_s: float) -> None:
        self.captured += 1
        self.last_mono_s = mono_s
        self.stamps.append(mono_s)

    def dropped_as(self, frame: Frame, reason: HoldReason) -> Drop:
        self.dropped[reason] += 1
        return Drop(
            camera=frame.camera,
            sequence=frame.sequence,
            captured_utc_s=frame.captured_utc_s,
            reason=reason,
            part=frame.part_id,
        )


class FrameQueue:
    """Frames of all cameras, fair between them. Each camera has one writer; any number of threads may read.

    Raises:
        KeyError: a camera that was never added.
        ValueError: a frame out of sequence, or finished twice: a fault of the caller, not of the world.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._lanes: dict[str, _Lane] = {}
        self._turns: deque[str] = deque()  # cameras with waiting frames, the next to be served first

    def add(self, camera: str, *, live: bool, capacity: int = DEFAULT_CAPACITY) -> None:
        """Open the lane of a camera, or open it again with other settings; its counts and numbers go on."""
        if capacity < 1:
            raise ValueError(f"queue of {capacity} frames for {camera}, expected 1 or more")
        with self._lock:
            lane = self._lanes.get(camera)
            if lane is None:
                space = threading.Condition(self._lock)
                self._lanes[camera] = _Lane(live=live, capacity=capacity, space=space)
            else:
                lane.live, lane.capacity, lane.closed = live, capacity, False

    def close(self, camera: str) -> None:
        """Take no more frames of this camera: a `put` that waits returns. What is queued will still be judged."""
        with self._lock:
            lane = self._lanes[camera]
            lane.closed = True
            lane.space.notify_all()

    def next_sequence(self, camera: str) -> int:
        """The number of the camera's next frame: 1, then without gaps."""
        with self._lock:
            return self._lanes[camera].captured + 1

    def put(self, frame: Frame) -> Drop | None:
        """Queue a frame; the frame that is dropped for it, if any.

        A full live lane drops its oldest frame (OVERLOAD). A full lane of files waits until there is space. A closed
        lane drops the frame itself (STOPPING).
        """
        with self._lock:
            lane = self._lanes[frame.camera]
            if not lane.live:
                lane.space.wait_for(lambda: lane.closed or len(lane.waiting) < lane.capacity)
            if frame.sequence != lane.captured + 1:
                raise ValueError(f"{frame.camera}: frame {frame.sequence} after {lane.captured}; one writer a camera")
            lane.count(frame.captured_mono_s)
            if lane.closed:
                return lane.dropped_as(frame, HoldReason.STOPPING)
            lane.waiting.append(frame)
            if len(lane.waiting) == 1:
                self._turns.append(frame.camera)
            self._arrived.notify()
            if len(lane.waiting) > lane.capacity:
                return lane.dropped_as(lane.waiting.popleft(), HoldReason.OVERLOAD)
            return None

    def lost(
        self,
        camera: str,
        *,
        captured_utc_s: float,
        captured_mono_s: float,
        reason: HoldReason,
        part: str | None = None,
    ) -> Drop:
        """Number and drop a frame that has no picture to queue: what came could not be decoded."""
        with self._lock:
            lane = self._lanes[camera]
            lane.count(captured_mono_s)
            lane.dropped[reason] += 1
            return Drop(camera=camera, sequence=lane.captured, captured_utc_s=captured_utc_s, reason=reason, part=part)

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

    def done(self, frame: Frame) -> None:
        """The frame has its verdict."""
        with self._lock:
            self._finish(frame).judged += 1

    def drop(self, frame: Frame, reason: HoldReason) -> Drop:
        """The frame was taken and will not be judged after all."""
        with self._lock:
            return self._finish(frame).dropped_as(frame, reason)

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
            return drops

    def skip(self, camera: str, mono_s: float) -> None:
        """A picture above the fps limit came and was let go."""
        with self._lock:
            lane = self._lanes[camera]
            lane.skipped += 1
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

    def _snapshot(self, lane: _Lane) -> Accounting:
        now_s = self._clock.mono_s()
        return Accounting(
            captured=lane.captured,
            judged=lane.judged,
            dropped=dict(lane.dropped),
            in_flight=len(lane.waiting) + len(lane.judging),
            skipped=lane.skipped,
            reconnects=lane.reconnects,
            last_frame_age_s=None if lane.last_mono_s is None else max(0.0, now_s - lane.last_mono_s),
            fps=_rate(lane.stamps, now_s),
        )


def _rate(stamps: deque[float], now_s: float) -> float:
    """Frames a second: that of the stamps while they come, falling as soon as one is overdue."""
    if len(stamps) < 2 or stamps[-1] <= stamps[0]:
        return 0.0
    return min((len(stamps) - 1) / (stamps[-1] - stamps[0]), len(stamps) / (max(now_s, stamps[-1]) - stamps[0]))
