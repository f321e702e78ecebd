"""The inspect thread: one frame in, exactly one inspection out.

    FrameQueue --get--> each judge of the lane: (prepare) -> look -> assess -> decide --> the worst finding --> sinks

Sinks are line signal, counters and outbox. When they have it, models on trial are asked (inspect/shadow.py), and the
witness comes last and sees the picture, the heat, and whether one of them differs (evidence, the review page). How a
camera's frames are judged, its lane says (inspect/lane.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from edge_agent.clock import Clock
from edge_agent.errors import RefusedError, TransientError
from edge_agent.inspect.decide import Decision, Memory
from edge_agent.inspect.lane import Absent, Judge, Lane, Seat, Second, deciding, opinion
from edge_agent.inspect.shadow import Heard
from edge_agent.records import (
    Assessment,
    Canvas,
    Drop,
    Finding,
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


# What an inspection tells at most: with more the message would outgrow the smallest broker's limit.
DETECTIONS_MAX = 32


class FrameSource(Protocol):
    """What the loop needs of the frame queue."""

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when none came in time."""

    def done(self, frame: Frame) -> None:
        """The frame has its verdict: it is no longer in flight."""


Prepare = Callable[["NDArray[np.uint8]", Canvas], "NDArray[np.uint8]"]
Sink = Callable[[Inspection], None]
Heat: TypeAlias = "NDArray[np.float32]"
Witness = Callable[[Frame, Inspection, "Heat | None", bool], None]
# Asks the models on trial about a part whose verdict is out: frame, id, what was heard, who; whether one differs.
Follow = Callable[[Frame, str, Sequence[Heard], Mapping[str, Second]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One judge's finding and what it took; `judged` is False where the model was absent or failed. `heat` is float32
    [h, w] over the whole picture, where the model says where; `answer` is the network's.
    """

    finding: Finding
    judged: bool = False
    heat: Heat | None = field(default=None, repr=False)
    answer: Any = field(default=None, repr=False)
    prepare_s: float = 0.0
    encode_s: float = 0.0
    decide_s: float = 0.0

    @property
    def heard(self) -> Heard:
        """What a model on trial is held against."""
        network_s = self.prepare_s + self.encode_s
        took_ms = (network_s + self.decide_s) * 1e3
        return Heard(finding=self.finding, answer=self.answer, took_ms=took_ms, network_ms=network_s * 1e3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An inspection, the heat of the model whose verdict counts, and what each model of the lane made of the part."""

    inspection: Inspection
    heat: Heat | None = field(default=None, repr=False)
    looks: tuple[Looked, ...] = ()
    seconds: Mapping[str, Second] = field(default_factory=dict)


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
        follow: Follow = lambda _frame, _id, _heard, _seconds: False,
        witness: Witness = lambda _frame, _inspection, _heat, _differs: None,
    ) -> None:
        self.lanes = lanes
        self.steps = 0
        self._frames = frames
        self._prepare = prepare
        self._sinks = sinks
        self._clock = clock
        self._on_fault = on_fault
        self._follow = follow
        self._witness = witness
        self._memories: dict[tuple[str, str], Memory] = {}  # by camera and model

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
            judged = self._judge(frame)
            self._emit(judged.inspection)
        finally:
            self._frames.done(frame)
        heard = [look.heard for look in judged.looks]
        differs = self._follow(frame, judged.inspection.id, heard, judged.seconds)
        self._witness(frame, judged.inspection, judged.heat, differs)
        self.steps += 1
        return True

    def drop(self, drop: Drop) -> None:
        """A captured frame that will not be judged: a HOLD with its reason, never silence."""
        self._emit(_unjudged(drop, drop.part, drop.reason, None))

    def input_px(self, camera: str) -> tuple[int, int] | None:
        """The size to which this camera's thread can prepare its pictures, None where there is none.

        That is the size of its first model; a letterboxed picture is prepared when it is judged.
        """
        lane = self.lanes.get(camera)
        if lane is None or not isinstance(lane.first, Judge) or lane.first.canvas.letterbox:
            return None
        return lane.first.canvas.px

    def forget(self, camera: str) -> None:
        """Drop the n-of-m memories of a camera whose rules or models changed."""
        # A copy, made in one piece: the inspect thread may be adding to it.
        for key in list(self._memories):
            if key[0] == camera:
                self._memories.pop(key, None)

    def _emit(self, inspection: Inspection) -> None:
        for sink in self._sinks:
            sink(inspection)

    def _judge(self, frame: Frame) -> Judged:
        lane = self.lanes.get(frame.camera)
        taken_s = self._clock.mono_s()
        if lane is None or lane.paused:
            reason = HoldReason.MODEL if lane is None else HoldReason.PAUSED
            return Judged(inspection=_unjudged(frame, frame.part_id, reason, lane.digest if lane else None))
        if frame.fault is not None:
            return Judged(inspection=_unjudged(frame, frame.part_id, frame.fault, lane.digest))
        if frame.due_mono_s is not None and taken_s > frame.due_mono_s:
            return Judged(inspection=_unjudged(frame, frame.part_id, HoldReason.LATE, lane.digest))
        seats = lane.seats(frame.recipe)
        if seats is None:
            return Judged(inspection=_unjudged(frame, frame.part_id, HoldReason.RECIPE, lane.digest))
        ready: dict[Canvas, NDArray[np.uint8]] = {}
        if frame.prepared is not None:
            height, width = frame.prepared.shape[:2]
            ready[Canvas(px=(height, width))] = frame.prepared
        looks = tuple(self._ask(frame, seat, ready) for seat in seats)
        decided_s = self._clock.mono_s()
        inspection = _inspection(frame, looks, taken_s, decided_s)
        if frame.due_mono_s is not None and decided_s > frame.due_mono_s:
            # The part has left: what was found stays in the books, and the line is told nothing it could mistake.
            inspection = replace(inspection, verdict=Verdict.HOLD, reason=HoldReason.LATE)
        counts = deciding([look.finding for look in looks])
        heat = next(look.heat for look in looks if look.finding is counts)
        return Judged(inspection=inspection, heat=heat, looks=looks, seconds=lane.seconds)

    def _ask(self, frame: Frame, seat: Seat, ready: dict[Canvas, NDArray[np.uint8]]) -> Looked:
        """One model's finding. `ready` are the pictures that were prepared already: models may share one."""
        if isinstance(seat, Absent):
            return Looked(finding=_no_finding(seat.name, None))
        begun_s = self._clock.mono_s()
        try:
            # The camera's thread may have prepared it for another model, or for none: a swap came in between.
            picture = ready.get(seat.canvas)
            if picture is None:
                picture = ready[seat.canvas] = self._prepare(frame.image, seat.canvas)
            prepared_s = self._clock.mono_s()
            answer = seat.look(picture)
            encoded_s = self._clock.mono_s()
            key, size = (frame.camera, seat.name), (frame.image.shape[0], frame.image.shape[1])
            assessment, decision, memory = opinion(seat, answer, size, self._memories.get(key, Memory()))
        except (RefusedError, TransientError) as error:
            # The model failed on this very picture: the part is held, the line goes on, a person is told.
            self._on_fault(frame.camera, f"{seat.name}: {error}")
            return Looked(finding=_no_finding(seat.name, seat.digest))
        self._memories[key] = memory
        return Looked(
            finding=_finding(seat, assessment, decision),
            judged=True,
            heat=assessment.heat,
            answer=answer,
            prepare_s=prepared_s - begun_s,
            encode_s=encoded_s - prepared_s,
            decide_s=self._clock.mono_s() - encoded_s,
        )


def _finding(judge: Judge, assessment: Assessment, decision: Decision) -> Finding:
    return Finding(
        name=judge.name,
        model=judge.digest,
        verdict=decision.verdict,
        label=assessment.label,
        score=assessment.score,
        threshold=decision.threshold,
        reason=decision.reason,
        where=decision.where,
        detections=assessment.detections[:DETECTIONS_MAX],
        unlikeness=assessment.unlikeness,
    )


def _no_finding(name: str, digest: str | None) -> Finding:
    """The finding of a model that is absent or failed."""
    return Finding(
        name=name,
        model=digest,
        verdict=Verdict.HOLD,
        label=None,
        score=None,
        threshold=None,
        reason=HoldReason.MODEL,
        where=None,
    )


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


def _inspection(frame: Frame, looks: Sequence[Looked], taken_s: float, decided_s: float) -> Inspection:
    findings = tuple(look.finding for look in looks)
    counts = deciding(findings)
    latency = None
    if any(look.judged for look in looks):
        latency = Latency(
            queue_ms=(taken_s - frame.captured_mono_s) * 1e3 - frame.prepare_ms,
            prepare_ms=sum(look.prepare_s for look in looks) * 1e3 + frame.prepare_ms,
            encode_ms=sum(look.encode_s for look in looks) * 1e3,
            decide_ms=sum(look.decide_s for look in looks) * 1e3,
            total_ms=(decided_s - frame.captured_mono_s) * 1e3,
        )
    return Inspection(
        id=ulid(frame.captured_utc_s),
        camera=frame.camera,
        sequence=frame.sequence,
        captured_utc_s=frame.captured_utc_s,
        verdict=counts.verdict,
        label=counts.label,
        score=counts.score,
        threshold=counts.threshold,
        reason=counts.reason,
        where=counts.where,
        model=counts.model,
        latency=latency,
        part=frame.part_id,
        recipe=frame.recipe,
        device=frame.device,
        trigger=frame.trigger,
        detections=counts.detections,
        findings=findings if len(findings) > 1 else (),
        unlikeness=max((found.unlikeness for found in findings if found.unlikeness is not None), default=None),
    )
