"""The good-only start: false alarms, recall, AUROC, where, and what it costs.

Per plant of each set, good parts of split=train are taken as good and all parts of split=test are judged, with the int8
encoder as `edge-agent models build` makes it. The synthetic line stands beside the sets on disk. `contaminated` repeats
it with two defective parts among those taken as good. Figures are means over plants and draws of the good parts.
`box_overlaps` and `box_area`: flagged defects of the synthetic line whose box meets the true one, and how much of the
picture the boxes take. numpy gets one thread, as in the daemon.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before numpy is loaded. With two, OpenBLAS waits actively for a core that others use: 4 ms instead of 0.3 a part.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from edge_agent.capture.picture import prepare, read_picture
from edge_agent.capture.synthetic import PLANTS, SyntheticLine
from edge_agent.inspect.goodonly import PARTS_WANTED, UNLIKE, fit, judge
from edge_agent.inspect.localise import region
from edge_agent.inspect.scoring import auroc, recall_at
from edge_agent.models.build.bundle import synthetic_pictures
from edge_agent.models.build.export import export_core
from edge_agent.models.build.network import imagenet_network
from edge_agent.models.build.quantise import quantise
from edge_agent.models.encoder import Encoder, RuntimeOptions
from edge_agent.records import Features, Region
from tests.bench.report import Options, Progress, run_bench

SETS = ("magtile", "pcbmp")
INPUT_PX = (224, 224)
CALIBRATION, CALIBRATION_SEED = 60, 2
FALSE_ALARM_RATE = 0.02
DRAWS, QUICK_DRAWS = 5, 1
CONTAMINANTS = 2
# Good parts to draw from, per plant, and parts of the synthetic line to judge.
POOL, QUICK_POOL = 120, 50
SYNTHETIC_PARTS, QUICK_SYNTHETIC_PARTS = 200, 60
QUICK_TEST_ROWS = 500  # about: every n-th row of larger sets
FIGURES = ("auroc", "recall_at_2pct_fa", "false_alarm_rate", "recall", "left_out", "fit_ms", "judge_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a plant; `where` only for defects of the synthetic line."""

    good: bool
    features: Features = field(repr=False)
    where: Region | None = None


@dataclass(slots=True, kw_only=True)
class Plant:
    """Good parts to draw from, defective ones to contaminate them with, and parts to judge."""

    good: list[Features] = field(default_factory=list)
    bad: list[Features] = field(default_factory=list)
    test: list[Part] = field(default_factory=list)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", type=int, default=PARTS_WANTED, help="parts taken as good (default %(default)s)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    encoder = _encoder(progress)
    draws = QUICK_DRAWS if options.quick else DRAWS
    result: dict[str, Any] = {"parts": options.given.parts, "sets": {}, "contaminated": {}, "absent": [], "runs": draws}
    line = _synthetic(encoder, options.quick, progress)
    sets = {"synthetic": line}
    for name in SETS:
        folder = options.data / name
        if (folder / "manifest.csv").is_file():
            sets[name] = _from_disk(folder, encoder, options.quick, progress)
        else:
            result["absent"].append(f"{folder}/manifest.csv")
    for name, plants in sets.items():
        for key, contaminants in (("sets", 0), ("contaminated", CONTAMINANTS)):
            result[key][name] = _mean_figures(plants, options.given.parts, draws, contaminants)
    result["box_overlaps"], result["box_area"] = _boxes(line, options.given.parts)
    return result


def _encoder(progress: Progress) -> Encoder:
    progress("build the encoder", 0, 1)
    pictures, _ = synthetic_pictures(CALIBRATION, CALIBRATION_SEED, INPUT_PX)
    model = quantise(export_core(imagenet_network(INPUT_PX)), pictures)
    progress("build the encoder", 1, 1)
    return Encoder.from_bytes(model.SerializeToString(), RuntimeOptions())


