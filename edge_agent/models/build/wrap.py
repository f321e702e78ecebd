"""Builds the gateway's contract around a user's network: in goes a picture as it is, out comes one form per kind.

    picture uint8 [h, w, 3] BGR -> order, scale, layout -> the network, sizes fixed -> form of its kind -> folded

Folding is ONNX Runtime's own basic optimisation: what exporters leave of shape arithmetic (Shape, Range, Expand,
ConstantOfShape, Constant) becomes constants, so that the rules for files need not allow it. Only operators of the ONNX
standard come out of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edge_agent.errors import BadBundleError
from edge_agent.models.build.declaration import AnomalyKeys, ClassifierKeys, Declaration, DetectorKeys, InputKeys
from edge_agent.models.bundle import ENCODER_MAX_BYTES
from edge_agent.models.encoder import INPUT_NAME
from edge_agent.models.network_manifest import ANOMALY, CLASSIFIER
from edge_agent.models.rules import OPSETS

# Below 13, squeeze and unsqueeze take their axes otherwise; the newest that every exporter of 2021 could have written.
_OPSET_LEAST, _OPSET_RAISED = 13, 17
_IR_VERSION = 8
# What the network had and what is built around it must not meet: many a detector calls its outputs boxes and scores.
_OWN, _OURS = "own/", "edge/"
# ITU-R BT.601, as OpenCV turns BGR into grey.
_GREY_OF_BGR = (0.114, 0.587, 0.299)
_ELEMENTS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.UINT8: "uint8"}
_ORT_FATAL = 4
_ORT_REFUSES = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    RuntimeError,
    ValueError,
)

Size = int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """The file that goes into the bundle, and the size (height, width) of the pictures it takes."""

    content: bytes
    input_px: tuple[int, int]


def wrap(path: Path, declared: Declaration) -> Wrapped:
    """The network in `path` with the contract built around it.

    Raises:
        BadBundleError: it cannot be read, or is not what the declaration says; the message has both.
    """
    model = _read(path)
    try:
        size = _fix_input(model, declared.input)
        model = _folded(model)
        outputs = _outputs(model)
        _set_apart(model)
        added = _Nodes(model)
        _in_front(added, model, declared.input, size)
        if declared.kind == CLASSIFIER:
            made = _classifier(added, outputs, declared, declared.classifier or ClassifierKeys())
        elif declared.kind == ANOMALY:
            assert declared.anomaly is not None  # noqa: S101 - for the type checker; `load` has seen to it
            made = _anomaly(added, outputs, declared.anomaly)
        else:
            assert declared.detector is not None  # noqa: S101 - as above
            made = _detector(added, outputs, declared, declared.detector, size)
        _give(model, made)
        content = _folded(model).SerializeToString()
    except BadBundleError as error:
        raise BadBundleError(f"{path}: {error}") from error
    return Wrapped(content=content, input_px=size)


def _read(path: Path) -> ModelProto:
    """The file with the data that it keeps beside it."""
    try:
        if path.stat().st_size > ENCODER_MAX_BYTES:
            raise BadBundleError(f"{path}: {path.stat().st_size} bytes, at most {ENCODER_MAX_BYTES} are taken")
        model = onnx.load(path, load_external_data=True)
    except OSError as error:
        raise BadBundleError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise BadBundleError(f"{path}: not an ONNX file, or its data is missing ({str(error)[:200]})") from error
    if model.ByteSize() > ENCODER_MAX_BYTES:
        raise BadBundleError(f"{path}: {model.ByteSize()} bytes with its data, at most {ENCODER_MAX_BYTES} are taken")
    return _raised(path, model)


def _raised(path: Path, model: ModelProto) -> ModelProto:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    opset, newest = versions.get("", 0), OPSETS[""].stop - 1
    if opset > newest:
        raise BadBundleError(f"{path}: opset {opset}, at most {newest} is known; export it with opset 17")
    if opset < _OPSET_LEAST:
        try:
            model = onnx.version_converter.convert_version(model, _OPSET_RAISED)
        except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
            raise BadBundleError(
                f"{path}: opset {opset} cannot be raised to {_OPSET_RAISED} ({str(error)[:200]}); export it with 17"
            ) from error
    return model


def _fix_input(model: ModelProto, keys: InputKeys) -> tuple[int, int]:
    """Fix batch and size of the one input; what the file says of its other values is worked out anew."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise BadBundleError(f"takes {[value.name for value in inputs]}, expected one input: the picture")
    kind = inputs[0].type.tensor_type
    axes = kind.shape.dim
    element = _ELEMENTS.get(kind.elem_type, f"type {kind.elem_type}")
    if element == "float16" or any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise BadBundleError(
            "computes in float16; export it in float32 (half=False): accelerators halve it themselves, and the CPU "
            "would only convert it to and fro"
        )
    if element == f"type {kind.elem_type}" or len(axes) != 4:
        raise BadBundleError(f"takes {element} of {len(axes)} axes, expected float32 or uint8 of 4, one the batch")
    channels = 1 if keys.colour == "grey" else 3
    if keys.layout == "nchw":
        size = _size(axes[2], axes[3], keys)
        wanted = (1, channels, *size)
    else:
        size = _size(axes[1], axes[2], keys)
        wanted = (1, *size, channels)
    for axis, length in zip(axes, wanted, strict=True):
        if axis.HasField("dim_value") and axis.dim_value not in (length, 0):
            shape = [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in axes]
            raise BadBundleError(
                f"takes {shape}, but {keys.layout} with {keys.colour} is {list(wanted)}; correct input.layout, "
                "input.colour or input.size_px, or export it with batch 1"
            )
        axis.dim_value = length
    model.graph.ClearField("value_info")
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return size


