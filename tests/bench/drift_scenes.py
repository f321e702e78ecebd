"""Cameras for the bench `drift`: pictures as they are and changed by degrees, each with all that a gateway knows of it.

    picture --+ holder--> light, blur, move (a ladder of degrees) --noise--> statistics, features, verdict = Sight
    frame n of a run: a degree between two steps of the ladder is one or the other by chance, so that the mean is exact

Pictures of a plant are brought to its median size, and stand in a holder as a real station has one; without anything
fixed in the picture a move cannot be seen. Each sight has its own light (2 % more or less), place (0.3 px) and noise
(1 grey value): what a line shows while nothing drifts.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import Image, prepare, prepare_for, read_picture
from edge_agent.capture.picture_health import MARGINS, REACH
from edge_agent.capture.picture_reference import Reference, learn, readings, scene_numbers
from edge_agent.capture.picture_statistics import statistics_of
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.learn.head import LinearHead
from edge_agent.learn.solve import fit_head
from edge_agent.models.loading import LoadedModel

SETS = ("steelmp", "pcbmp", "magtile")
SYNTHETIC = ("scratches", "stains")
GOOD = "ok"
SYNTHETIC_PX = (320, 240)

STILL_SIGHTS = 4
LIGHT_SPREAD, PLACE_SPREAD_PX, NOISE = 0.02, 0.3, 1.0
# Degrees that are made; a run moves along them. Light is a factor, blur and move are px.
LADDERS: Mapping[str, tuple[float, ...]] = {
    "light": (0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 1.0, 1.02, 1.04, 1.07, 1.1, 1.15, 1.2, 1.3, 1.4),
    "blur": (0.0, 0.4, 0.55, 0.7, 0.9, 1.2, 1.6, 2.2),
    "move": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0),
}
STILL: Mapping[str, float] = {"light": 1.0, "blur": 0.0, "move": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known of one picture."""

    readings: Mapping[str, float]
    vector: NDArray[np.float32] = field(repr=False)
    truth: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One camera: whether anything stays in its picture, its head, its sights by what was changed and by how much.
    `parts` are of another product. `jitter` float32 [n, D]: by how much two sights of one part differ.
    """

    name: str
    fixed: bool
    head: LinearHead
    ladder: Mapping[tuple[str, float], Sequence[Sight]] = field(repr=False)
    parts: Sequence[Sight] = field(repr=False)
    jitter: NDArray[np.float32] = field(repr=False)

    def sight(self, kind: str, degree: float, rng: np.random.Generator) -> Sight:
        """A part drawn with replacement, under a change of this degree."""
        steps = LADDERS[kind]
        degree = min(max(degree, steps[0]), steps[-1])
        above = next(number for number, step in enumerate(steps) if step >= degree)
        low, high = steps[max(above - 1, 0)], steps[above]
        step = high if low == high or rng.random() < (degree - low) / (high - low) else low
        return self.fresh(self.ladder[kind, step], rng)

    def fresh(self, sights: Sequence[Sight], rng: np.random.Generator) -> Sight:
        """One of these as a line would show it: never twice the same, but differing as two sights of one part do."""
        one = sights[int(rng.integers(len(sights)))]
        return replace(one, vector=one.vector + self.jitter[rng.integers(len(self.jitter))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The pictures of one plant by split, and their labels."""

    name: str
    pictures: Mapping[str, Sequence[tuple[Image, str]]] = field(repr=False)


def plants(data: Path, absent: list[str], *, most: int | None) -> Iterator[Plant]:
    """Of each set that is there `most` plants (all with None), and of the built-in line two."""
    for kind in SYNTHETIC:
        line = SyntheticLine(kind, 3, *SYNTHETIC_PX)
        drawn = [line.part(number) for number in range(520)]
        labelled = [(np.asarray(part.image), part.label) for part in drawn]
        yield Plant(
            name=f"synthetic/{kind}",
            pictures={"train": labelled[:200], "val": labelled[200:320], "test": labelled[320:]},
        )
    for name in SETS:
        manifest = data / name / "manifest.csv"
        if not manifest.is_file():
            absent.append(str(manifest))
            continue
        rows = defaultdict(list)
        with manifest.open(newline="") as file:
            for row in csv.DictReader(file):
                rows[row["plant"]].append(row)
        for plant in sorted(rows)[:most]:
            yield _read(f"{name}/{plant}", manifest.parent, rows[plant])


def _read(name: str, folder: Path, rows: list[dict[str, str]]) -> Plant:
    found: dict[str, list[tuple[Image, str]]] = {"train": [], "val": [], "test": []}
    for row in rows:
        if row["split"] in found:
            found[row["split"]].append((read_picture(folder / row["path"]), row["label"]))
    shapes = [image.shape for some in found.values() for image, _ in some]
    height, width = (int(np.median([shape[side] for shape in shapes])) for side in (0, 1))
    size = height, width
    return Plant(
        name=name,
        pictures={split: [(prepare(image, size), label) for image, label in some] for split, some in found.items()},
    )


