"""int8 against fp32: how much quicker the encoder is, and what its features lose.

Both encoders are built as `edge-agent models build` does, calibrated on the synthetic line alone: what a gateway gets
that has never seen these sets. Speed: alternating runs of one picture, one thread, medians. Quality: a ridge head on the
features of split=train, its ridge chosen on split=val, macro-F1 on split=test.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare, read_picture
from edge_agent.learn.feature_code import encode, fit_code
from edge_agent.learn.head import LinearHead, logits
from edge_agent.learn.solve import RIDGES, head_of, spectrum
from edge_agent.learn.statistics import sums
from edge_agent.models.build.bundle import synthetic_pictures
from edge_agent.models.build.export import export_core, fp32_encoder
from edge_agent.models.build.network import imagenet_network
from edge_agent.models.build.quantise import quantise
from edge_agent.models.encoder import Encoder, RuntimeOptions
from tests.bench.report import Options, Progress, run_bench

SETS = ("steelmp", "pcbmp")
CALIBRATION = 60
RUNS, QUICK_RUNS = 300, 80
QUICK_STRIDE = 3  # of the training rows; test rows are all judged
FLAVOURS = ("fp32", "int8")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="input height and width (default 224)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    size = (options.given.size, options.given.size)
    encoders = _encoders(size, progress)
    runs = QUICK_RUNS if options.quick else RUNS
    times = _alternate(encoders, size, runs, progress)
    result: dict[str, Any] = {
        "size_px": size[0],
        "fp32_ms": times["fp32"],
        "int8_ms": times["int8"],
        "speedup": times["fp32"] / times["int8"],
        "f1_fp32": {},
        "f1_int8": {},
        "f1_drop": {},
        "ridge": {},
        "absent": [],
        "runs": runs,
    }
    for name in SETS:
        folder = options.data / name
        if not (folder / "manifest.csv").is_file():
            result["absent"].append(f"{folder}/manifest.csv")
            continue
        scores, ridges = _quality(folder, encoders, size, options.quick, progress)
        result["f1_fp32"][name], result["f1_int8"][name] = scores["fp32"], scores["int8"]
        result["f1_drop"][name] = scores["fp32"] - scores["int8"]
        result["ridge"][name] = ridges
    return result


def _encoders(size: tuple[int, int], progress: Progress) -> dict[str, Encoder]:
    progress("build the encoders", 0, 2)
    core = export_core(imagenet_network(size))
    progress("build the encoders", 1, 2)
    pictures, _ = synthetic_pictures(CALIBRATION, 2, size)
    models = {"fp32": fp32_encoder(core), "int8": quantise(core, pictures)}
    progress("build the encoders", 2, 2)
    return {name: Encoder.from_bytes(model.SerializeToString(), RuntimeOptions()) for name, model in models.items()}


def _alternate(encoders: dict[str, Encoder], size: tuple[int, int], runs: int, progress: Progress) -> dict[str, float]:
    """Median milliseconds of each encoder; in turn, so that a busy neighbour disturbs both alike."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for run in range(-10, runs):
        for name, encoder in encoders.items():
            start_s = time.perf_counter()
            encoder.encode(picture)
            if run >= 0:
                taken[name].append((time.perf_counter() - start_s) * 1000)
        progress("alternate fp32 and int8", max(run + 1, 0), runs)
    return {name: float(np.median(values)) for name, values in taken.items()}


def _quality(
    folder: Path, encoders: dict[str, Encoder], size: tuple[int, int], quick: bool, progress: Progress
) -> tuple[dict[str, float], dict[str, float]]:
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in {"train", "val", "test"}]
    if quick:
        train = [row for row in rows if row["split"] == "train"]
        rows = train[::QUICK_STRIDE] + [row for row in rows if row["split"] != "train"]
    vectors = {name: np.empty((len(rows), encoder.dimension), np.float32) for name, encoder in encoders.items()}
    for index, row in enumerate(rows):
        picture = prepare(read_picture(folder / row["path"]), size)
        for name, encoder in encoders.items():
            vectors[name][index] = encoder.encode(picture).vector
        progress(f"encode {folder.name}", index + 1, len(rows))
    labels, splits = np.array([row["label"] for row in rows]), np.array([row["split"] for row in rows])
    found = {name: _fit_and_judge(vectors[name], labels, splits) for name in encoders}
    return {name: score for name, (score, _) in found.items()}, {name: ridge for name, (_, ridge) in found.items()}


def _fit_and_judge(
    vectors: NDArray[np.float32], labels: NDArray[np.str_], splits: NDArray[np.str_]
) -> tuple[float, float]:
    """Macro-F1 on test, and the ridge that was best on val."""
    train, val, test = (splits == name for name in ("train", "val", "test"))
    classes = sorted(set(labels[train]))
    code = fit_code(vectors[train])
    moments = spectrum(sums(encode(code, vectors[train]), list(labels[train])))
    heads = {ridge: head_of(moments, ridge, (), code) for ridge in RIDGES}
    best = max(heads, key=lambda ridge: macro_f1(labels[val], _named(heads[ridge], vectors[val]), classes))
    return macro_f1(labels[test], _named(heads[best], vectors[test]), classes), best


def _named(head: LinearHead, vectors: NDArray[np.float32]) -> NDArray[np.str_]:
    return np.array(head.classes)[logits(head, vectors).argmax(axis=1)]


def macro_f1(truth: NDArray[np.str_], guesses: NDArray[np.str_], classes: Sequence[str]) -> float:
    """Mean over the classes of 2 TP / (2 TP + FP + FN)."""
    hits = [2.0 * np.sum((truth == name) & (guesses == name)) for name in classes]
    sizes = [np.sum(truth == name) + np.sum(guesses == name) for name in classes]
    return float(np.mean([hit / max(size, 1) for hit, size in zip(hits, sizes, strict=True)]))


if __name__ == "__main__":
    run_bench("quantise", measure, configure)
