"""The rules for ONNX files. Runs only in the child of `edge_agent.models.vet`: it parses what it does not trust.

A vision model needs little of what ONNX can say. So what is allowed is listed, and everything else is refused: data in
other files, subgraphs, functions, operators and domains not named here, shapes that neither are fixed nor have a bound,
and tensors whose claimed size is not the size of their bytes. What a file claims of the shapes inside it counts for
nothing: they are worked out from its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # it ships no types
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from edge_agent.errors import BadBundleError
from edge_agent.models.encoder import INPUT_NAME, MAP_NAME, VECTOR_NAME, RuntimeOptions, Session
from edge_agent.models.vetting import VetLimits, VetReport

IR_VERSIONS = range(7, 12)  # onnx 1.7 to 1.18; 3 allowed names of initialisers as inputs
OPSETS = {"": range(13, 24), "com.microsoft": range(1, 2)}

# What encoders, classifiers, anomaly models and detectors are made of, float and quantised. The size of what each makes
# is known by shape arithmetic. Expand, Tile, ConstantOfShape, Range, NonZero, Loop, If, Scan and all that reads files
# or text are not here: packing folds what exporters leave of the first four (models/build/wrap.py).
OPERATORS = {
    "": frozenset(
        {
            # layers
            "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
            "InstanceNormalization", "LayerNormalization", "LRN", "MatMul", "MaxPool", "Resize", "SpaceToDepth",
            "DepthToSpace",
            # activations
            "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "LogSoftmax", "Mish", "PRelu",
            "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Tanh",
            # arithmetic
            "Abs", "Add", "Ceil", "Div", "Exp", "Floor", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Pow", "Reciprocal",
            "Round", "Sign", "Sqrt", "Sub",
            # comparison
            "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Where",
            # sums and ranks
            "ArgMax", "ArgMin", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "TopK",
            # shape and place
            "Cast", "Concat", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape",
            "ScatterElements", "ScatterND", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
            # quantised
            "DequantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
            # as many rows as the picture has things in it, and never more than its attributes allow
            "NonMaxSuppression",
        }
    ),
    "com.microsoft": frozenset({"QLinearAdd", "QLinearConcat", "QLinearGlobalAveragePool"}),
}  # fmt: skip

# What a model may give, by name and rank, all of it float32.
CONTRACTS: tuple[dict[str, int], ...] = (
    {VECTOR_NAME: 1, MAP_NAME: 3},  # encoder
    {"scores": 1},  # classifier
    {"score": 1, "map": 2},  # anomaly model
    {"boxes": 2, "scores": 2},  # detector: candidates
    {"detections": 2},  # detector: rows
)

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
    shapes, varying = _shapes(model)
    activation_bytes = _require_bounded(model.graph, shapes, limits)
    height, width = _require_contract(model.graph, shapes)
    report = VetReport(
        nodes=len(model.graph.node),
        initialiser_bytes=initialiser_bytes,
        activation_bytes=activation_bytes,
        input_px=(height, width),
        outputs={
            output.name: (None, *shapes[output.name][1][1:])
            if output.name in varying
            else tuple(shapes[output.name][1])
            for output in model.graph.output
        },
    )
    _dry_run(content, report, shapes)
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
            raise BadBundleError(f"{path}: {kind} is not allowed in a model")
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


Shapes = dict[str, tuple[int, list[int]]]


def _shapes(model: ModelProto) -> tuple[Shapes, frozenset[str]]:
    """Element type and shape of every value, and which outputs vary in length from picture to picture.

    Where a shape depends on the picture it is given with its bound: NonMaxSuppression is cut out, and what it makes
    stands as an input of the most rows that it can have. Later operators then make of it no more than is worked out.
    """
    bare = ModelProto()
    bare.CopyFrom(model)
    # What the file says of its inside is a claim; an inference that lacks a shape would take it for one.
    bare.graph.ClearField("value_info")
    for output in bare.graph.output:
        output.type.tensor_type.ClearField("shape")
    shapes = _inferred(bare)
    fixed = shapes.keys()
    for node in model.graph.node:
        # Arithmetic with the true number could give more than arithmetic with the bound: (bound - n) * a lot.
        if node.op_type == "Shape" and node.input[0] not in fixed:
            raise BadBundleError(
                f"Shape {node.name!r} asks how many finds there are, which changes with the picture; export the "
                "detector without padding of its rows, or without suppression"
            )
    while (node := next((node for node in bare.graph.node if node.op_type == "NonMaxSuppression"), None)) is not None:
        rows = _rows_at_most(node, shapes, bare.graph)
        bare.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], TensorProto.INT64, [rows, 3]))
        bare.graph.node.remove(node)
        shapes = _inferred(bare)
    return shapes, frozenset(output.name for output in model.graph.output if output.name not in fixed)


def _rows_at_most(node: NodeProto, shapes: Shapes, graph: GraphProto) -> int:
    """Batch x classes x the smaller of the boxes there are and the boxes a class may keep, a constant of the file."""
    if len(node.input) < 2 or any(name not in shapes or len(shapes[name][1]) != 3 for name in node.input[:2]):
        raise BadBundleError(f"the shapes that NonMaxSuppression {node.name!r} reads are not fixed, as they must be")
    name = node.input[2] if len(node.input) > 2 else ""
    most = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    if most is None or math.prod(most.dims) != 1 or most.data_type != TensorProto.INT64:
        raise BadBundleError(
            f"NonMaxSuppression {node.name!r}: how many boxes a class keeps (max_output_boxes_per_class) is no constant"
        )
    kept = int(onnx.numpy_helper.to_array(most).reshape(-1)[0])
    batch, classes, boxes = shapes[node.input[1]][1]
    return batch * classes * max(0, min(boxes, kept))


def _inferred(model: ModelProto) -> Shapes:
    """The shapes worked out by onnx; strict, so a contradiction is refused."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise BadBundleError(f"its shapes contradict one another ({str(error)[:300]})") from error
    graph = inferred.graph
    constants = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in graph.initializer}
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.output, *graph.value_info)}
    return constants | {name: shape for name, shape in shapes.items() if shape is not None}


