"""Would several cameras on one model gain by being judged together? Time per picture of 1, 2, 4 and 8 in one run.

The encoder of the default bundle takes one picture; here the same graph takes n, nothing else changed. Blocks of all
sizes alternate in one process with one thread, as a gateway runs; `gain` is what a picture costs alone over what it
costs among n. A batch also has to be waited for: the n-1 frames that come first are judged later by that.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edge_agent.models.bundle import Manifest
from edge_agent.models.store import ModelStore
from tests.bench.gateway import default_store
from tests.bench.report import Options, Progress, run_bench

BATCHES = (1, 2, 4, 8)
FLAVOURS = ("u8s8", "fp32")
RUNS_A_BLOCK = 24


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    blocks = 6 if options.quick else 20
    found: dict[str, Any] = {}
    for flavour in FLAVOURS:
        content, (height, width) = _encoder(flavour)
        sessions = {count: _session(batched(content, count)) for count in BATCHES}
        pictures = np.random.default_rng(0).integers(0, 255, (max(BATCHES), height, width, 3), dtype=np.uint8)
        _same_answers(sessions, pictures)
        times: dict[int, list[float]] = {count: [] for count in BATCHES}
        for block in range(blocks):
            for count, session in sessions.items():
                times[count].append(_per_picture_ms(session, pictures[:count]))
            progress(flavour, block + 1, blocks)
        alone = statistics.median(times[1])
        found[flavour] = {
            str(count): {
                "ms_per_picture": round(statistics.median(values), 3),
                "gain": round(alone / statistics.median(values), 3),
            }
            for count, values in times.items()
        }
    return {"batches": found, "runs": blocks}


def batched(content: bytes, count: int) -> onnx.ModelProto:
    """The encoder, taking `picture` uint8 [count, h, w, 3] and giving one row for each."""
    model = onnx.load_from_string(content)
    graph = model.graph
    height, width = (axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[:2])
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Unsqueeze", "Squeeze"):
            # What made one picture a batch of one, and took the batch away again.
            node.op_type = "Identity"
            del node.input[1:]
        elif node.op_type == "Reshape":
            # The unfolded stem: [1, h, w, c].
            shape = constants[node.input[1]]
            wide = [count, *numpy_helper.to_array(shape)[1:]]
            shape.CopyFrom(numpy_helper.from_array(np.array(wide, np.int64), shape.name))
    del graph.input[:], graph.value_info[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("picture", TensorProto.UINT8, [count, height, width, 3]))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("vector", "map"))
    return model


def _encoder(flavour: str) -> tuple[bytes, tuple[int, int]]:
    store = ModelStore(default_store())
    digest = store.active("surface")
    assert digest is not None
    manifest = store.manifest(digest)
    assert isinstance(manifest, Manifest)
    return (store.root / "blobs" / manifest.encoder(flavour).sha256).read_bytes(), manifest.input_px


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _same_answers(sessions: dict[int, ort.InferenceSession], pictures: np.ndarray) -> None:
    """A batch that judged otherwise would be no saving."""
    alone = sessions[1].run(["vector"], {"picture": pictures[:1]})[0].reshape(-1)
    for count, session in sessions.items():
        rows = session.run(["vector"], {"picture": pictures[:count]})[0].reshape(count, -1)
        np.testing.assert_allclose(rows[0], alone, rtol=1e-3, atol=1e-3)


def _per_picture_ms(session: ort.InferenceSession, pictures: np.ndarray) -> float:
    runs = max(1, RUNS_A_BLOCK // len(pictures))
    started_s = time.process_time()
    for _ in range(runs):
        session.run(None, {"picture": pictures})
    return (time.process_time() - started_s) / (runs * len(pictures)) * 1e3


if __name__ == "__main__":
    run_bench("batch", measure)
