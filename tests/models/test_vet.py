"""ONNX files from strangers: each attack is refused with a word on what was found; honest files pass."""

import contextlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.errors import BadBundleError
from edge_agent.models.vet import vet
from edge_agent.models.vetting import VetLimits
from tests.fakes.tiny_model import tiny_onnx


@pytest.fixture
def model():
    return tiny_onnx()


def refusal(model, limits=None):
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(BadBundleError) as caught:
        vet(content, limits)
    return str(caught.value)


def put_in_front(model, node, constants=()):
    """Let `node` make the value `extra`, which the last stage then depends on."""
    model.graph.node.insert(0, node)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in dict(constants).items())


def test_an_honest_encoder_passes_and_is_described(model):
    report = vet(model.SerializeToString())

    assert report.input_px == (32, 32)
    assert report.outputs == {"vector": (24,), "map": (8, 8, 16)}
    assert report.nodes == len(model.graph.node)
    assert report.initialiser_bytes == sum(numpy_helper.to_array(t).nbytes for t in model.graph.initializer)


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "hard-link-of-something", "*", ""])
def test_external_data_is_refused_whatever_it_points_to(model, location):
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)

    assert "external data is not allowed" in refusal(model)


def test_external_data_is_refused_even_where_the_bytes_are_in_the_file_too(model):
    model.graph.initializer[-1].external_data.add(key="location", value="weights.bin")

    assert "external data is not allowed" in refusal(model)


def test_external_data_is_refused_inside_an_attribute(model):
    hidden = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    hidden.data_location = TensorProto.EXTERNAL
    model.graph.node[0].attribute.append(helper.make_attribute("note", hidden))

    assert "external data is not allowed" in refusal(model)


def test_a_sparse_tensor_is_refused(model):
    values = numpy_helper.from_array(np.ones(1, np.float32), "values")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))

    assert "SparseTensorProto is not allowed" in refusal(model)


@pytest.mark.parametrize(
    "operator", ["Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "RandomNormal", "NonZero"]
)
def test_an_operator_that_is_not_listed_is_refused_by_name(model, operator):
    put_in_front(model, helper.make_node(operator, ["x"], ["extra"], name="evil"))

    message = refusal(model)

    assert f"operator {operator} (node 'evil') is not allowed; allowed are Abs, " in message


def test_a_foreign_domain_is_refused(model):
    model.opset_import.append(helper.make_opsetid("com.evil", 1))

    assert "operators of domain 'com.evil', allowed are ['', 'com.microsoft']" in refusal(model)


def test_an_operator_of_a_domain_that_was_not_declared_is_refused(model):
    model.graph.node[0].domain = "com.evil"

    assert "operator com.evil.Unsqueeze" in refusal(model)


def test_a_local_function_is_refused(model):
    function = helper.make_function(
        "com.microsoft", "Add", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    model.functions.append(function)

    assert "FunctionProto is not allowed" in refusal(model)


def test_a_graph_inside_the_graph_is_refused_in_any_attribute(model):
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "inner", [], [])
    model.graph.node[3].attribute.append(helper.make_attribute("body", inner))

    assert "subgraphs are not allowed" in refusal(model)


def test_text_tensors_are_refused(model):
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"x"]))

    assert "elements of type STRING are not allowed" in refusal(model)


def test_a_tensor_that_claims_more_than_its_bytes_is_refused(model):
    model.graph.initializer[-1].dims[0] = 2**40

    message = refusal(model)

    assert "claims" in message
    assert "the file holds" in message


def test_a_negative_dimension_is_refused(model):
    model.graph.initializer[-1].dims[0] = -1

    assert "is not allowed" in refusal(model)


def test_64_gib_of_activations_are_refused_by_arithmetic_and_not_by_allocating_them(model):
    size = 2**17
    put_in_front(
        model,
        helper.make_node("MatMul", ["column", "line"], ["extra"], name="bomb"),
        {"column": np.zeros((size, 1), np.float32), "line": np.zeros((1, size), np.float32)},
    )

    assert "its activations need more than" in refusal(model)


