"""Packing a user's own network: whatever form it came in, the gateway is handed one; what does not fit is said."""

import dataclasses

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from edge_agent.capture.picture import encode_png, prepare, prepare_for
from edge_agent.config.faults import InvalidConfigError
from edge_agent.errors import BadBundleError, BadPictureError
from edge_agent.models import network_golden
from edge_agent.models.build import examples
from edge_agent.models.build.declaration import load
from edge_agent.models.build.pack import manifest_of, pack
from edge_agent.models.build.wrap import wrap
from edge_agent.models.bundle import describe
from edge_agent.models.encoder import RuntimeOptions, Session
from edge_agent.models.network import LoadedNetwork, Network
from edge_agent.models.store import ModelStore
from tests.fakes.networks import declared, line_detector, packed
from tests.fakes.tiny_model import tiny_pictures

UTC_S = 1_767_323_045.0


def run(content, picture):
    return Session.from_bytes(content, RuntimeOptions()).run(picture)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every example, as `models example` writes it."""
    folder = tmp_path_factory.mktemp("examples")
    for kind in examples.KINDS:
        examples.write(kind, folder / kind)
    return folder


@pytest.mark.parametrize("kind", examples.KINDS)
def test_every_example_packs_activates_and_tells_pits_from_good_parts(written, tmp_path, kind):
    store = ModelStore(tmp_path / "models")
    pack(load(written / kind / "model.yaml"), tmp_path / "bundle", UTC_S)

    model = store.activate(f"example-{kind}", store.stage(tmp_path / "bundle"), RuntimeOptions(), "u8s8")

    scores = {"ok": [], "pit": []}
    for label, image in examples.parts(20):
        if label in scores:
            picture = prepare_for(image, model.canvas)
            scores[label].append(model.assess(model.network.run(picture)).score)
    assert max(scores["ok"]) < model.manifest.hold_below <= model.manifest.threshold < min(scores["pit"])
    assert model.flavour == "fp32"  # the device wants u8s8, the bundle has float


def test_the_same_detector_in_three_forms_finds_the_same_things(written):
    picture = network_picture()
    found = {}
    for kind in ("detector", "detector-yolov5", "detector-rows"):
        declaration = load(written / kind / "model.yaml")
        model = loaded(declaration)
        found[kind] = model.assess(model.network.run(picture)).detections

    assert found["detector"]
    for other in ("detector-yolov5", "detector-rows"):
        assert [each.label for each in found[other]] == [each.label for each in found["detector"]]
        for one, two in zip(found[other], found["detector"], strict=True):
            assert one.score == pytest.approx(two.score, abs=1e-5)
            assert dataclasses.astuple(one.where) == pytest.approx(dataclasses.astuple(two.where), abs=1e-5)


def network_picture():
    return prepare(next(image for label, image in examples.parts(8) if label == "pit"), (256, 256))


def loaded(declaration):
    """The network of a declaration, ready to judge, without a store."""
    wrapped = wrap(declaration.networks["fp32"], declaration)
    files = {"network-fp32.onnx": describe(wrapped.content, "network-fp32.onnx")}
    manifest = manifest_of(declaration, wrapped.input_px, files, describe(b"x", "golden.safetensors"), UTC_S)
    network = Network.from_bytes(wrapped.content, manifest, RuntimeOptions())
    return LoadedNetwork(digest="", flavour="fp32", manifest=manifest, network=network)


def test_the_same_declaration_gives_the_same_bytes(tmp_path):
    one, two = (packed(tmp_path / name, line_detector()) for name in ("one", "two"))

    for name in sorted(path.name for path in one.iterdir()):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def sees(layout="nchw", channels=3, *, size=(32, 32), kind=TensorProto.FLOAT, batch=1):
    """A network whose map is what it was given, so that what was built in front of it shows."""
    shape = [batch, channels, *size] if layout == "nchw" else [batch, *size, channels]
    nodes, value = [], "images"
    if kind != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [value], ["float"], to=TensorProto.FLOAT))
        value = "float"
    axis = 1 if layout == "nchw" else 3
    # Channels told apart: the first counts most.
    weights = np.array([1.0, 0.01, 0.0001][:channels], np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
    nodes += [
        helper.make_node("Mul", [value, "weights"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "axis"], ["plane"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "sees",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("plane", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([axis], np.int64), "axis")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


ANOMALY = {"kind": "anomaly", "classes": [], "detector": None, "anomaly": {"score_good": 0.0, "score_bad": 1.0}}


def plane(tmp_path, model, picture, **keys):
    """What the network was given, seen through its map."""
    file = declared(tmp_path, model, **{**ANOMALY, "input": keys})
    return run(wrap(tmp_path / "network.onnx", load(file)).content, picture)["map"]


WEIGHTS = np.array([1.0, 0.01, 0.0001])


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
def test_colour_order_layout_and_scale_are_built_in_as_training_had_them(tmp_path, rng, layout, colour):
    picture = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 0.125]

    found = plane(
        tmp_path,
        sees(layout, 1 if colour == "grey" else 3),
        picture,
        layout=layout,
        colour=colour,
        mean=mean,
        std=std,
    )

    if colour == "grey":
        expected = (picture @ np.array([0.114, 0.587, 0.299]) / 255 - mean[0]) / std[0]
    else:
        ordered = picture[..., ::-1] if colour == "rgb" else picture
        expected = ((ordered / 255 - mean) / std) @ WEIGHTS
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_takes_bytes_is_given_bytes(tmp_path, rng):
    picture = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)

    found = plane(tmp_path, sees(kind=TensorProto.UINT8), picture, colour="bgr")

    np.testing.assert_allclose(found, picture @ WEIGHTS, rtol=1e-5)


def test_axes_that_the_file_leaves_open_are_fixed(tmp_path, rng):
    picture = rng.integers(0, 255, (48, 32, 3), dtype=np.uint8)

    found = plane(tmp_path, sees(size=("h", "w"), batch="n"), picture, size_px=[48, 32], scale=1)

    assert found.shape == (48, 32)


def test_without_a_score_the_highest_place_of_the_map_is_the_score(tmp_path, rng):
    picture = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    file = declared(tmp_path, sees(), **ANOMALY)

    answer = run(wrap(tmp_path / "network.onnx", load(file)).content, picture)

    assert answer["score"] == answer["map"].max()


@pytest.mark.parametrize("opset", [11, 12, 13, 17])
def test_opsets_since_yolov5_are_taken(tmp_path, opset):
    bundle = packed(tmp_path, line_detector(opset=opset))

    model = onnx.load(bundle / "network-fp32.onnx")
    assert [entry.domain for entry in model.opset_import] == [""]
    assert model.opset_import[0].version >= 13


def test_data_beside_the_file_is_taken_into_the_bundle(tmp_path):
    file = declared(tmp_path, line_detector())
    model = onnx.load(tmp_path / "network.onnx")
    onnx.save(model, tmp_path / "network.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    assert (tmp_path / "weights.bin").exists()

    pack(load(file), tmp_path / "bundle", UTC_S)
    assert ModelStore(tmp_path / "models").stage(tmp_path / "bundle")

    (tmp_path / "weights.bin").unlink()
    with pytest.raises(BadBundleError, match=r"network\.onnx: .*its data is missing|cannot be read"):
        pack(load(file), tmp_path / "bundle", UTC_S)


def test_what_exporters_leave_of_shape_arithmetic_is_folded_away(tmp_path):
    model = line_detector()
    # boxes come out of Constant, Shape, ConstantOfShape and Expand, as an export that was not simplified has them
    flat = numpy_helper.from_array(np.array([8], np.int64), "count")
    extra = [
        helper.make_node("Shape", ["scores"], ["shape"]),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["ones"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
        ),
        helper.make_node("Expand", ["one", "shape"], ["wide"]),
        helper.make_node("Mul", ["ones", "wide"], ["gain_all"]),
        helper.make_node("Mul", ["scores", "gain_all"], ["told"]),
    ]
    concat = model.graph.node.pop()
    concat.input[1] = "told"
    model.graph.node.extend([*extra, concat])
    model.graph.initializer.extend([flat, numpy_helper.from_array(np.array([1.0], np.float32), "one")])

    bundle = packed(tmp_path, model)

    operators = {node.op_type for node in onnx.load(bundle / "network-fp32.onnx").graph.node}
    assert not operators & {"Shape", "ConstantOfShape", "Expand", "Constant"}
    assert ModelStore(tmp_path / "models").stage(bundle)


def half(model):
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return model


def with_two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    return model


REFUSED = {
    "float16": (half(line_detector()), {}, "computes in float16; export it in float32"),
    "two inputs": (with_two_inputs(line_detector()), {}, r"takes \['images', 'second'\], expected one input"),
    "a class too many": (
        line_detector(),
        {"classes": ["line", "dent"]},
        r"gives output0 \[1, 5, 8\], a yolov8 detector of 2 classes gives \[1, N, 6\] or \[1, 6, N\]",
    ),
    "another form": (
        line_detector(),
        {"detector": {"form": "yolov5"}},
        r"gives output0 \[1, 5, 8\], a yolov5 detector of 1 classes gives \[1, N, 6\]",
    ),
    "rows of other columns": (line_detector(), {"detector": {"form": "rows"}}, r"declared columns make \[1, N, 6\]"),
    "an output that is not there": (
        line_detector(),
        {"detector": {"form": "yolov8", "output": "boxes"}},
        r"has the outputs output0 \[1, 5, 8\]; name one of them in detector.output, not 'boxes'",
    ),
    "another layout": (line_detector(), {"input": {"layout": "nhwc"}}, r"takes \[1, 3, 32, 32\], but nhwc"),
    "another size": (line_detector(), {"input": {"size_px": [64, 64]}}, r"takes \[1, 3, 32, 32\], but nchw"),
    "a batch of two": (sees(batch=2), ANOMALY, r"takes \[2, 3, 32, 32\].* export it with batch 1"),
    "no size anywhere": (sees(size=("h", "w")), ANOMALY, r"no fixed size; say which with input.size_px"),
    "a map that is none": (
        line_detector(),
        {**ANOMALY, "anomaly": {"map": "nowhere", "score_good": 0, "score_bad": 1}},
        "anomaly.map, not 'nowhere'",
    ),
    "logits taken for probabilities": (
        examples.classifier(),
        {"kind": "classifier", "classes": ["ok", "mark"], "detector": None, "classifier": {"gives": "probabilities"}},
        "no probabilities although",
    ),
    "classes of a classifier": (
        examples.classifier(),
        {"kind": "classifier", "classes": ["ok", "mark", "dent"], "detector": None},
        r"gives logits \[1, 2\], the declaration has 3 classes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_is_not_what_is_declared_is_refused_with_both(tmp_path, case):
    model, keys, words = REFUSED[case]
    file = declared(tmp_path, model, **{name: value for name, value in keys.items() if value is not None})
    value = yaml.safe_load(file.read_text())
    for name in [name for name, given in keys.items() if given is None]:
        value.pop(name)
    file.write_text(yaml.safe_dump(value))

    with pytest.raises(BadBundleError, match=words):
        pack(load(file), tmp_path / "bundle", UTC_S)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x00" * 100])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    file = declared(tmp_path, line_detector())
    (tmp_path / "network.onnx").write_bytes(content)

    with pytest.raises(BadBundleError, match=r"network\.onnx"):
        pack(load(file), tmp_path / "bundle", UTC_S)


def test_a_newer_opset_than_is_known_is_refused(tmp_path):
    model = line_detector()
    model.opset_import[0].version = 99
    file = declared(tmp_path, model)

    with pytest.raises(BadBundleError, match="opset 99, at most 23 is known"):
        pack(load(file), tmp_path / "bundle", UTC_S)


def test_golden_pictures_of_ones_own_are_taken_and_their_number_is_bounded(tmp_path):
    folder = tmp_path / "golden"
    folder.mkdir()
    for number, picture in enumerate(tiny_pictures(17, (40, 50))):
        (folder / f"{number:02}.png").write_bytes(encode_png(picture))
    file = declared(tmp_path, line_detector(), golden="golden")

    with pytest.raises(BadPictureError, match="17 pictures, expected 1 to 16"):
        pack(load(file), tmp_path / "bundle", UTC_S)
    (folder / "16.png").unlink()
    built = pack(load(file), tmp_path / "bundle", UTC_S)

    assert len(built.golden) == 16
    assert {label for label, _ in built.golden} == {"ok", "line"}


def test_a_flavour_that_was_quantised_outside_is_packed_beside_the_float_one_and_chosen_by_the_device(tmp_path):
    file = declared(tmp_path, line_detector(), networks={"fp32": "network.onnx", "u8s8": "network.onnx"})
    pack(load(file), tmp_path / "bundle", UTC_S)
    store = ModelStore(tmp_path / "models")

    digest = store.stage(tmp_path / "bundle")

    assert store.load(digest, RuntimeOptions(), "u8s8").flavour == "u8s8"
    assert store.load(digest, RuntimeOptions(), "symmetric").flavour == "fp32"


FAULTS = [
    ("kind: detektor", "kind", "detector"),
    ("threshold: 1.5", "threshold", "from 0"),
    ("hold_below: 0.7", "hold_below", "at most threshold"),
    ("good: [bolt]", "good", "among the classes, not bolt"),
    ("classes: [line, line]", "classes", "all different"),
    ("networks: {u8s8: network.onnx}", "networks", "a map with fp32"),
    ("colour: rgb", "colour", "unknown key"),
    ("input: {std: [1, 0, 1]}", "input.std", "above 0"),
    ("input: {size_px: [8, 8]}", "input.size_px", "16 to 1024"),
    ("anomaly: {score_good: 0, score_bad: 1}", "anomaly", "no section anomaly"),
    ("detector: {form: yolov8, required: {line: 2}}", "detector", "required classes that are good, not line"),
    ("detector: {form: rows, columns: [x1, y1, x2, y2, score]}", "detector.columns", "once each"),
    ("detector: {form: yolov9}", "detector.form", "yolov8"),
    ("name: Screws!", "name", "a-z"),
]


@pytest.mark.parametrize(("line", "key", "words"), FAULTS)
def test_a_fault_in_a_declaration_is_said_with_line_key_and_what_fits(tmp_path, line, key, words):
    value = yaml.safe_load(declared(tmp_path, line_detector()).read_text())
    name = line.partition(":")[0]
    value.pop(name, None)
    file = tmp_path / "model.yaml"
    text = yaml.safe_dump(value)
    file.write_text(text + line + "\n")

    with pytest.raises(InvalidConfigError) as caught:
        load(file)

    message = str(caught.value)
    assert f"model.yaml:{len(text.splitlines()) + 1}:" in message
    assert key in message
    assert words in message


def test_a_declaration_that_lacks_the_section_of_its_kind_is_told_so(tmp_path):
    file = tmp_path / "model.yaml"
    file.write_text("name: a\nkind: anomaly\nnetworks: {fp32: a.onnx}\n")

    with pytest.raises(InvalidConfigError, match="a section anomaly, which says how the outputs are read"):
        load(file)


def test_a_declaration_that_is_not_there_says_how_to_get_one(tmp_path):
    with pytest.raises(InvalidConfigError, match="models example detector"):
        load(tmp_path / "nothing.yaml")


class TestGolden:
    """The golden answers stand for the network: a network that answers otherwise does not become active."""

    @pytest.fixture
    def model(self, tmp_path):
        store = ModelStore(tmp_path / "models")
        digest = store.stage(packed(tmp_path, line_detector()))
        model = store.load(digest, RuntimeOptions())
        golden = network_golden.from_bytes((tmp_path / "bundle" / "golden.safetensors").read_bytes(), model.manifest)
        return model, golden

    def test_its_own_answers_are_reproduced(self, model):
        network_golden.reproduce(*model)

    def test_survive_being_written_and_read(self, model):
        _, golden = model

        again = network_golden.from_bytes(network_golden.to_bytes(golden), model[0].manifest)

        np.testing.assert_array_equal(again.found["fp32"], golden.found["fp32"])
        np.testing.assert_array_equal(again.outputs["fp32"]["boxes"], golden.outputs["fp32"]["boxes"])

    @pytest.mark.parametrize(
        ("what", "words"),
        [
            ("outputs", "is off by"),
            ("scores", "the score is off by"),
            ("lost", "found that was not there"),
            ("more", "is no longer found"),
        ],
    )
    def test_other_answers_are_refused_and_the_message_says_what_differs(self, model, what, words):
        network, golden = model
        picture = tiny_pictures(2, (32, 32))[1:]  # one with a line
        golden = network_golden.record(picture, {"fp32": network})
        found = golden.found["fp32"].copy()
        if what == "outputs":
            outputs = {name: array * np.float32(1.01) for name, array in golden.outputs["fp32"].items()}
            golden = dataclasses.replace(golden, outputs={"fp32": outputs})
        elif what == "scores":
            golden = dataclasses.replace(golden, scores={"fp32": golden.scores["fp32"] - np.float32(0.1)})
        elif what == "lost":
            golden = dataclasses.replace(golden, found={"fp32": np.zeros_like(found)})
        else:
            found[0, -1] = (0.1, 0.8, 0.2, 0.9, 0.9, 0)
            golden = dataclasses.replace(golden, found={"fp32": found})

        with pytest.raises(BadBundleError, match=words):
            network_golden.reproduce(network, golden)
