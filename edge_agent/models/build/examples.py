"""Small networks that really do something, made of a few operators by hand: what docs/models.md packs and judges with.

Each tells marks on parts of the synthetic line by their local contrast: pits and cracks, not every scratch. They are no
good models; their inputs and outputs are those of good ones, so what they show holds for a network of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_agent.capture.picture import encode_png
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.storage import replace_file

SIZE_PX = 256
CELL_PX = 16
_CELLS = SIZE_PX // CELL_PX
CLASSES = ("dark", "bright")
_PARTS = 8
# Of 36 good parts of the line none went beyond 5.5 mean differences, pits and cracks began at 8.8.
_MIDDLE = 6.3


class _Graph:
    """A graph that is being written: every value has the name of its line."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def put(self, name: str, operator: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: object, kind: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def model(self, outputs: dict[str, list[int | str]], opset: int = 12) -> ModelProto:
        """`images` float32 [1, 3, 256, 256] in, these outputs out; opset 12 is what YOLO exports began with."""
        picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE_PX, SIZE_PX])
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "example", [picture], made, self.constants)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def _strangeness(graph: _Graph) -> str:
    """How much darker (below 0) or brighter each pixel is than its surroundings, in mean differences: [1, 1, h, w]."""
    graph.put("grey", "ReduceMean", "images", axes=[1], keepdims=1)
    graph.put("fine", "AveragePool", "grey", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=0)
    graph.put("coarse", "AveragePool", "grey", kernel_shape=[21, 21], pads=[10] * 4, count_include_pad=0)
    graph.put("apart", "Sub", "fine", "coarse")
    graph.put("far", "Abs", "apart")
    graph.put("usual", "ReduceMean", "far", axes=[2, 3], keepdims=1)
    return graph.put("strange", "Div", "apart", "usual")


def _cell_peaks(graph: _Graph, name: str, value: str) -> str:
    return graph.put(name, "MaxPool", value, kernel_shape=[CELL_PX, CELL_PX], strides=[CELL_PX, CELL_PX])


def anomaly() -> ModelProto:
    """A map of how strange each place is, and its highest value: `pred_score` [1], `anomaly_map` [1, 1, 16, 16]."""
    graph = _Graph()
    graph.put("size", "Abs", _strangeness(graph))
    _cell_peaks(graph, "anomaly_map", "size")
    graph.put("peak", "ReduceMax", "anomaly_map", axes=[1, 2, 3], keepdims=0)
    graph.put("pred_score", "Identity", "peak")
    return graph.model({"pred_score": [1], "anomaly_map": [1, 1, _CELLS, _CELLS]})


def classifier() -> ModelProto:
    """Two logits, for a good part and one with a mark: `logits` [1, 2]."""
    graph = _Graph()
    graph.put("size", "Abs", _strangeness(graph))
    graph.put("peak", "ReduceMax", "size", axes=[2, 3], keepdims=0)
    graph.put("centred", "Sub", "peak", graph.constant("middle", _MIDDLE))
    graph.put("good", "Neg", "centred")
    graph.put("logits", "Concat", "good", "centred", axis=1)
    return graph.model({"logits": [1, 2]})


def _cells(graph: _Graph) -> tuple[str, str]:
    """Boxes [1, 4, N], centre and size in pixels, one a cell, and scores [1, 2, N] of the two classes."""
    strange = _strangeness(graph)
    _cell_peaks(graph, "dark", graph.put("darker", "Neg", strange))
    _cell_peaks(graph, "bright", strange)
    graph.put("kinds", "Concat", "dark", "bright", axis=1)
    graph.put("centred", "Sub", "kinds", graph.constant("middle", _MIDDLE))
    graph.put("steep", "Mul", "centred", graph.constant("gain", 1.5))
    graph.put("sure", "Sigmoid", "steep")
    scores = graph.put("scores_n", "Reshape", "sure", graph.constant("flat", [1, 2, -1], np.int64))
    rows, columns = np.mgrid[0:_CELLS, 0:_CELLS].reshape(2, -1)
    middle = (np.stack([columns, rows]) + 0.5) * CELL_PX
    sides = np.full_like(middle, 1.75 * CELL_PX)
    boxes = graph.constant("boxes_n", np.concatenate([middle, sides])[None])
    return boxes, scores


def detector(form: str = "yolov8") -> ModelProto:
    """Finds dark and bright marks, in one of the forms in which detectors give what they found.

    yolov8 [1, 6, 256]; yolov5 [1, 256, 7] with an objectness of 1; rows [M, 7] after ONNX's own NonMaxSuppression, as
    YOLOv7's end-to-end export gives them: batch, x1, y1, x2, y2, class, score.
    """
    graph = _Graph()
    boxes, scores = _cells(graph)
    if form == "yolov8":
        graph.put("output0", "Concat", boxes, scores, axis=1)
        return graph.model({"output0": [1, 4 + len(CLASSES), _CELLS**2]})
    if form == "yolov5":
        ones = graph.constant("sure_object", np.ones((1, 1, _CELLS**2)))
        graph.put("columns", "Concat", boxes, ones, scores, axis=1)
        graph.put("output0", "Transpose", "columns", perm=[0, 2, 1])
        return graph.model({"output0": [1, _CELLS**2, 5 + len(CLASSES)]})
    _suppressed(graph, boxes, scores)
    return graph.model({"output": ["found", 7]})