def test_the_64_gib_constant_of_shape_is_refused(model):
    put_in_front(
        model,
        helper.make_node("ConstantOfShape", ["shape"], ["extra"]),
        {"shape": np.array([2**17, 2**17], np.int64)},
    )

    assert "operator ConstantOfShape" in refusal(model)


def test_a_shape_that_is_not_fixed_is_refused(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "height"

    message = refusal(model)

    assert "is not fixed" in message or "contradict" in message


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("picture", TensorProto.UINT8, [32, 32, 1]),
        ("picture", TensorProto.UINT8, [1, 32, 32, 3]),
        ("picture", TensorProto.FLOAT, [32, 32, 3]),
        ("photo", TensorProto.UINT8, [32, 32, 3]),
    ],
)
def test_another_input_than_a_picture_is_refused(model, name, kind, shape):
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info(name, kind, shape))
    model.graph.node[0].input[0] = name

    message = refusal(model)

    assert "contradict" in message or "a model takes `picture` uint8 [h, w, 3]" in message


def test_a_second_input_is_refused(model):
    model.graph.input.append(helper.make_tensor_value_info("secret", TensorProto.FLOAT, [1]))

    assert "a model takes" in refusal(model)


def test_a_missing_map_is_refused(model):
    del model.graph.output[1]

    assert "a model takes" in refusal(model)


@pytest.mark.parametrize("version", [1, 3, 99])
def test_another_ir_version_is_refused(model, version):
    model.ir_version = version

    assert f"IR version {version}, allowed are 7 to 11" in refusal(model)


@pytest.mark.parametrize("version", [1, 12, 99])
def test_another_opset_is_refused(model, version):
    model.opset_import[0].version = version

    assert f"opset {version} of domain '', allowed are 13 to 23" in refusal(model)


def test_weights_that_are_not_finite_are_found_by_the_dry_run(model):
    tensor = model.graph.initializer[-1]
    weights = numpy_helper.to_array(tensor).copy()
    weights[:] = np.inf
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))

    assert "NaN or infinity" in refusal(model)


