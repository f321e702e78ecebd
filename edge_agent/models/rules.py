"""The rules for ONNX files. Runs only in the child of `edge_agent.models.vet`: it parses what it does not trust.

An encoder needs little of what ONNX can say. So what is allowed is listed, and everything else is refused: data in
other files, subgraphs, functions, operators and domains not named here, shapes that are not fixed, and tensors whose
claimed size is not the size of their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # it ships no types
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from edge_agent.errors import BadBundleError
from edge_agent.models.encoder import INPUT_NAME, MAP_NAME, VECTOR_NAME, Encoder, RuntimeOptions
from edge_agent.models.vetting import VetLimits, VetReport

IR_VERSIONS = range(7, 12)  # onnx 1.7 to 1.18; 3 allowed names of initialisers as inputs
OPSETS = {"": range(13, 24), "com.microsoft": range(1, 2)}

# What convolutional encoders are made of, float and quantised. Each either keeps the size of its input or is bounded by
# shape arithmetic; Expand, Tile, ConstantOfShape, Resize, Loop, If, Scan and all that reads files or text are not here.
OPERATORS = {
    "": frozenset(
        {
            "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear",
            "Div", "Flatten", "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "MatMul",
            "MaxPool", "Mul", "Pad", "QLinearConv", "QuantizeLinear", "ReduceMean", "Relu", "Reshape",
            "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
        }
    ),
    "com.microsoft": frozenset({"QLinearAdd", "QLinearConcat", "QLinearGlobalAveragePool"}),
}  # fmt: skip

# Bytes an element; every other element type (text, complex, 4-bit) is refused.
ELEMENT_BYTES = {
    TensorProto.FLOAT: 4,
    TensorProto.UINT8: 1,
    TensorProto.INT8: 1,
    TensorProto.INT32: 4,
    TensorProto.INT64: 8,
    TensorProto.BOOL: 1,
}
_DIMENSIONS_MAX = 8
_SIDE_PX_MAX = 1024


def examine(content: bytes, limits: VetLimits) -> VetReport:
    """All rules in order of cost: structure, tensors, graph, shapes, contract, one run.

    Raises:
        BadBundleError: the first rule that is broken.
    """
    try:
        model = ModelProto.FromString(content)
    except DecodeError as error:
        raise BadBundleError(f"not an ONNX file, or a truncated one ({error})") from error
    _require_versions(model)
    _require_plain(model)
    _require_operators(model.graph, limits)
    initialiser_bytes = _require_tensors(model)
    shapes = _shapes(model)
    activation_bytes = _require_bounded(model.graph, shapes, limits)
    picture, vector, heat = _require_contract(model.graph, shapes)
    report = VetReport(
        nodes=len(model.graph.node),
        initialiser_bytes=initialiser_bytes,
        activation_bytes=activation_bytes,
        input_px=(picture[0], picture[1]),
        dimension=vector[0],
        map_shape=(heat[0], heat[1], heat[2]),
    )
    _dry_run(content, report)
    return report


def _require_versions(model: ModelProto) -> None:
    if model.ir_version not in IR_VERSIONS:
        raise BadBundleError(f"IR version {model.ir_version}, allowed are {_span(IR_VERSIONS)}")
    imported = {entry.domain: entry.version for entry in model.opset_import}
    if len(imported) != len(model.opset_import) or "" not in imported:
        raise BadBundleError(f"operator sets {[entry.domain for entry in model.opset_import]}, expected '' once")
    for domain, version in imported.items():
        if domain not in OPSETS:
            raise BadBundleError(f"operators of domain {domain!r}, allowed are {sorted(OPSETS)}")
        if version not in OPSETS[domain]:
            raise BadBundleError(f"opset {version} of domain {domain!r}, allowed are {_span(OPSETS[domain])}")


def _span(versions: range) -> str:
    return f"{versions.start} to {versions.stop - 1}"


def _messages(message: Message, path: str = "model") -> Iterator[tuple[str, Message]]:
    """Every protobuf message inside `message`, wherever a file may hide one, with its path."""
    yield path, message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        inner = [value] if isinstance(value, Message) else value
        for index, item in enumerate(inner):
            yield from _messages(item, f"{path}.{descriptor.name}[{index}]")


def _require_plain(model: ModelProto) -> None:
    """No data elsewhere, no graph but the one, no functions: looked for in every corner that protobuf allows."""
    for path, message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "GraphProto" and path != "model.graph[0]":
            raise BadBundleError(f"{path}: a graph inside the graph; subgraphs are not allowed")
        if kind in {"FunctionProto", "SparseTensorProto", "TrainingInfoProto", "DeviceConfigurationProto"}:
            raise BadBundleError(f"{path}: {kind} is not allowed in an encoder")
        if kind == "TensorProto" and _is_external(message):
            keys = {entry.key: entry.value for entry in message.external_data}
            raise BadBundleError(f"{path}: its data is outside the file ({keys}); external data is not allowed")


def _is_external(tensor: Message) -> bool:
    return bool(tensor.data_location != TensorProto.DEFAULT or tensor.external_data)


def _require_operators(graph: GraphProto, limits: VetLimits) -> None:
    if not 1 <= len(graph.node) <= limits.nodes:
        raise BadBundleError(f"{len(graph.node)} nodes, allowed are 1 to {limits.nodes}")
    for node in graph.node:
        if node.op_type not in OPERATORS.get(node.domain, frozenset()):
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            allowed = ", ".join(sorted(OPERATORS.get(node.domain, OPERATORS[""])))
            raise BadBundleError(f"operator {name} (node {node.name!r}) is not allowed; allowed are {allowed}")


def _require_tensors(model: ModelProto) -> int:
    """Each tensor's claim against its bytes; the sum of the initialisers' bytes."""
    for path, message in _messages(model):
        if isinstance(message, TensorProto):
            _require_tensor(path, message)
    return sum(_claimed_bytes(tensor) for tensor in model.graph.initializer)


def _claimed_bytes(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims)) * ELEMENT_BYTES[tensor.data_type]


def _require_tensor(path: str, tensor: TensorProto) -> None:
    if tensor.data_type not in ELEMENT_BYTES:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type < 100 else tensor.data_type
        raise BadBundleError(f"{path} ({tensor.name!r}): elements of type {kind} are not allowed")
    if len(tensor.dims) > _DIMENSIONS_MAX or any(size < 0 for size in tensor.dims):
        raise BadBundleError(f"{path} ({tensor.name!r}): shape {list(tensor.dims)[:_DIMENSIONS_MAX]} is not allowed")
    typed = max(len(tensor.float_data), len(tensor.int32_data), len(tensor.int64_data))
    held = len(tensor.raw_data) if tensor.HasField("raw_data") else typed * ELEMENT_BYTES[tensor.data_type]
    if held != _claimed_bytes(tensor):
        raise BadBundleError(
            f"{path} ({tensor.name!r}): claims {_claimed_bytes(tensor)} bytes by its shape "
            f"{list(tensor.dims)}, the file holds {held}"
        )


def _shapes(model: ModelProto) -> dict[str, tuple[int, list[int]]]:
    """Element type and fixed shape of every value, worked out by onnx; strict, so a contradiction is refused."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise BadBundleError(f"its shapes contradict one another ({str(error)[:300]})") from error
    graph = inferred.graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.output, *graph.value_info)}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _shape(value: ValueInfoProto) -> tuple[int, list[int]] | None:
    kind: TypeProto = value.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    axes = kind.tensor_type.shape.dim
    if not all(axis.HasField("dim_value") and axis.dim_value >= 0 for axis in axes):
        return None
    return kind.tensor_type.elem_type, [axis.dim_value for axis in axes]


