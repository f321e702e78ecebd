"""What a contribution costs on the wire: statistics of each plant, exact and by levels, and deltas of training.

    split=train of each plant -> int8 codes -> sums -> bytes -> sums -> merged -> head -> judged on split=val

The bundle is the one that `edge-agent models build` makes. The f1 are those of heads with the default ridge, so that
nothing but the codec differs between them; split=test is not looked at. Deltas are synthetic (heavy-tailed, layers of
different size, 1.5 million parameters) and, with --job, those of a fine-tuning run; what they cost in accuracy is `finetune_rounds`' to say.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before numpy is loaded, as on a gateway: with two, OpenBLAS waits actively for a core that others use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray

from edge_agent.capture.picture import read_picture
from edge_agent.clock import SystemClock
from edge_agent.federate import delta_code, packing, statistics_code
from edge_agent.inspect.scoring import confusion, macro_f1
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.solve import RIDGE, answers, spectrum
from edge_agent.learn.statistics import Statistics, merge, sums
from edge_agent.models.build.bundle import Plan, build
from edge_agent.models.build.quantise import U8S8
from edge_agent.models.coding import code_picture
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import LoadedModel, with_encoder
from edge_agent.models.store import ModelStore
from tests.bench.report import Options, Progress, run_bench

SETS = ("steelmp", "pcbmp")
LEVELS = {"exact": 0, **{f"{levels} levels": levels for levels in (31, 127, 255, 1023, 4095)}}
# The four blocks in the middle of the seven: 40 + 80 + 112 + 192 features.
MIDDLE = ((40, 464),)
COARSENESS = (1.0, 2.0, 4.0, 6.0)
LAYERS = {
    "blocks.0": (32, 240),
    "blocks.1": (240, 40, 5, 5),
    "blocks.2": (480, 80, 3, 3),
    "blocks.3": (672, 1120),
    "head": (1280, 125),
}
QUICK_STRIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The rows that heads are judged on: `codes` int8 [n, D], n labels."""

    codes: Codes
    labels: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", choices=SETS, help="only this set (may be given again)")
    parser.add_argument(
        "--job", type=Path, metavar="DIR", help="also the delta of this fine-tuning run (its job folder)"
    )
    parser.add_argument("--views", type=int, choices=(1, 2, 4), default=1, help="turns of each part (default 1)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    names = [name for name in options.given.set or SETS if (options.data / name / "manifest.csv").is_file()]
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        model = _model(Path(directory), progress)
        for name in names:
            plants, held = _sums(model, options, name, progress)
            found[name] = _set(statistics_code.base_of(model.coder), plants, held)
    deltas = {"synthetic": _delta(_synthetic(), options)}
    if options.given.job is not None:
        deltas["fine-tuned"] = _delta(_fine_tuned(options.given.job), options)
    return {"set": names, "views": options.given.views, "statistics": found, "delta": deltas, "runs": 1}


def _model(directory: Path, progress: Progress) -> LoadedModel:
    build(directory / "bundle", Plan(parts=120, flavours=(U8S8,)), SystemClock().utc_s(), progress)
    store = ModelStore(directory / "models")
    return with_encoder(store.load(store.stage(directory / "bundle"), RuntimeOptions()))


def _sums(model: LoadedModel, options: Options, name: str, progress: Progress) -> tuple[dict[str, Statistics], Held]:
    """Each plant's sums over its training rows, and the held-out rows of all."""
    with (options.data / name / "manifest.csv").open(newline="") as file:
        every = [row for row in csv.DictReader(file) if row["split"] in {"train", "val"}]
    rows = every[::QUICK_STRIDE] if options.quick else every
    codes: dict[str, list[tuple[Codes, str]]] = {}
    for number, row in enumerate(rows):
        views = options.given.views if row["split"] == "train" else 1
        _, coded = code_picture(model, read_picture(options.data / name / row["path"]), views)
        place = row["plant"] if row["split"] == "train" else ""
        codes.setdefault(place, []).append((coded, row["label"]))
        progress(f"encode {name}", number + 1, len(rows))
    held = codes.pop("")
    plants = {
        plant: sums(np.concatenate([coded for coded, _ in given]), [label for coded, label in given for _ in coded])
        for plant, given in sorted(codes.items())
    }
    return plants, Held(codes=np.concatenate([coded for coded, _ in held]), labels=[label for _, label in held])


def _set(base: str, plants: dict[str, Statistics], held: Held) -> dict[str, Any]:
    found: dict[str, Any] = {
        "samples": {plant: statistics.count for plant, statistics in plants.items()},
        "features": next(iter(plants.values())).dimension,
        "bytes_int64_triangle": {plant: 4 * s.dimension * (s.dimension + 1) for plant, s in plants.items()},
        "bytes_planes_zstd": {plant: _plain(statistics) for plant, statistics in plants.items()},
    }
    for mode, levels in LEVELS.items():
        found[mode] = _mode(base, plants, held, levels, None)
    found["middle blocks, exact"] = _mode(base, plants, held, 0, MIDDLE)
    found["middle blocks, 127 levels"] = _mode(base, plants, held, 127, MIDDLE)
    return found


def _plain(statistics: Statistics) -> int:
    """What the same zstd makes of the triangle in planes of bytes, without any prediction."""
    return len(packing.squeeze(packing.planes(statistics.gram[np.triu_indices(statistics.dimension)])))


def _mode(
    base: str, plants: dict[str, Statistics], held: Held, levels: int, features: statistics_code.Ranges | None
) -> dict[str, Any]:
    sizes, encode_ms, decode_ms, parts = {}, [], [], []
    exact = True
    for plant, statistics in plants.items():
        given = statistics_code.share(base, statistics, features, levels=levels)
        content, spent_ms = _timed(lambda given=given: statistics_code.to_bytes(given))
        encode_ms.append(spent_ms)
        found, spent_ms = _timed(lambda content=content: statistics_code.from_bytes(content, base=base))
        decode_ms.append(spent_ms)
        sizes[plant] = len(content)
        exact &= bool(np.array_equal(found.statistics.gram, given.statistics.gram))
        parts.append(found.statistics)
    source = spectrum(merge(parts))
    columns = slice(None) if features is None else slice(*features[0])
    said = np.array(source.classes)[answers(source, RIDGE, held.codes[:, columns]).argmax(axis=1)]
    return {
        "bytes": sizes,
        "bytes_mean": round(float(np.mean(list(sizes.values())))),
        "exact": exact,
        "f1_val": macro_f1(confusion(held.labels, said.tolist(), sorted({*source.classes, *held.labels}))),
        "deficit": source.deficit,
        "encode_ms": float(np.median(encode_ms)),
        "decode_ms": float(np.median(decode_ms)),
    }


def _synthetic() -> dict[str, NDArray[np.float32]]:
    chance = np.random.default_rng(0)
    return {
        f"{name}.weight": (chance.standard_t(4, shape) * 10.0 ** -(3 + place % 3)).astype(np.float32)
        for place, (name, shape) in enumerate(LAYERS.items())
    }


def _fine_tuned(job: Path) -> dict[str, NDArray[np.float32]]:
    """What the run made of the encoder's weights so far."""
    model = onnx.load(job / "base.onnx")
    base = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    now = safetensors.numpy.load_file(job / "checkpoint.safetensors")
    return {name: now[f"weight/{name}"] - array for name, array in base.items() if f"weight/{name}" in now}


def _delta(delta: dict[str, NDArray[np.float32]], options: Options) -> dict[str, Any]:
    shapes = {name: array.shape for name, array in delta.items()}
    raw = sum(array.nbytes for array in delta.values())
    found: dict[str, Any] = {"parameters": raw // 4, "bytes_float32": raw}
    base = "00" * 32
    for coarseness in COARSENESS:
        encode_ms, decode_ms = [], []
        for _ in range(1 if options.quick else 5):
            (content, _), spent_ms = _timed(lambda c=coarseness: delta_code.to_bytes(delta, base, coarseness=c))
            encode_ms.append(spent_ms)
            _, spent_ms = _timed(lambda content=content: delta_code.from_bytes(content, shapes, base=base))
            decode_ms.append(spent_ms)
        found[f"c={coarseness:g}"] = {
            "bytes": len(content),
            "ratio": raw / len(content),
            "encode_ms": float(np.median(encode_ms)),
            "decode_ms": float(np.median(decode_ms)),
        }
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - started_s) * 1000


if __name__ == "__main__":
    run_bench("codec", measure, configure)