def test_every_truncated_file_is_refused(model):
    content = model.SerializeToString()
    for length in (1, len(content) // 3, len(content) - 1):
        assert refusal(content[:length]).startswith("model: ")


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not onnx at all", b"\xff" * 4096])
def test_bytes_that_are_no_onnx_are_refused(content):
    assert refusal(content).startswith("model: ")


def test_a_file_that_is_too_long_is_refused_before_a_child_is_started(model):
    content = model.SerializeToString()

    assert f"file of {len(content)} bytes, expected 1 to 100" in refusal(content, VetLimits(file_bytes=100, wall_s=0))


def test_too_many_nodes_are_refused(model):
    assert "15 nodes, allowed are 1 to 3" in refusal(model, VetLimits(nodes=3))


def test_a_child_that_runs_out_of_memory_is_a_refusal(model):
    message = refusal(model, VetLimits(address_space_bytes=96 * 1024 * 1024))

    assert "96 MiB" in message


def test_a_child_that_takes_too_long_is_a_refusal(model):
    assert "took longer than 0 s" in refusal(model, VetLimits(wall_s=0))


def test_the_child_sees_nothing_of_the_parents_environment(model, monkeypatch):
    # A library that LD_PRELOAD or ORT's own variables would name must not reach the child.
    monkeypatch.setenv("LD_PRELOAD", "/nowhere/evil.so")

    assert vet(model.SerializeToString()).outputs["vector"] == (24,)


def test_the_process_that_asks_never_imports_onnx(model, tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes(model.SerializeToString())
    script = (
        "import pathlib, sys; from edge_agent.models.vet import vet; import edge_agent.models.store;"
        "vet(pathlib.Path(sys.argv[1]).read_bytes());"
        "assert not {'onnx', 'torch', 'google.protobuf'} & set(sys.modules)"
    )

    child = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)

    assert child.returncode == 0, child.stderr


def test_an_altered_byte_never_brings_the_parent_down(model, rng):
    content = bytearray(model.SerializeToString())
    for position in rng.integers(0, len(content), 5):
        altered = bytearray(content)
        altered[position] ^= 0xFF
        with contextlib.suppress(BadBundleError):
            vet(bytes(altered))


def test_onnx_of_the_pinned_range_is_installed():
    # 1.21 fixed CVE-2026-27489, 34445 and 34446.
    assert tuple(int(part) for part in onnx.__version__.split(".")[:2]) >= (1, 21)


def detector(most=5, *, constant=True):
    """Boxes of a fixed picture through ONNX's own suppression: [M, 6] rows, M as many as stay."""
    rng = np.random.default_rng(3)
    corners = np.sort(rng.uniform(0, 1, (1, 40, 2, 2)), axis=2).reshape(1, 40, 4).astype(np.float32)
    constants = {
        "boxes": corners,
        "table": rng.uniform(0, 1, (1, 2, 40)).astype(np.float32),
        "most": np.array([most], np.int64),
        "iou": np.array([0.5], np.float32),
        "least": np.array([0.1], np.float32),
        "first": np.array([0], np.int64),
        "box": np.array([2], np.int64),
        "six": np.array([0, 0, 0, 0, 0, 0], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["float"], ["peak"], keepdims=0),
        helper.make_node("Mul", ["table", "peak"], ["scores"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["chosen"], name="nms"),
        helper.make_node("Cast", ["chosen"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["rows", "six"], ["detections"], axis=1),
    ]
    if not constant:
        nodes[3].input[2] = "counted"
        nodes.insert(3, helper.make_node("Cast", ["peak"], ["whole"], to=TensorProto.INT64))
        nodes.insert(4, helper.make_node("Unsqueeze", ["whole", "first"], ["counted"]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, [32, 32, 3])],
        [helper.make_tensor_value_info("detections", TensorProto.FLOAT, ["found", 6])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def plain(shape, *nodes, output="scores", **constants):
    """A model whose inside is given; what it makes last is its `output`, float32 of `shape`."""
    graph = helper.make_graph(
        list(nodes),
        "plain",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, [32, 32, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


CAST = helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT)


def test_a_detector_that_suppresses_inside_passes_and_its_rows_vary():
    report = vet(detector().SerializeToString())

    assert report.outputs == {"detections": (None, 6)}


@pytest.mark.parametrize(("most", "rows"), [(0, 0), (5, 10), (40, 80), (2**62, 80)])
def test_what_suppression_makes_is_bounded_by_its_attributes_and_by_what_there_is(most, rows):
    report = vet(detector(most).SerializeToString())
    none = vet(detector(0).SerializeToString())

    # Each row costs three int64, three float32 and six float32 on its way.
    assert report.activation_bytes - none.activation_bytes == rows * (3 * 8 + 3 * 4 + 6 * 4)


def test_suppression_whose_limit_depends_on_the_picture_is_refused():
    message = refusal(detector(constant=False))

    assert "NonMaxSuppression 'nms'" in message
    assert "max_output_boxes_per_class) is no constant" in message


def test_arithmetic_with_the_number_of_finds_is_refused_for_it_grows_where_they_are_few():
    # Padding by (10 - finds) * 2**30: nothing at the bound of 10, and the picture decides how much below it.
    model = detector(5)
    model.graph.node.pop()
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["rows"], ["found"], name="count"),
            helper.make_node("Sub", ["bound", "found"], ["left"]),
            helper.make_node("Mul", ["left", "huge"], ["more"]),
            helper.make_node("Concat", ["zeros", "more"], ["pads"], axis=0),
            helper.make_node("Pad", ["rows", "pads"], ["wide"]),
            helper.make_node("Gather", ["wide", "six"], ["detections"], axis=1),
        ]
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(array, np.int64), name)
        for name, array in {"bound": [10, 3], "huge": [2**30, 0], "zeros": [0, 0]}.items()
    )

    assert "Shape 'count' asks how many finds there are" in refusal(model)


def test_suppression_over_a_huge_table_is_refused_by_arithmetic():
    model = detector(2**62)
    huge = helper.make_node("MatMul", ["column", "line"], ["wide"])
    model.graph.node.insert(0, huge)
    model.graph.node.insert(1, helper.make_node("Unsqueeze", ["wide", "first"], ["table_now"]))
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in {"column": np.zeros((2**20, 1), np.float32), "line": np.zeros((1, 40), np.float32)}.items()
    )
    model.graph.node[4].input[0] = "table_now"

    assert "its activations need more than" in refusal(model)