def _require_bounded(graph: GraphProto, shapes: dict[str, tuple[int, list[int]]], limits: VetLimits) -> int:
    """The bytes of all node outputs together, by arithmetic, before anything is allocated."""
    total = 0
    for node in graph.node:
        for name in filter(None, node.output):
            total += _output_bytes(node, name, shapes)
            if total > limits.activation_bytes:
                raise BadBundleError(
                    f"its activations need more than {limits.activation_bytes} bytes; {node.op_type} {node.name!r} "
                    f"alone makes {shapes[name][1]}"
                )
    return total


def _output_bytes(node: NodeProto, name: str, shapes: dict[str, tuple[int, list[int]]]) -> int:
    if name not in shapes:
        raise BadBundleError(f"the shape of {name!r} ({node.op_type} {node.name!r}) is not fixed, as it must be")
    element, shape = shapes[name]
    if element not in ELEMENT_BYTES:
        raise BadBundleError(f"{name!r} ({node.op_type}) has elements of type {element}, which is not allowed")
    return math.prod(shape) * ELEMENT_BYTES[element]


def _require_contract(
    graph: GraphProto, shapes: dict[str, tuple[int, list[int]]]
) -> tuple[list[int], list[int], list[int]]:
    """What `Encoder` will rely on: names, types and ranks of the input and the two outputs."""
    expected = {
        INPUT_NAME: (TensorProto.UINT8, 3),
        VECTOR_NAME: (TensorProto.FLOAT, 1),
        MAP_NAME: (TensorProto.FLOAT, 3),
    }
    found = [value.name for value in graph.input], sorted(value.name for value in graph.output)
    kinds = {name: (shapes[name][0], len(shapes[name][1])) for name in expected if name in shapes}
    picture = shapes.get(INPUT_NAME, (0, [0, 0, 0]))[1]
    good_size = len(picture) == 3 and picture[2] == 3 and all(1 <= side <= _SIDE_PX_MAX for side in picture[:2])
    if found != ([INPUT_NAME], sorted((VECTOR_NAME, MAP_NAME))) or kinds != expected or not good_size:
        raise BadBundleError(
            f"an encoder takes `{INPUT_NAME}` uint8 [h, w, 3] of at most {_SIDE_PX_MAX} px and gives `{VECTOR_NAME}` "
            f"float32 [D] and `{MAP_NAME}` float32 [h', w', C]; this one has "
            f"{ {name: shapes.get(name) for name in (*found[0], *found[1])} }"
        )
    return picture, shapes[VECTOR_NAME][1], shapes[MAP_NAME][1]


def _dry_run(content: bytes, report: VetReport) -> None:
    """One run on a grey picture: what the file says of itself must come true, in finite numbers."""
    encoder = Encoder.from_bytes(content, RuntimeOptions(disable_arena=True))
    features = encoder.encode(np.full((*report.input_px, 3), 127, np.uint8))
    found = features.vector.shape, features.map.shape
    if found != ((report.dimension,), report.map_shape):
        raise BadBundleError(f"it gave {found} when run, its file says {(report.dimension,)} and {report.map_shape}")
    if not (np.isfinite(features.vector).all() and np.isfinite(features.map).all()):
        raise BadBundleError("it gives NaN or infinity for a grey picture")
