"""OpenVINO beside the CPU provider: the same bundle, the same threads, both flavours, in one environment and run.

`onnxruntime-openvino` owns the same import name as the usual wheel, so it lives in an environment of its own, made at
the first run (half a gigabyte). What is measured there: the first start, which compiles, and the next, from the cache;
milliseconds a picture, alternating; how far its features and verdicts are from the golden ones. The usual wheel of this
environment, which may be a newer ONNX Runtime, is measured beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.config.sections import DeviceKeys
from edge_agent.device.profile import named
from edge_agent.learn.head import probabilities
from edge_agent.models.encoder import RuntimeOptions, onnxruntime_version
from edge_agent.models.loading import LoadedModel
from edge_agent.models.runtime import runtime_of
from edge_agent.models.store import ModelStore
from tests import openvino
from tests.bench.gateway import default_store
from tests.bench.report import Options, Progress, run_bench

FLAVOURS = ("u8s8", "fp32")
RUNS, QUICK_RUNS = 400, 80
PICTURES = 60
INSIDE = "--inside"


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    store, runs = default_store().resolve(), QUICK_RUNS if options.quick else RUNS
    progress("environment with onnxruntime-openvino", 0, 3)
    python = openvino.python()
    progress("OpenVINO and CPU provider, in turn", 1, 3)
    with tempfile.TemporaryDirectory() as cache:
        command = [str(python), "-m", "tests.bench.openvino", INSIDE, str(store), cache, str(runs)]
        done = subprocess.run(command, env=openvino.environ(), check=True, stdout=subprocess.PIPE)
    progress("the usual wheel", 2, 3)
    usual = {}
    for flavour in FLAVOURS:
        model = _load(ModelStore(store), RuntimeOptions(), flavour)
        usual[flavour] = _median_ms({"cpu": model}, runs)["cpu"]
    progress("the usual wheel", 3, 3)
    return {
        **json.loads(done.stdout.splitlines()[-1]),
        "usual_version": onnxruntime_version(),
        "usual_ms": usual,
        "runs": runs,
    }


def inside(store_root: Path, cache: Path, runs: int) -> dict[str, Any]:
    """What only the other environment can do."""
    store, found = ModelStore(store_root), {"version": onnxruntime_version()}
    runtime = runtime_of(named("x86-openvino"), DeviceKeys(), cache / "key")
    keys = ("first_start_s", "next_start_s", "openvino_ms", "cpu_ms", "ratio", "vector_off", "verdicts_changed")
    found |= {key: {} for key in keys}
    for flavour in FLAVOURS:
        assert store.builds_engine(_digest(store), runtime, flavour)
        found["first_start_s"][flavour], compiled = _timed(store, runtime, flavour)
        assert not store.builds_engine(_digest(store), runtime, flavour), "nothing was kept in the cache"
        found["next_start_s"][flavour], _ = _timed(store, runtime, flavour)
        plain = _load(store, replace(RuntimeOptions(), intra_op_threads=runtime.intra_op_threads), flavour)
        times = _median_ms({"openvino": compiled, "cpu": plain}, runs)
        found["openvino_ms"][flavour], found["cpu_ms"][flavour] = times["openvino"], times["cpu"]
        found["ratio"][flavour] = times["cpu"] / times["openvino"]
        found["vector_off"][flavour], found["verdicts_changed"][flavour] = _disagreement(compiled, plain)
    return found


def _digest(store: ModelStore) -> str:
    digest = store.active("surface")
    assert digest is not None
    return digest


def _load(store: ModelStore, runtime: RuntimeOptions, flavour: str) -> LoadedModel:
    # verify, not load: golden vectors must be reproduced, as at every activation.
    return store.verify(_digest(store), runtime, flavour)


def _timed(store: ModelStore, runtime: RuntimeOptions, flavour: str) -> tuple[float, LoadedModel]:
    began_s = time.perf_counter()
    model = _load(store, runtime, flavour)
    return time.perf_counter() - began_s, model


def _median_ms(models: dict[str, LoadedModel], runs: int) -> dict[str, float]:
    picture = np.random.default_rng(0).integers(
        0, 256, (*next(iter(models.values())).encoder.input_px, 3), dtype=np.uint8
    )
    taken: dict[str, list[float]] = {name: [] for name in models}
    for run in range(-10, runs):
        for name, model in models.items():
            began_s = time.perf_counter()
            model.encoder.encode(picture)
            if run >= 0:
                taken[name].append((time.perf_counter() - began_s) * 1e3)
    return {name: float(np.median(values)) for name, values in taken.items()}


def _disagreement(one: LoadedModel, other: LoadedModel) -> tuple[float, int]:
    """The largest |a - b| / |b| of feature vectors, and how many of the pictures get another class."""
    line, off, changed = SyntheticLine(seed=7), 0.0, 0
    for index in range(PICTURES):
        picture = prepare(line.part(index).image, one.encoder.input_px)
        a, b = one.encoder.encode(picture).vector, other.encoder.encode(picture).vector
        off = max(off, float(np.linalg.norm(a - b) / np.linalg.norm(b)))
        changed += int(probabilities(one.head, a).argmax() != probabilities(other.head, b).argmax())
    return off, changed


if __name__ == "__main__":
    if INSIDE in sys.argv:
        _, _, root, cache, runs = sys.argv
        print(json.dumps(inside(Path(root), Path(cache), int(runs))))
    else:
        run_bench("openvino", measure)