def _synthetic(encoder: Encoder, quick: bool, progress: Progress) -> dict[str, Plant]:
    pool, test = (QUICK_POOL, QUICK_SYNTHETIC_PARTS) if quick else (POOL, SYNTHETIC_PARTS)
    plants = {}
    for number, name in enumerate(sorted(PLANTS)):
        good, mixed = SyntheticLine(name, 77, defect_share=0.0), SyntheticLine(name, 77, defect_share=0.5)
        plants[name] = Plant(
            good=[encoder.encode(prepare(good.part(index).image, INPUT_PX)) for index in range(pool)],
            test=[
                Part(
                    good=part.label == "ok",
                    features=encoder.encode(prepare(part.image, INPUT_PX)),
                    where=part.region,
                )
                for part in (mixed.part(index) for index in range(1000, 1000 + test))
            ],
        )
        plants[name].bad = [part.features for part in plants[name].test if not part.good][: 2 * CONTAMINANTS]
        progress("encode the synthetic line", number + 1, len(PLANTS))
    return plants


def _from_disk(folder: Path, encoder: Encoder, quick: bool, progress: Progress) -> dict[str, Plant]:
    rows = list(_rows(folder, quick))
    plants: dict[str, Plant] = {}
    for number, row in enumerate(rows):
        plant = plants.setdefault(row["plant"], Plant())
        features = encoder.encode(prepare(read_picture(folder / row["path"]), INPUT_PX))
        good = row["label"] == "ok"
        if row["split"] == "test":
            plant.test.append(Part(good=good, features=features))
        else:
            (plant.good if good else plant.bad).append(features)
        progress(f"encode {folder.name}", number + 1, len(rows))
    return plants


def _rows(folder: Path, quick: bool) -> Iterator[dict[str, str]]:
    """Test rows, and as many good and bad train rows per plant as are drawn from."""
    taken: dict[tuple[str, bool], int] = {}
    limit = {True: QUICK_POOL if quick else POOL, False: 2 * CONTAMINANTS}
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = [row for row in rows if row["split"] == "test"]
    yield from test[:: -(-len(test) // QUICK_TEST_ROWS) if quick else 1]
    for row in rows:
        key = (row["plant"], row["label"] == "ok")
        taken[key] = taken.get(key, 0) + (row["split"] == "train")
        if row["split"] == "train" and taken[key] <= limit[key[1]]:
            yield row


def _mean_figures(plants: dict[str, Plant], parts: int, draws: int, contaminants: int) -> dict[str, float]:
    rows = [
        _figures(plant, parts, contaminants, np.random.default_rng([draw, number]))
        for number, plant in enumerate(plants.values())
        for draw in range(draws)
    ]
    return dict(zip(FIGURES, np.nanmean(rows, axis=0).tolist(), strict=True))


def _figures(plant: Plant, parts: int, contaminants: int, rng: np.random.Generator) -> tuple[float, ...]:
    drawn = [plant.good[index] for index in rng.permutation(len(plant.good))[: parts - contaminants]]
    drawn += [plant.bad[index] for index in rng.permutation(len(plant.bad))[:contaminants]]
    start_s = time.perf_counter()
    model = fit(tuple(drawn))
    fitted_s = time.perf_counter()
    found = [judge(model, part.features) for part in plant.test]
    judged_s = time.perf_counter()
    scores, flagged = np.array([one.score for one in found]), np.array([one.label == UNLIKE for one in found])
    good = np.array([part.good for part in plant.test])
    return (
        auroc(scores[good], scores[~good]),
        recall_at(scores[good], scores[~good], FALSE_ALARM_RATE),
        float(flagged[good].mean()),
        float(flagged[~good].mean()),
        float(len(drawn) - model.parts),
        (fitted_s - start_s) * 1e3,
        (judged_s - fitted_s) * 1e3 / len(plant.test),
    )


def _boxes(plants: dict[str, Plant], parts: int) -> tuple[float, float]:
    met, areas = [], []
    for plant in plants.values():
        model = fit(tuple(plant.good[:parts]))
        for part in plant.test:
            found = judge(model, part.features)
            if part.where is None or found.label != UNLIKE or found.heat is None:
                continue
            box = region(found.heat)
            met.append(box is not None and _meet(box, part.where))
            areas.append(box.width * box.height if box is not None else 0.0)
    return float(np.mean(met)), float(np.mean(areas))


def _meet(one: Region, other: Region) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


if __name__ == "__main__":
    run_bench("goodonly", measure, configure)