def _size(
    height: onnx.TensorShapeProto.Dimension, width: onnx.TensorShapeProto.Dimension, keys: InputKeys
) -> tuple[int, int]:
    own = height.dim_value, width.dim_value
    if keys.size_px is not None:
        return keys.size_px
    if not all(own):
        raise BadBundleError("its input has no fixed size; say which with input.size_px: [height, width]")
    return own


def _folded(model: ModelProto) -> ModelProto:
    """The same network with its constants folded, in operators of the ONNX standard."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _ORT_FATAL
    with tempfile.TemporaryDirectory(prefix="edge-agent-pack-") as folder:
        file = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(file)
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except _ORT_REFUSES as error:
            raise BadBundleError(f"ONNX Runtime {ort.__version__} refuses it: {str(error)[:300]}") from error
        folded = onnx.load(file)
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    folded.ir_version = max(_IR_VERSION, min(folded.ir_version, 10))
    folded.graph.ClearField("value_info")
    return folded


def _outputs(model: ModelProto) -> dict[str, tuple[Size, ...]]:
    """The shape of each output, None for a size that depends on the picture."""
    options = ort.SessionOptions()
    options.log_severity_level = _ORT_FATAL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {
        output.name: tuple(size if isinstance(size, int) else None for size in output.shape)
        for output in session.get_outputs()
    }


def _set_apart(model: ModelProto) -> None:
    """Give every value of the network a name that none of ours has."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = _OWN + value.name
    for node in model.graph.node:
        # An empty name is an optional input that is not given.
        node.input[:] = [_OWN + name if name else name for name in node.input]
        node.output[:] = [_OWN + name if name else name for name in node.output]


class _Nodes:
    """Adds nodes and constants of ours to a graph, each with a name of its own."""

    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._count = 0
        self.front: list[NodeProto] = []

    def constant(self, array: NDArray[np.generic]) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, operator: str, *inputs: str, front: bool = False, **attributes: object) -> str:
        """The name of what the node makes."""
        name = self._name()
        node = helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        (self.front if front else self._graph.node).append(node)
        return name

    def integers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def columns(self, value: str, start: int, end: int) -> str:
        """Columns [start, end) of a value with two axes."""
        return self.add("Slice", value, self.integers(start), self.integers(end), self.integers(1))

    def _name(self) -> str:
        self._count += 1
        return f"{_OURS}{self._count}"


