"""What the inspect loop offers for keeping: an inspection, and its picture not yet encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.evidence.keeping import Look
from edge_agent.evidence.store import Vector
from edge_agent.records import Inspection, KeepReason, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A picture as a file: its bytes, what its name ends in (".jpg"), its size."""

    content: bytes = field(repr=False)
    suffix: str
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One judged part. `likeness` (the 64-bit perceptual hash) and `encode` are called in the writer's thread, and
    `encode` only if the picture is kept; until then the candidate holds `held_bytes` of memory.

    `task` names the model that judges; `unlikeness` is its Mahalanobis distance in units of its own limit. `group` is
    the batch, where something knows it; None lets the part or the time decide. `heat`, called like `encode`, gives a
    small PNG to lay over the picture, or None where the model says nothing of places. `differs`: a model on trial says
    something else of it.
    """

    inspection: Inspection
    task: str
    held_bytes: int
    likeness: Callable[[], int] = field(repr=False)
    encode: Callable[[], Encoded] = field(repr=False)
    heat: Callable[[], bytes | None] | None = field(default=None, repr=False)
    unlikeness: float | None = None
    group: str | None = None
    differs: bool = False
    vector: Vector | None = None

    def look(self, likeness: int) -> Look:
        """What it is compared by."""
        found = self.inspection
        return Look(likeness=likeness, verdict=found.verdict, label=found.label, score=found.score, where=found.where)

    def sample(self, encoded: Encoded, *, likeness: int, kept: tuple[KeepReason, ...], group: str) -> Sample:
        """Its record, as far as it is known before it is stored."""
        found = self.inspection
        return Sample(
            id=found.id,
            task=self.task,
            captured_utc_s=found.captured_utc_s,
            group=self.group or group,
            kept=kept,
            camera=found.camera,
            part=found.part,
            recipe=found.recipe,
            verdict=found.verdict,
            reason=found.reason,
            label=found.label,
            score=found.score,
            threshold=found.threshold,
            where=found.where,
            model=found.model,
            likeness=likeness,
            width_px=encoded.width_px,
            height_px=encoded.height_px,
        )


def look_of(sample: Sample) -> Look | None:
    """What a stored sample is compared by; None where its fingerprint is not known."""
    if sample.likeness is None:
        return None
    return Look(
        likeness=sample.likeness, verdict=sample.verdict, label=sample.label, score=sample.score, where=sample.where
    )
