"""Picture health: false alarms on real pictures, and how soon injected faults are recognised.

Each plant of each set is a camera: its reference is learned from its first pictures, the others follow one by one. A set's
pictures are of different parts and show no fixed structure, so that `moved` is off there or weak; on the synthetic line
some plants get a fixture (`fixed`), painted over the part's surroundings, as a real station has. Pictures of sizes that
differ are brought to their plant's median size first. `shuffled` draws the order with a seed, `as-stored` keeps the
manifest's, which is sorted by file name and in one set by class of defect: batches that a reference never saw.
`running` shows each part five times with other noise, as a camera without trigger does, to the rules for such a camera.

False alarms are pictures called faulty, per 10,000. A fault begins after sound pictures and lasts ten; `recognised` is
the share of runs in which it was told within these ten, `pictures` the mean number that it took. `noise` adds sensor
noise of two grey values behind the lens, which the JPEG sets lack: it hides blur. No constant was tuned on split=test.
"""

from __future__ import annotations

import csv
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent.capture.picture import Image, prepare, read_picture
from edge_agent.capture.picture_health import ALL_CHECKS, DEFAULT_PICTURES, HealthPlan, PictureHealth
from edge_agent.capture.synthetic import PLANTS, SyntheticLine
from edge_agent.records import HoldReason
from tests.bench.report import Options, Progress, run_bench