def _in_front(added: _Nodes, model: ModelProto, keys: InputKeys, size: tuple[int, int]) -> None:
    """From the gateway's picture to what the network takes."""
    own = model.graph.input[0]
    value = INPUT_NAME
    if keys.colour == "rgb":
        value = added.add("Gather", value, added.integers(2, 1, 0), front=True, axis=2)
    if keys.layout == "nchw" and keys.colour != "grey":
        # Bytes are moved, not floats: a quarter of the memory.
        value = added.add("Transpose", value, front=True, perm=[2, 0, 1])
    if own.type.tensor_type.elem_type == TensorProto.FLOAT:
        value = added.add("Cast", value, front=True, to=TensorProto.FLOAT)
        value = _normalised(added, value, keys)
    elif keys.colour == "grey":
        raise BadBundleError("takes uint8 and one grey channel; only float32 networks get grey made for them")
    value = added.add("Unsqueeze", value, added.integers(0), front=True)
    for node in model.graph.node:
        node.input[:] = [value if name == own.name else name for name in node.input]
    nodes = [*added.front, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [*size, 3]))


def _normalised(added: _Nodes, value: str, keys: InputKeys) -> str:
    """(value / scale - mean) / std as one product and one sum."""
    mean, std = np.array(keys.mean), np.array(keys.std)
    gain, offset = 1.0 / (keys.scale * std), -mean / std
    if keys.colour == "grey":
        value = added.add("MatMul", value, added.constant(np.array(_GREY_OF_BGR, np.float32)[:, None]), front=True)
        gain, offset = gain[:1], offset[:1]
    if keys.colour == "grey" and keys.layout == "nchw":
        value = added.add("Transpose", value, front=True, perm=[2, 0, 1])
    shape = (-1, 1, 1) if keys.layout == "nchw" else (-1,)
    value = added.add("Mul", value, added.constant(gain.astype(np.float32).reshape(shape)), front=True)
    if offset.any():
        value = added.add("Add", value, added.constant(offset.astype(np.float32).reshape(shape)), front=True)
    return value


def _named(outputs: dict[str, tuple[Size, ...]], name: str | None, key: str) -> tuple[str, tuple[Size, ...]]:
    if name is None and len(outputs) == 1:
        return next(iter(outputs.items()))
    if name not in outputs:
        words = ", ".join(f"{found} {_shown(shape)}" for found, shape in outputs.items())
        raise BadBundleError(
            f"has the outputs {words}; name one of them in {key}" + (f", not {name!r}" if name else "")
        )
    return name, outputs[name]


