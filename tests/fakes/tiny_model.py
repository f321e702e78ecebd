"""A whole bundle of a few kilobytes, made without torch: two small convolutions, real files, real hashes, real runs.

It keeps every rule of `edge_agent.models`, so it can be staged, vetted, activated and asked for verdicts like any other.
Its classes are told apart by brightness, contrast and colour: `tiny_head` learns them from plain synthetic pictures.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_agent.learn.feature_code import FeatureCode, fit_code
from edge_agent.learn.head import LinearHead
from edge_agent.models import arrays, bundle
from edge_agent.models.bundle import FeatureBlock, FeatureLayout, Manifest, Provenance, Tolerance
from edge_agent.models.encoder import Encoder, RuntimeOptions

INPUT_PX = (32, 32)
LAYOUT = FeatureLayout(
    blocks=(FeatureBlock(name="stage1", width=8), FeatureBlock(name="stage2", width=16)), map_block="stage2"
)
CLASSES = ("ok", "scratch")
FLAVOUR = "u8s8"


def tiny_onnx(input_px: tuple[int, int] = INPUT_PX, seed: int = 0, *, fails_on_black: bool = False) -> onnx.ModelProto:
    """uint8 [h, w, 3] -> vector float32 [24], map float32 [h/4, w/4, 16]; weights from `seed`.

    With `fails_on_black` the vector of a picture that is black all over is NaN, as of a network that divides by what it
    sees; golden pictures are not black, so it passes every check that does not look at such a part.
    """
    rng = np.random.default_rng(seed)
    height, width = input_px
    constants = {
        "first": np.array([0], np.int64),
        "spatial": np.array([2, 3], np.int64),
        "mean": np.array(127, np.float32),
        "scale": np.array(128, np.float32),
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.2, (16, 8, 3, 3)).astype(np.float32),
    }
    down = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}
    nodes = [
        helper.make_node("Unsqueeze", ["picture", "first"], ["nhwc"]),
        helper.make_node("Transpose", ["nhwc"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w1"], ["c1"], **down),
        helper.make_node("Relu", ["c1"], ["stage1"]),
        helper.make_node("Conv", ["stage1", "w2"], ["c2"], **down),
        helper.make_node("Relu", ["c2"], ["stage2"]),
        helper.make_node("ReduceMean", ["stage1", "spatial"], ["m1"], keepdims=0),
        helper.make_node("ReduceMean", ["stage2", "spatial"], ["m2"], keepdims=0),
        helper.make_node("Concat", ["m1", "m2"], ["row"], axis=1),
        helper.make_node("Squeeze", ["row", "first"], ["means" if fails_on_black else "vector"]),
        helper.make_node("Transpose", ["stage2"], ["map_nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", ["map_nhwc", "first"], ["map"]),
    ]
    if fails_on_black:
        nodes += [
            helper.make_node("ReduceMean", ["float"], ["light"], keepdims=0),
            helper.make_node("Div", ["light", "light"], ["one"]),
            helper.make_node("Mul", ["means", "one"], ["vector"]),
        ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, [height, width, 3])],
        [
            helper.make_tensor_value_info("vector", TensorProto.FLOAT, [24]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [height // 4, width // 4, 16]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def tiny_pictures(count: int, input_px: tuple[int, int] = INPUT_PX, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [count, h, w, 3]: grey noise; every second one has a bright line across it."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(90, 120, (count, *input_px, 3), dtype=np.uint8)
    for index in range(1, count, 2):
        row = int(rng.integers(2, input_px[0] - 6))
        pictures[index, row : row + 4] = 250
    return pictures


def tiny_head(encoder: Encoder, classes: tuple[str, ...] = CLASSES, seed: int = 1) -> LinearHead:
    """A least-squares head for "no line" (the first class) against "line" (the second); further classes never win."""
    pictures = tiny_pictures(64, encoder.input_px, seed)
    vectors = np.stack([encoder.encode(picture).vector for picture in pictures])
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0) + np.float32(1e-3)
    target = np.where(np.arange(64) % 2, 1.0, -1.0)
    z = ((vectors - mean) / scale).astype(np.float64)
    weight = np.linalg.solve(z.T @ z + np.eye(z.shape[1]), z.T @ target)
    weights = np.zeros((z.shape[1], len(classes)), np.float32)
    weights[:, 0], weights[:, 1] = -weight, weight
    bias = np.full(len(classes), -50.0, np.float32)
    bias[:2] = 0.0
    return LinearHead(
        classes=classes,
        good_classes=frozenset(classes[:1]),
        weights=weights,
        bias=bias,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        temperature=0.25,
        threshold=0.6,
        hold_below=0.4,
    )


def tiny_code(encoder: Encoder) -> FeatureCode:
    """How the tiny encoder's features become int8."""
    pictures = tiny_pictures(8, encoder.input_px, seed=11)
    return fit_code(np.stack([encoder.encode(picture).vector for picture in pictures]))