SETS = ("magtile", "pcbmp", "steelmp")
ORDERS, QUICK_ORDERS = 5, 1
SYNTHETIC_PARTS, QUICK_SYNTHETIC_PARTS = 120, 80
QUICK_ROWS = 150
WITHIN = 10
ORDER_NAMES = ("shuffled", "running", "as-stored")
LOOKS, LOOK_NOISE = 5, 1.0
RUNS, QUICK_RUNS = 3, 2
NOISE = 2.0
COST_SIZES = {"640x480": (480, 640), "1280x720": (720, 1280), "1920x1080": (1080, 1920)}
COST_RUNS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One plant's pictures, all of one size, in the order of its manifest; its sensor's noise in grey values."""

    pictures: Sequence[Image] = field(repr=False)
    noise: float = 0.0


Spoil = Callable[[Image, int, Sequence[Image]], Image]  # picture, number within the fault, sound ones before it


def _gain(gain: float, veil: float = 0.0) -> Spoil:
    return lambda image, _number, _before: cv2.convertScaleAbs(image, alpha=gain, beta=veil)


def _blur(sigma_px: float) -> Spoil:
    return lambda image, _number, _before: cv2.GaussianBlur(image, (0, 0), sigma_px)


def _shift(share: float) -> Spoil:
    def spoil(image: Image, _number: int, _before: Sequence[Image]) -> Image:
        height, width = image.shape[:2]
        move = np.float32([[1, 0, round(share * width)], [0, 1, round(0.5 * share * height)]])
        return cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT)

    return spoil


FAULTS: dict[str, tuple[HoldReason, Spoil]] = {
    "black": (HoldReason.DARK, lambda image, _number, _before: np.zeros_like(image)),
    "dark to 15 %": (HoldReason.DARK, _gain(0.15)),
    "burnt out (x4, +60)": (HoldReason.OVEREXPOSED, _gain(4.0, 60.0)),
    "blur 1 px": (HoldReason.BLURRED, _blur(1.0)),
    "blur 2 px": (HoldReason.BLURRED, _blur(2.0)),
    "blur 3 px": (HoldReason.BLURRED, _blur(3.0)),
    "shift 3 %": (HoldReason.MOVED, _shift(0.03)),
    "shift 5 %": (HoldReason.MOVED, _shift(0.05)),
    "shift 10 %": (HoldReason.MOVED, _shift(0.10)),
    "frozen": (HoldReason.FROZEN, lambda _image, _number, before: before[-1]),
    "repeated": (HoldReason.REPEATED, lambda _image, number, before: before[-20 + number]),
}


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    result: dict[str, Any] = {"runs": QUICK_ORDERS if options.quick else ORDERS, "absent": [], "false_alarms": {}}
    result["detection"], result["detection_running"], result["fixed_structure"] = {}, {}, {}
    pictures = alarms = 0
    for name, cameras in _sets(options, progress, result["absent"]):
        told = {order: _false_alarms(cameras, order, options.quick) for order in ORDER_NAMES}
        if name in SETS:
            pictures += told["shuffled"]["pictures"]
            alarms += told["shuffled"]["alarms"]
        result["false_alarms"][name] = told
        result["detection"][name] = _detection(cameras, options.quick, running=False)
        result["detection_running"][name] = _detection(cameras, options.quick, running=True)
        result["fixed_structure"][name] = f"{sum(_sees_moves(camera) for camera in cameras)} of {len(cameras)}"
        progress("measure", len(result["detection"]), len(SETS) + 3)
    result["false_alarms_per_10000"] = 10_000 * alarms / max(pictures, 1)
    result["cost_ms"] = {name: _cost(shape) for name, shape in COST_SIZES.items()}
    return result


def _sets(options: Options, progress: Progress, absent: list[str]) -> Iterator[tuple[str, list[Camera]]]:
    parts = QUICK_SYNTHETIC_PARTS if options.quick else SYNTHETIC_PARTS
    yield "synthetic", [Camera(pictures=_line(plant, parts)) for plant in sorted(PLANTS)]
    yield "synthetic, fixed", [Camera(pictures=_fixed(_line(plant, parts))) for plant in sorted(PLANTS)]
    for name in SETS:
        manifest = options.data / name / "manifest.csv"
        if not manifest.is_file():
            absent.append(str(manifest))
            continue
        cameras = list(_from_disk(manifest, options.quick, progress))
        yield name, cameras
        if name == "magtile":
            yield f"{name}, noise", [Camera(pictures=camera.pictures, noise=NOISE) for camera in cameras]


def _line(plant: str, parts: int) -> list[Image]:
    line = SyntheticLine(plant, 5)
    return [line.part(index).image for index in range(parts)]


def _fixed(pictures: list[Image]) -> list[Image]:
    """The parts in a holder: two jaws, four screws and a scale at the edge, that stay where they are."""
    height, width = pictures[0].shape[:2]
    holder = np.zeros((height, width), np.uint8)
    for left in (0, width - width // 10):
        cv2.rectangle(holder, (left, height // 5), (left + width // 10, 4 * height // 5), 90, cv2.FILLED)
        for y in (height // 3, 2 * height // 3):
            cv2.circle(holder, (left + width // 20, y), width // 40, 180, cv2.FILLED)
    for x in range(width // 5, 4 * width // 5, width // 40):
        cv2.line(holder, (x, height - height // 20), (x, height - 1), 200, max(1, width // 320))
    rng = np.random.default_rng(11)
    found = []
    for picture in pictures:
        jaws = np.clip(holder + rng.normal(0, NOISE, holder.shape), 1, 255).astype(np.uint8)
        found.append(np.where(holder[..., None] > 0, jaws[..., None], picture))
    return found


def _seen(pictures: Iterable[Image], noise: float, seed: int) -> Iterator[Image]:
    """The pictures as a sensor gives them: the lens first, then the noise (from a table of it, at another place)."""
    rng = np.random.default_rng(seed)
    grain: Image | None = None
    for number, picture in enumerate(pictures):
        if not noise:
            yield picture
            continue
        height, width = picture.shape[:2]
        if grain is None:
            table = np.rint(rng.normal(0, noise, (2 * height, 2 * width, 1))).astype(np.int8)
            grain = np.repeat(table, 3, axis=2)
        top, left = 37 * number % height, 101 * number % width  # not the same place again for long
        place = grain[top : top + height, left : left + width]
        yield np.asarray(cv2.add(picture, place, dtype=cv2.CV_8U), np.uint8)


def _from_disk(manifest: Path, quick: bool, progress: Progress) -> Iterator[Camera]:
    rows = defaultdict(list)
    with manifest.open(newline="") as file:
        for row in csv.DictReader(file):
            rows[row["plant"]].append(manifest.parent / row["path"])
    for number, plant in enumerate(sorted(rows)):
        paths = rows[plant]
        read = [read_picture(path) for path in (paths[:: -(-len(paths) // QUICK_ROWS)] if quick else paths)]
        size = tuple(int(np.median([picture.shape[side] for picture in read])) for side in (0, 1))
        yield Camera(pictures=[p if p.shape[:2] == size else prepare(p, size) for p in read])
        progress(f"read {manifest.parent.name}", number + 1, len(rows))


def _false_alarms(cameras: list[Camera], order: str, quick: bool) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    count = 0
    running = order == "running"
    for seed in range(ORDERS if order == "shuffled" and not quick else 1):
        for camera in cameras:
            health = _health(running=running, learn_every=LOOKS if running else 1)
            pictures = _ordered(camera, order, seed)
            if running:
                seen = _seen((one for one in pictures for _ in range(LOOKS)), camera.noise or LOOK_NOISE, seed)
            else:
                seen = _seen(pictures, camera.noise, seed)
            for picture in seen:
                reason = health.examine(picture)
                count += 1
                kinds.update([] if reason is None else [reason.value])
    alarms = sum(kinds.values())
    return {"pictures": count, "alarms": alarms, "per_10000": 10_000 * alarms / count, "kinds": dict(kinds)}


def _detection(cameras: list[Camera], quick: bool, *, running: bool) -> dict[str, dict[str, float | None]]:
    """By fault: the share recognised within ten pictures, by its own reason or by any, and how many it took."""
    took: dict[str, list[tuple[HoldReason, int] | None]] = defaultdict(list)
    for camera in cameras:
        for seed in range(QUICK_RUNS if quick else RUNS):
            pictures = _ordered(camera, "shuffled", 100 + seed)
            for fault, (_, spoil) in FAULTS.items():
                took[fault].append(_told(pictures, spoil, camera.noise, running=running))
    found = {}
    for fault, (reason, _) in FAULTS.items():
        told = [one for one in took[fault] if one is not None]
        found[fault] = {
            "recognised": len(told) / len(took[fault]),
            "as_itself": sum(one[0] is reason for one in told) / len(took[fault]),
            "pictures": float(np.mean([one[1] for one in told])) if told else None,
        }
    return found


def _told(pictures: Sequence[Image], spoil: Spoil, noise: float, *, running: bool) -> tuple[HoldReason, int] | None:
    """The reason and after how many faulty pictures it was first told; None when it was not within ten."""
    health = _health(running=running)
    sound = list(_seen(pictures[: DEFAULT_PICTURES + 30], noise, 1))
    for picture in sound:
        health.examine(picture)
    spoiled = [spoil(pictures[len(sound) + number], number, sound) for number in range(WITHIN)]
    if not any(picture is known for picture in spoiled for known in sound):  # an old picture has its noise already
        spoiled = list(_seen(spoiled, noise, 2))
    for number, picture in enumerate(spoiled):
        reason = health.examine(picture)
        if reason is not None:
            return reason, number + 1
    return None


def _sees_moves(camera: Camera) -> bool:
    references = []
    health = PictureHealth(HealthPlan(checks=ALL_CHECKS, view=""), None, references.append)
    for picture in _ordered(camera, "shuffled", 100):
        health.examine(picture)
        if references:
            return references[0].template is not None
    return False


def _ordered(camera: Camera, order: str, seed: int) -> list[Image]:
    if order == "as-stored":
        return list(camera.pictures)
    return [camera.pictures[index] for index in np.random.default_rng(seed).permutation(len(camera.pictures))]


def _health(*, running: bool = False, learn_every: int = 1) -> PictureHealth:
    plan = HealthPlan(checks=ALL_CHECKS, view="", parts=not running, learn_every=learn_every)
    return PictureHealth(plan, None, lambda _reference: None)


def _cost(shape: tuple[int, int]) -> dict[str, float]:
    rng = np.random.default_rng(3)
    pictures = [rng.integers(60, 190, (*shape, 3), dtype=np.uint8) for _ in range(8)]
    for number, picture in enumerate(pictures):
        pictures[number] = cv2.GaussianBlur(picture, (0, 0), 1 + number / 8)
    health, spent = _health(), []
    for number in range(DEFAULT_PICTURES + COST_RUNS):
        pictures[number % 8][number % shape[0], 0] ^= 1  # another picture each time
        start_s = time.thread_time()
        health.examine(pictures[number % 8])
        spent.append((time.thread_time() - start_s) * 1e3)
    watched = spent[DEFAULT_PICTURES + 1 :]
    return {"p50": float(np.median(watched)), "p99": float(np.quantile(watched, 0.99)), "learn": max(spent)}


if __name__ == "__main__":
    run_bench("health", measure)
