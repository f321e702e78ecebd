"""How one camera's frames are judged: by which models, with which rules, and what several verdicts come to. Pure.

    lane --seats(recipe)--> judges --each: look, assess, decide--> findings --worst--> the one that counts

Lanes are frozen and replaced by one assignment between two steps, so a step never sees two models, and a new head,
threshold or network needs no lock.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edge_agent.errors import InferenceError
from edge_agent.inspect.decide import Decision, Memory, Rules, decide
from edge_agent.records import Assessment, Canvas, Detection, Finding, Region, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORST_FIRST = (Verdict.FAIL, Verdict.HOLD, Verdict.PASS)


class Assessor(Protocol):
    """What a network's answer means: a head, a good-only model that is still learning, or the terms of a manifest."""

    def assess(self, answer: Any) -> Assessment: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """One model that judges one camera. `look` runs the network on a picture of the size of `canvas`, uint8
    [h, w, 3] BGR; what it answers only its own `assessor` reads. `digest` is the bundle's.
    """

    name: str
    digest: str
    canvas: Canvas
    look: Callable[[NDArray[np.uint8]], Any] = field(repr=False)
    assessor: Assessor = field(repr=False)
    rules: Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A model that should judge and is not loaded: the part is a HOLD."""

    name: str


Seat = Judge | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """A model that judges beside the one of its name, for nobody but the trial (inspect/shadow.py).

    `shares_network`: what the first one's network answered is its answer too, so that it need not look itself.
    """

    judge: Judge
    shares_network: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """How one camera's frames are judged: by `first` and `others`, all of them.

    `recipes` says which model takes the place of the first when the trigger names that recipe; one that it does not
    know is a HOLD. Where it is empty, recipes change nothing. `seconds` are models on trial, by name: no verdict is
    theirs.
    """

    first: Seat
    others: tuple[Seat, ...] = ()
    recipes: Mapping[str, Seat] = field(default_factory=dict)
    paused: bool = False
    seconds: Mapping[str, Second] = field(default_factory=dict)

    def judge(self, name: str) -> Judge | None:
        """Who judges by the model of this name, None where nobody does."""
        seats = (self.first, *self.others, *self.recipes.values())
        return next((seat for seat in seats if seat.name == name and isinstance(seat, Judge)), None)

    @property
    def digest(self) -> str | None:
        """The bundle of the first model, None while it is not loaded."""
        return self.first.digest if isinstance(self.first, Judge) else None

    @property
    def grounds(self) -> tuple[tuple[str, str | None, Rules | None], ...]:
        """Name, digest and rules of every model: while they stay the same, past looks count."""
        return tuple(
            (seat.name, seat.digest, seat.rules) if isinstance(seat, Judge) else (seat.name, None, None)
            for seat in (self.first, *self.others, *self.recipes.values())
        )

    def seats(self, recipe: str | None) -> tuple[Seat, ...] | None:
        """Who judges a part of this recipe, None where nobody knows it."""
        if recipe is None or not self.recipes:
            return (self.first, *self.others)
        chosen = self.recipes.get(recipe)
        if chosen is None:
            return None
        # A model that judges every part anyway needs no second look for the recipe.
        return (chosen, *(seat for seat in self.others if seat.name != chosen.name))


def opinion(judge: Judge, answer: Any, size: tuple[int, int], memory: Memory) -> tuple[Assessment, Decision, Memory]:
    """What a judge makes of its network's answer for a picture of `size` (height, width), and what it remembers.

    Raises:
        InferenceError: it gave no number for this picture.
        RefusedError, TransientError: its assessor failed.
    """
    assessment = judge.assessor.assess(answer)
    if not math.isfinite(assessment.score):
        raise InferenceError("gave no number for this picture")
    assessment = on_picture(assessment, judge.canvas, size)
    decision, memory = decide(assessment, judge.rules, memory)
    return assessment, decision, memory


def deciding(findings: Sequence[Finding]) -> Finding:
    """The finding that counts: the worst verdict, of equal ones the first."""
    return min(findings, key=lambda finding: WORST_FIRST.index(finding.verdict))


def on_picture(assessment: Assessment, canvas: Canvas, size: tuple[int, int]) -> Assessment:
    """What was found on a canvas, in fractions of the picture of `size` (height, width) that stood on it."""
    if not canvas.letterbox:
        return assessment
    top, left, height, width = canvas.inner(*size)
    frame = Region(
        x=left / canvas.px[1], y=top / canvas.px[0], width=width / canvas.px[1], height=height / canvas.px[0]
    )
    found = tuple(_moved(detection, frame) for detection in assessment.detections)
    heat = assessment.heat
    if heat is not None:
        rows, columns = heat.shape
        heat = heat[
            int(frame.y * rows) : max(1, round((frame.y + frame.height) * rows)),
            int(frame.x * columns) : max(1, round((frame.x + frame.width) * columns)),
        ]
    where = None if assessment.where is None else inside(assessment.where, frame)
    return dataclasses.replace(assessment, detections=found, heat=heat, where=where)


def _moved(detection: Detection, frame: Region) -> Detection:
    return dataclasses.replace(detection, where=inside(detection.where, frame))


def inside(region: Region, frame: Region) -> Region:
    """The part of a region within `frame`, in fractions of the frame."""
    left, top = _share(region.x, frame.x, frame.width), _share(region.y, frame.y, frame.height)
    right = _share(region.x + region.width, frame.x, frame.width)
    bottom = _share(region.y + region.height, frame.y, frame.height)
    return Region(x=left, y=top, width=right - left, height=bottom - top)


def _share(value: float, start: float, length: float) -> float:
    return min(1.0, max(0.0, (value - start) / length))