def _shown(shape: Sequence[Size]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _classifier(
    added: _Nodes, outputs: dict[str, tuple[Size, ...]], declared: Declaration, keys: ClassifierKeys
) -> dict[str, str]:
    name, shape = _named(outputs, keys.output, "classifier.output")
    count = len(declared.classes)
    if None in shape or int(np.prod([size or 0 for size in shape])) != count:
        raise BadBundleError(f"gives {name} {_shown(shape)}, the declaration has {count} classes")
    value = added.add("Reshape", _OWN + name, added.integers(count))
    if keys.gives == "logits":
        value = added.add("Softmax", value, axis=0)
    return {"scores": value}


def _anomaly(added: _Nodes, outputs: dict[str, tuple[Size, ...]], keys: AnomalyKeys) -> dict[str, str]:
    plane = {name: shape for name, shape in outputs.items() if len(_plain(shape)) == 2}
    name, shape = _named(plane if keys.map is None else outputs, keys.map, "anomaly.map")
    sides = _plain(shape)
    if len(sides) != 2 or None in sides:
        raise BadBundleError(f"gives {name} {_shown(shape)}, expected a map with a height and a width")
    value = added.add("Reshape", _OWN + name, added.integers(*(size or 0 for size in sides)))
    if keys.score is None:
        top = added.add("ReduceMax", added.add("Reshape", value, added.integers(-1)), keepdims=1)
        return {"score": added.add("Reshape", top, added.integers(1)), "map": value}
    score, score_shape = _named(outputs, keys.score, "anomaly.score")
    if _plain(score_shape) != ():
        raise BadBundleError(f"gives {score} {_shown(score_shape)}, expected one number as the score")
    return {"score": added.add("Reshape", _OWN + score, added.integers(1)), "map": value}


def _plain(shape: Sequence[Size]) -> tuple[Size, ...]:
    """The axes that are longer than 1."""
    return tuple(size for size in shape if size != 1)


def _detector(
    added: _Nodes,
    outputs: dict[str, tuple[Size, ...]],
    declared: Declaration,
    keys: DetectorKeys,
    size: tuple[int, int],
) -> dict[str, str]:
    name, shape = _named(outputs, keys.output, "detector.output")
    height, width = size if keys.coordinates == "pixels" else (1, 1)
    unit = np.array([width, height, width, height], np.float32)
    if keys.form == "rows":
        return _rows(added, name, shape, keys, unit)
    count = len(declared.classes)
    wide = count + (5 if keys.form == "yolov5" else 4)
    if len(shape) != 3 or shape[0] != 1 or wide not in shape[1:] or None in shape:
        raise BadBundleError(
            f"gives {name} {_shown(shape)}, a {keys.form} detector of {count} classes gives [1, N, {wide}] or "
            f"[1, {wide}, N]; correct detector.form or the classes"
        )
    # YOLOv8 lays one box down a column, v5 along a row; where both sides fit, as the family does it.
    down = shape[1] == wide and (keys.form == "yolov8" or shape[2] != wide)
    value = added.add("Squeeze", _OWN + name, added.integers(0))
    if down:
        value = added.add("Transpose", value, perm=[1, 0])
    centre, sides = added.columns(value, 0, 2), added.columns(value, 2, 4)
    half = added.add("Mul", sides, added.constant(np.array(0.5, np.float32)))
    boxes = added.add("Concat", added.add("Sub", centre, half), added.add("Add", centre, half), axis=1)
    boxes = added.add("Div", boxes, added.constant(unit))
    scores = added.columns(value, wide - count, wide)
    if keys.form == "yolov5":
        scores = added.add("Mul", scores, added.columns(value, 4, 5))
    return {"boxes": boxes, "scores": scores}


def _rows(
    added: _Nodes, name: str, shape: Sequence[Size], keys: DetectorKeys, unit: NDArray[np.float32]
) -> dict[str, str]:
    wide = len(keys.columns)
    if len(shape) not in (2, 3) or shape[-1] not in (wide, None) or (len(shape) == 3 and shape[0] not in (1, None)):
        raise BadBundleError(
            f"gives {name} {_shown(shape)}, the declared columns make [1, N, {wide}] or [N, {wide}]; correct "
            "detector.columns"
        )
    value = added.add("Reshape", _OWN + name, added.integers(-1, wide))
    order = [keys.columns.index(column) for column in ("x1", "y1", "x2", "y2", "score", "class")]
    value = added.add("Gather", value, added.integers(*order), axis=1)
    factors = np.concatenate([1.0 / unit, np.ones(2, np.float32)]).astype(np.float32)
    return {"detections": added.add("Mul", value, added.constant(factors))}


def _give(model: ModelProto, made: dict[str, str]) -> None:
    """These values, under the gateway's names, are all that the network gives."""
    del model.graph.output[:]
    for name, value in made.items():
        model.graph.node.append(helper.make_node("Identity", [value], [name], name=f"{_OURS}{name}"))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
