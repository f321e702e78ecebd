"""Networks of your own in small: a detector that finds the bright line of the tiny pictures, and one that breaks on it.

The larger ones that people see are the product's own examples (edge_agent/models/build/examples.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from edge_agent.models.build.declaration import load
from edge_agent.models.build.pack import pack

BANDS = 8  # of a picture of 32 rows


def line_detector(*, fragile: bool = False, opset: int = 17) -> onnx.ModelProto:
    """`images` float32 [1, 3, 32, 32] -> `output0` [1, 5, 8] as YOLOv8 gives it: one class, one box a band of 4 rows.

    The fragile one reads behind the end of a table when the picture is bright: it passes every check and then fails on
    the line, as a network does whose indices depend on what it sees.
    """
    middle = (np.arange(BANDS) + 0.5) * 4
    boxes = np.stack([np.full(BANDS, 16.0), middle, np.full(BANDS, 32.0), np.full(BANDS, 4.0)])[None]
    constants = {
        "boxes": boxes.astype(np.float32),
        "least": np.array(0.6, np.float32),
        "gain": np.array(40, np.float32),
        "flat": np.array([1, 1, BANDS], np.int64),
        "bright": np.array(0.9, np.float32),
        "far": np.array(1000, np.int64),
        "nothing": np.array(0, np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["images"], ["bands"], kernel_shape=[4, 32], strides=[4, 32]),
        helper.make_node("ReduceMean", ["bands"], ["grey"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["grey", "least"], ["above"]),
        helper.make_node("Mul", ["above", "gain"], ["steep"]),
        helper.make_node("Sigmoid", ["steep"], ["sure"]),
        helper.make_node("Reshape", ["sure", "flat"], ["scores"]),
    ]
    if fragile:
        nodes += [
            helper.make_node("ReduceMax", ["images"], ["peak"], keepdims=0),
            helper.make_node("Greater", ["peak", "bright"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["step"], to=TensorProto.INT64),
            helper.make_node("Mul", ["step", "far"], ["index"]),
            helper.make_node("Gather", ["boxes", "index"], ["picked"], axis=2),
            helper.make_node("ReduceMax", ["picked"], ["one"], keepdims=0),
            helper.make_node("Mul", ["one", "nothing"], ["zero"]),
            helper.make_node("Add", ["scores", "zero"], ["told"]),
        ]
    last = "told" if fragile else "scores"
    nodes.append(helper.make_node("Concat", ["boxes", last], ["output0"], axis=1))
    graph = helper.make_graph(
        nodes,
        "line",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, BANDS])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


DETECTOR = {
    "kind": "detector",
    "classes": ["line"],
    "threshold": 0.6,
    "hold_below": 0.4,
    "detector": {"form": "yolov8", "score_min": 0.25, "iou_max": 0.5},
}


def declared(folder: Path, model: onnx.ModelProto, **keys: object) -> Path:
    """The file of a declaration of `model`, which is written beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.onnx").write_bytes(model.SerializeToString())
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump({"name": "lines", "networks": {"fp32": "network.onnx"}, **DETECTOR, **keys}))
    return file


def packed(folder: Path, model: onnx.ModelProto, **keys: object) -> Path:
    """A bundle of `model`, packed as a user packs it; its directory."""
    pack(load(declared(folder, model, **keys)), folder / "bundle", 1_767_323_045.0)
    return folder / "bundle"