def bench_of(plant: Plant, other: Plant, model: LoadedModel, split: str, pictures: int, *, fixed: bool) -> Bench:
    """The camera of a plant, on `pictures` of its pictures of `split` drawn without regard to label. `fixed`: the parts
    lie in a holder, whose place, light and sharpness can be seen.
    """
    rng = np.random.default_rng([1, len(plant.name)])
    chosen = _some(plant.pictures[split], pictures, rng)
    strangers = [(prepare(image, chosen[0][0].shape[:2]), label) for image, label in other.pictures[split]]
    holder = _holder(chosen[0][0].shape[:2], rng) * np.uint8(fixed)
    maker = _Maker(model=model, holder=holder, reference=None, rng=rng)
    seen = [statistics_of(maker.shot(image, **STILL)) for image, _ in _some(plant.pictures[split], 30, rng)]
    reference = learn(seen, "", chosen[0][0].shape[:2], MARGINS, REACH)
    maker = _Maker(model=model, holder=holder, reference=reference, rng=rng)
    ladder: dict[tuple[str, float], Sequence[Sight]] = {}
    for kind, steps in LADDERS.items():
        for step in steps:
            changed = {**STILL, kind: step}
            # Nearly as it is: several sights of each, since most frames of a run are such.
            times = STILL_SIGHTS if kind == "light" and abs(step - 1.0) <= LIGHT_SPREAD else 1
            ladder[kind, step] = [maker.sight(image, label, **changed) for image, label in chosen for _ in range(times)]
    still = np.stack([sight.vector for sight in ladder["light", 1.0]]).reshape(len(chosen), STILL_SIGHTS, -1)
    return Bench(
        name=plant.name,
        jitter=(still - np.roll(still, 1, axis=1)).reshape(len(chosen) * STILL_SIGHTS, -1),
        fixed=reference.template is not None,
        head=_head(plant, maker, rng),
        ladder=ladder,
        parts=[maker.sight(image, label, **STILL) for image, label in _some(strangers, pictures, rng)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    model: LoadedModel
    holder: Image
    reference: Reference | None
    rng: np.random.Generator

    def shot(self, image: Image, light: float, blur: float, move: float) -> Image:
        """What the camera sees of a part: lens and place first, then light, then the sensor's noise."""
        height, width = image.shape[:2]
        seen = np.where(self.holder > 0, self.holder, image)
        right, down = self.rng.normal((move, 0.0), PLACE_SPREAD_PX)
        seen = cv2.warpAffine(
            seen, np.array([[1, 0, right], [0, 1, down]], np.float32), (width, height), borderMode=cv2.BORDER_REFLECT
        )
        if blur:
            seen = cv2.GaussianBlur(seen, (0, 0), blur)
        bright = seen * (light * self.rng.normal(1.0, LIGHT_SPREAD)) + self.rng.normal(0, NOISE, (height, width, 1))
        return np.clip(bright, 0, 255).astype(np.uint8)

    def sight(self, image: Image, truth: str, light: float, blur: float, move: float) -> Sight:
        assert self.reference is not None
        shot = self.shot(image, light, blur, move)
        statistics = statistics_of(shot)
        found = readings(statistics, self.reference.template) | scene_numbers(self.reference, statistics)
        vector = self.model.encoder.encode(prepare_for(shot, self.model.canvas)).vector
        return Sight(readings=found, vector=vector, truth=truth)


def _some(pictures: Sequence[tuple[Image, str]], most: int, rng: np.random.Generator) -> list[tuple[Image, str]]:
    return [pictures[number] for number in rng.permutation(len(pictures))[:most]]


def _holder(size: tuple[int, int], rng: np.random.Generator) -> Image:
    """Two jaws with a screw each and a scale, uint8 [h, w, 3]; 0 where the part is seen."""
    height, width = size
    holder = np.zeros((height, width), np.uint8)
    for left in (0, width - width // 10):
        cv2.rectangle(holder, (left, height // 5), (left + width // 10, 4 * height // 5), 90, cv2.FILLED)
        cv2.circle(holder, (left + width // 20, height // 2), max(2, width // 30), 180, cv2.FILLED)
    for x in range(width // 5, 4 * width // 5, max(4, width // 20)):
        cv2.line(holder, (x, height - height // 20), (x, height - 1), 200, max(1, width // 160))
    rough = np.where(holder > 0, np.clip(holder + rng.normal(0, 2, holder.shape), 1, 255), 0).astype(np.uint8)
    return np.repeat(rough[..., None], 3, axis=2)


def _head(plant: Plant, maker: _Maker, rng: np.random.Generator) -> LinearHead:
    """A head of the plant's own labels, as a gateway would have it."""
    sights = {
        split: [maker.sight(image, label, **STILL) for image, label in _some(plant.pictures[split], most, rng)]
        for split, most in (("train", 200), ("val", 80))
    }
    vectors = {split: np.stack([sight.vector for sight in some]) for split, some in sights.items()}
    labels = {split: [sight.truth for sight in some] for split, some in sights.items()}
    return fit_head(maker.model.code, vectors["train"], labels["train"], vectors["val"], labels["val"], [GOOD])