def _suppressed(graph: _Graph, boxes: str, scores: str) -> None:
    graph.put("by_row", "Transpose", boxes, perm=[0, 2, 1])
    limits = (
        graph.constant("most", [20], np.int64),
        graph.constant("iou", [0.2]),
        graph.constant("least", [0.25]),
    )
    graph.put("chosen", "NonMaxSuppression", "by_row", scores, *limits, center_point_box=1)
    ends = {name: graph.constant(name, [number], np.int64) for number, name in enumerate(("c0", "c1", "c2", "c3"))}
    axis = ends["c1"]
    graph.put("batch_i", "Slice", "chosen", ends["c0"], ends["c1"], axis)
    graph.put("class_i", "Slice", "chosen", ends["c1"], ends["c2"], axis)
    graph.put("box_i", "Slice", "chosen", ends["c2"], ends["c3"], axis)
    graph.put("box_flat", "Reshape", "box_i", graph.constant("line", [-1], np.int64))
    graph.put("rows", "Squeeze", "by_row", axes=[0])
    graph.put("picked", "Gather", "rows", "box_flat", axis=0)
    graph.put("centre", "Slice", "picked", ends["c0"], ends["c2"], axis)
    graph.put("sides", "Slice", "picked", ends["c2"], graph.constant("c4", [4], np.int64), axis)
    graph.put("half", "Mul", "sides", graph.constant("one_half", 0.5))
    graph.put("corner", "Sub", "centre", "half")
    graph.put("opposite", "Add", "centre", "half")
    graph.put("score", "GatherND", scores, "chosen")
    graph.put("score_column", "Unsqueeze", "score", axes=[1])
    graph.put("batch", "Cast", "batch_i", to=TensorProto.FLOAT)
    graph.put("class", "Cast", "class_i", to=TensorProto.FLOAT)
    graph.put("output", "Concat", "batch", "corner", "opposite", "class", "score_column", axis=1)


_HEAD = """\
# A network of your own. Every key is explained in docs/models.md; paths start at the folder of this file.
name: example-NAME
kind: KIND
networks: {fp32: network.onnx}
"""
_CLASSES = "classes: [dark, bright]\n"
_DETECTOR = "threshold: 0.6\nhold_below: 0.4\ngolden: golden\n"
DECLARATIONS = {
    "classifier": _HEAD
    + "classes: [ok, mark]\ngood: [ok]\nthreshold: 0.6\nhold_below: 0.4\ngolden: golden\nclassifier: {gives: logits}\n",
    "anomaly": _HEAD
    + "threshold: 0.6\nhold_below: 0.4\ngolden: golden\n"
    + "anomaly: {score: pred_score, map: anomaly_map, score_good: 5.0, score_bad: 8.0}\n",
    "detector": _HEAD + _CLASSES + _DETECTOR + "detector: {form: yolov8, score_min: 0.25, iou_max: 0.2}\n",
    "detector-yolov5": _HEAD + _CLASSES + _DETECTOR + "detector: {form: yolov5, score_min: 0.25, iou_max: 0.2}\n",
    "detector-rows": _HEAD
    + _CLASSES
    + _DETECTOR
    + "detector: {form: rows, columns: [batch, x1, y1, x2, y2, class, score]}\n",
}
NETWORKS: dict[str, Callable[[], ModelProto]] = {
    "classifier": classifier,
    "anomaly": anomaly,
    "detector": detector,
    "detector-yolov5": lambda: detector("yolov5"),
    "detector-rows": lambda: detector("rows"),
}
KINDS = tuple(DECLARATIONS)


def write(kind: str, directory: Path) -> None:
    """A declaration, its network, a few golden pictures and parts to judge, in `directory`.

    Raises:
        StorageFullError, StorageReadOnlyError: it could not be written.
    """
    for folder in (directory, directory / "golden", directory / "parts"):
        folder.mkdir(parents=True, exist_ok=True)
    model = NETWORKS[kind]()
    onnx.checker.check_model(model)
    replace_file(directory / "network.onnx", model.SerializeToString())
    text = DECLARATIONS[kind].replace("NAME", kind).replace("KIND", kind.partition("-")[0])
    replace_file(directory / "model.yaml", text.encode())
    for number, (label, image) in enumerate(parts(_PARTS)):
        replace_file(directory / "parts" / f"{number}-{label}.png", encode_png(image))
        if number in (0, 1, 2):
            replace_file(directory / "golden" / f"{number}.png", encode_png(image))


def parts(count: int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Parts of the synthetic line, half of them with a defect: label and picture."""
    line = SyntheticLine("lyon", 3, defect_share=0.5)
    return [(part.label, part.image) for part in map(line.part, range(count))]