def _shape(value: ValueInfoProto) -> tuple[int, list[int]] | None:
    kind: TypeProto = value.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    axes = kind.tensor_type.shape.dim
    if not all(axis.HasField("dim_value") and axis.dim_value >= 0 for axis in axes):
        return None
    return kind.tensor_type.elem_type, [axis.dim_value for axis in axes]


def _require_bounded(graph: GraphProto, shapes: Shapes, limits: VetLimits) -> int:
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


def _output_bytes(node: NodeProto, name: str, shapes: Shapes) -> int:
    if name not in shapes:
        raise BadBundleError(f"the shape of {name!r} ({node.op_type} {node.name!r}) is not fixed, as it must be")
    element, shape = shapes[name]
    if element not in ELEMENT_BYTES:
        raise BadBundleError(f"{name!r} ({node.op_type}) has elements of type {element}, which is not allowed")
    return math.prod(shape) * ELEMENT_BYTES[element]


def _require_contract(graph: GraphProto, shapes: Shapes) -> tuple[int, int]:
    """What a session will rely on: name, type and size of the input, names, types and ranks of the outputs."""
    inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
    picture = shapes.get(INPUT_NAME, (0, [0, 0, 0]))
    good_input = (
        inputs == [INPUT_NAME]
        and picture[0] == TensorProto.UINT8
        and len(picture[1]) == 3
        and picture[1][2] == 3
        and all(1 <= side <= _SIDE_PX_MAX for side in picture[1][:2])
    )
    known = {name: shapes[name] for name in outputs if name in shapes}
    ranks = {name: len(shape) for name, (element, shape) in known.items() if element == TensorProto.FLOAT}
    if not good_input or ranks not in CONTRACTS or len(outputs) != len(ranks):
        contracts = "; ".join(
            ", ".join(f"`{name}` of rank {rank}" for name, rank in contract.items()) for contract in CONTRACTS
        )
        raise BadBundleError(
            f"a model takes `{INPUT_NAME}` uint8 [h, w, 3] of at most {_SIDE_PX_MAX} px and gives float32 {contracts}; "
            f"this one has { {name: shapes.get(name) for name in (*inputs, *outputs)} }"
        )
    return picture[1][0], picture[1][1]


def _dry_run(content: bytes, report: VetReport, shapes: Shapes) -> None:
    """One run on a grey picture: what the file says of itself must come true, in finite numbers."""
    session = Session.from_bytes(content, RuntimeOptions(disable_arena=True))
    for name, found in session.run(np.full((*report.input_px, 3), 127, np.uint8)).items():
        most = shapes[name][1]
        varies = report.outputs[name][0] is None
        if list(found.shape[1:]) != most[1:] or not (
            found.shape[0] == most[0] or (varies and found.shape[0] <= most[0])
        ):
            raise BadBundleError(f"it gave {name} {list(found.shape)} when run, its file says {most}")
        if not np.isfinite(found).all():
            raise BadBundleError(f"it gives NaN or infinity in {name} for a grey picture")
