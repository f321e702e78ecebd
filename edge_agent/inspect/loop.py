"""The inspect thread: one frame in, exactly one inspection out.

    FrameQueue --get--> (prepare) -> encode -> assess -> decide --> sinks (counters, outbox, line signal, evidence)

A lane says how one camera's frames are judged. Lanes are frozen and replaced by one assignment between two steps, so a
step never sees two models, and a new head, threshold or encoder needs no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_agent.clock import Clock
from edge_agent.errors import RefusedError, TransientError
from edge_agent.inspect.decide import Decision, Memory, Rules, decide
from edge_agent.records import (
    Assessment,
    Drop,
    Features,
    Frame,
    HoldReason,
    Inspection,
    Latency,
    Verdict,
    ulid,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FrameSource(Protocol):
    """What the loop needs of the frame queue."""

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when none came in time."""

    def done(self, frame: Frame) -> None:
        """The frame has its verdict: it is no longer in flight."""


class Encode(Protocol):
    """What the loop needs of a model: features of a picture of its input size."""

    @property
    def input_px(self) -> tuple[int, int]: ...

    def encode(self, picture: NDArray[np.uint8]) -> Features: ...


class Assessor(Protocol):
    """A head, or a good-only model that is still learning: what it says of one picture."""

    def assess(self, features: Features) -> Assessment: ...


Prepare = Callable[["NDArray[np.uint8]", tuple[int, int]], "NDArray[np.uint8]"]
Sink = Callable[[Inspection], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """How one camera's frames are judged. `encoder` None: no usable model, every part is a HOLD."""

    encoder: Encode | None
    assessor: Assessor | None
    digest: str | None
    rules: Rules
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Monotonic seconds at the borders of the stages of one step."""

    taken_s: float
    prepared_s: float
    encoded_s: float
    decided_s: float


class InspectLoop:
    """Judges frames one at a time. `step` is called by the inspect thread only, `drop` by any camera thread."""

    def __init__(
        self,
        *,
        frames: FrameSource,
        lanes: Mapping[str, Lane],
        prepare: Prepare,
        sinks: tuple[Sink, ...],
        clock: Clock,
        on_fault: Callable[[str, str], None],
    ) -> None:
        self.lanes = lanes
        self.steps = 0
        self._frames = frames
        self._prepare = prepare
        self._sinks = sinks
        self._clock = clock
        self._on_fault = on_fault
        self._memories: dict[str, Memory] = {}

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set."""
        while not stop.is_set():
            self.step(0.2)

    def step(self, timeout_s: float) -> bool:
        """Judge the next frame; False when none came within `timeout_s`."""
        frame = self._frames.get(timeout_s)
        if frame is None:
            self.steps += 1
            return False
        try:
            self._emit(self._judge(frame))
        finally:
            self._frames.done(frame)
        self.steps += 1
        return True

    def drop(self, drop: Drop) -> None:
        """A captured frame that will not be judged: a HOLD with its reason, never silence."""
        self._emit(_unjudged(drop, drop.part, drop.reason, None))

    def input_px(self, camera: str) -> tuple[int, int] | None:
        """The size of picture this camera's model takes now, None while it has none."""
        lane = self.lanes.get(camera)
        return lane.encoder.input_px if lane is not None and lane.encoder is not None else None

    def forget(self, camera: str) -> None:
        """Drop the n-of-m memory of a camera whose rules or model changed."""
        self._memories.pop(camera, None)

    def _emit(self, inspection: Inspection) -> None:
        for sink in self._sinks:
            sink(inspection)

    def _judge(self, frame: Frame) -> Inspection:
        lane = self.lanes.get(frame.camera)
        taken_s = self._clock.mono_s()
        if lane is None or lane.paused or lane.encoder is None or lane.assessor is None:
            reason = HoldReason.PAUSED if lane is not None and lane.paused else HoldReason.MODEL
            return _unjudged(frame, frame.part_id, reason, lane.digest if lane else None)
        if frame.fault is not None:
            return _unjudged(frame, frame.part_id, frame.fault, lane.digest)
        try:
            picture = frame.prepared
            if picture is None or picture.shape[:2] != lane.encoder.input_px:
                # The camera's thread prepared it for another model, or for none: a swap came in between.
                picture = self._prepare(frame.image, lane.encoder.input_px)
            prepared_s = self._clock.mono_s()
            features = lane.encoder.encode(picture)
            encoded_s = self._clock.mono_s()
            assessment = lane.assessor.assess(features)
        except (RefusedError, TransientError) as error:
            # The model failed on this very picture: the part is held, the line goes on, a person is told.
            self._on_fault(frame.camera, str(error))
            return _unjudged(frame, frame.part_id, HoldReason.MODEL, lane.digest)
        memory = self._memories.get(frame.camera, Memory())
        decision, self._memories[frame.camera] = decide(assessment, lane.rules, memory)
        times = StepTimes(taken_s=taken_s, prepared_s=prepared_s, encoded_s=encoded_s, decided_s=self._clock.mono_s())
        return _inspection(frame, assessment, decision, lane.digest, times)


def _unjudged(what: Frame | Drop, part: str | None, reason: HoldReason, digest: str | None) -> Inspection:
    """A HOLD for a frame that no model judged."""
    return Inspection(
        id=ulid(what.captured_utc_s),
        camera=what.camera,
        sequence=what.sequence,
        captured_utc_s=what.captured_utc_s,
        verdict=Verdict.HOLD,
        label=None,
        score=None,
        threshold=None,
        reason=reason,
        where=None,
        model=digest,
        latency=None,
        part=part,
        recipe=what.recipe,
        device=what.device,
        trigger=what.trigger,
    )


def _inspection(
    frame: Frame, assessment: Assessment, decision: Decision, digest: str | None, times: StepTimes
) -> Inspection:
    return Inspection(
        id=ulid(frame.captured_utc_s),
        camera=frame.camera,
        sequence=frame.sequence,
        captured_utc_s=frame.captured_utc_s,
        verdict=decision.verdict,
        label=assessment.label,
        score=assessment.score,
        threshold=decision.threshold,
        reason=decision.reason,
        where=decision.where,
        model=digest,
        latency=Latency(
            queue_ms=(times.taken_s - frame.captured_mono_s) * 1e3 - frame.prepare_ms,
            prepare_ms=(times.prepared_s - times.taken_s) * 1e3 + frame.prepare_ms,
            encode_ms=(times.encoded_s - times.prepared_s) * 1e3,
            decide_ms=(times.decided_s - times.encoded_s) * 1e3,
            total_ms=(times.decided_s - frame.captured_mono_s) * 1e3,
        ),
        part=frame.part_id,
        recipe=frame.recipe,
        device=frame.device,
        trigger=frame.trigger,
    )