def test_what_a_file_claims_of_the_shapes_inside_it_counts_for_nothing():
    # Padding by amounts that the picture decides: nobody knows how large `wide` becomes. The file says: one number.
    model = plain(
        [1],
        CAST,
        helper.make_node("ReduceMax", ["float"], ["peak"], keepdims=0),
        helper.make_node("Cast", ["peak"], ["amount"], to=TensorProto.INT64),
        helper.make_node("Mul", ["amount", "ones"], ["pads"]),
        helper.make_node("Pad", ["one", "pads"], ["wide"], name="bomb"),
        helper.make_node("ReduceMax", ["wide"], ["top"], keepdims=0),
        helper.make_node("Reshape", ["top", "line"], ["scores"]),
        ones=np.array([1, 1], np.int64),
        one=np.array([1.0], np.float32),
        line=np.array([1], np.int64),
    )
    model.graph.value_info.append(helper.make_tensor_value_info("wide", TensorProto.FLOAT, [1]))

    assert "the shape of 'wide' (Pad 'bomb') is not fixed" in refusal(model)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (
            helper.make_node("Resize", ["nchw", "", "scales"], ["big"], mode="nearest", name="bomb"),
            {"scales": np.array([1, 1, 2000, 2000], np.float32)},
        ),
        (
            helper.make_node("ConvTranspose", ["nchw", "kernel"], ["big"], strides=[4000, 4000], name="bomb"),
            {"kernel": np.ones((3, 1, 1, 1), np.float32)},
        ),
        (
            helper.make_node("Gather", ["nchw", "many"], ["big"], axis=2, name="bomb"),
            {"many": np.zeros(3_000_000, np.int64)},
        ),
    ],
    ids=lambda value: value.op_type if hasattr(value, "op_type") else "",
)
def test_an_operator_that_grows_is_refused_by_arithmetic_and_not_by_allocating(node, constants):
    model = plain(
        [1],
        CAST,
        helper.make_node("Transpose", ["float"], ["chw"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["chw", "zero"], ["nchw"]),
        node,
        helper.make_node("ReduceMax", ["big"], ["top"], keepdims=0),
        helper.make_node("Reshape", ["top", "line"], ["scores"]),
        zero=np.array([0], np.int64),
        line=np.array([1], np.int64),
        **constants,
    )

    message = refusal(model)

    assert "its activations need more than" in message
    assert "'bomb'" in message


@pytest.mark.parametrize(
    ("output", "shape"), [("scores", [2, 2]), ("anything", [4]), ("map", [2, 2]), ("detections", [4])]
)
def test_outputs_of_no_kind_are_refused_with_what_there_could_be(output, shape):
    model = plain(
        shape,
        CAST,
        helper.make_node("Slice", ["float", "start", "end"], ["few"]),
        helper.make_node("Reshape", ["few", "wanted"], [output]),
        output=output,
        start=np.array([0, 0, 0], np.int64),
        end=np.array([2, 2, 1], np.int64),
        wanted=np.array(shape, np.int64),
    )

    assert "gives float32 `vector` of rank 1, `map` of rank 3; `scores` of rank 1;" in refusal(model)


def test_an_output_of_whole_numbers_is_refused():
    model = plain([32, 32, 3], helper.make_node("Identity", ["picture"], ["scores"]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8

    assert "gives float32" in refusal(model)