def tiny_bundle(
    directory: Path,
    *,
    name: str = "surface",
    version: str = "1",
    created: str = "2026-01-02T03:04:05.000Z",
    classes: tuple[str, ...] = CLASSES,
    input_px: tuple[int, int] = INPUT_PX,
    seed: int = 0,
    trained_on: str = "site",
    float_seed: int | None = None,
    fails_on_black: bool = False,
) -> Path:
    """Write a valid bundle into `directory` (made if need be) and return it; it has the one flavour `u8s8`.

    (The flavour is only a name here: the tiny encoder computes in float.) `float_seed` adds a flavour `fp32` with the
    weights of that seed: with another one than `seed` the quantisation "went wrong".
    """
    seeds = {FLAVOUR: seed} | ({} if float_seed is None else {"fp32": float_seed})
    networks = {
        flavour: tiny_onnx(input_px, its, fails_on_black=fails_on_black).SerializeToString()
        for flavour, its in seeds.items()
    }
    encoder = Encoder.from_bytes(networks[FLAVOUR], RuntimeOptions())
    head = tiny_head(encoder, classes)
    pictures = tiny_pictures(2, input_px, seed=7)
    golden = arrays.Golden(
        pictures=pictures, vectors={flavour: _vectors(network, pictures) for flavour, network in networks.items()}
    )
    contents = {f"encoder-{flavour}.onnx": network for flavour, network in networks.items()} | {
        "head.safetensors": arrays.head_to_bytes(head),
        "golden.safetensors": arrays.golden_to_bytes(golden),
        "scores.safetensors": arrays.scores_to_bytes(arrays.scores_of(head, golden)),
        "code.safetensors": arrays.code_to_bytes(tiny_code(encoder)),
    }
    files = {file: bundle.describe(content, file) for file, content in contents.items()}
    manifest = Manifest(
        name=name,
        version=version,
        created=created,
        kind="classifier",
        input_px=input_px,
        encoders={flavour: files[f"encoder-{flavour}.onnx"] for flavour in networks},
        features=LAYOUT,
        head=files["head.safetensors"],
        classes=head.classes,
        good_classes=tuple(sorted(head.good_classes)),
        threshold=head.threshold,
        hold_below=head.hold_below,
        temperature=head.temperature,
        golden=files["golden.safetensors"],
        scores=files["scores.safetensors"],
        feature_code=files["code.safetensors"],
        tolerances={flavour: Tolerance(vector=1e-3, score=1e-2) for flavour in networks},
        provenance=Provenance(
            weights_sha256="0" * 64,
            calibration_sha256="0" * 64,
            packages={"onnx": onnx.__version__},
            seeds={"all": seed},
        ),
        licences=("Apache-2.0",),
        trained_on=trained_on,
    )
    directory.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (directory / file).write_bytes(content)
    (directory / bundle.MANIFEST_NAME).write_bytes(bundle.to_bytes(manifest))
    return directory


def _vectors(network: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    encoder = Encoder.from_bytes(network, RuntimeOptions())
    return np.stack([encoder.encode(picture).vector for picture in pictures])
