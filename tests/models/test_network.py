"""A network of your own: its manifest holds it, in the file, at the start, and for every single picture."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadBundleError, InferenceError
from edge_agent.models import bundle, manifests, network_manifest
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import with_encoder
from edge_agent.models.network import Network
from edge_agent.models.network_manifest import NetworkManifest
from edge_agent.models.store import ModelStore
from tests.fakes.networks import line_detector, packed
from tests.fakes.tiny_model import tiny_bundle, tiny_head, tiny_pictures


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A bundle with the line detector that nobody changes."""
    return packed(tmp_path_factory.mktemp("good"), line_detector())


@pytest.fixture(scope="module")
def content(good):
    return (good / bundle.MANIFEST_NAME).read_bytes()


@pytest.fixture(scope="module")
def manifest(content):
    return manifests.read(content)


def changed(content, **fields):
    return bundle.canonical(json.loads(content) | fields)


def test_what_was_written_is_what_is_read(content, manifest):
    assert isinstance(manifest, NetworkManifest)
    assert network_manifest.to_bytes(manifest) == content


def test_a_manifest_of_an_encoder_is_read_as_before(tmp_path):
    old = (tiny_bundle(tmp_path) / bundle.MANIFEST_NAME).read_bytes()

    assert manifests.read(old) == bundle.from_bytes(old)


def test_every_prefix_is_refused(content):
    for length in range(len(content)):
        with pytest.raises(BadBundleError):
            manifests.read(content[:length])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema": 3}, "schema is 3, this program knows 1 and 2"),
        ({"kind": "oracle"}, "kind: expected one of classifier, anomaly, detector, found 'oracle'"),
        ({"letterbox": 1}, "letterbox: expected true or false, found 1"),
        ({"input_px": [32, 4096]}, "a whole number from 16 to 1024"),
        ({"classes": ["line", "line"]}, "are not all different"),
        ({"classes": ["x" * 65]}, "65 characters, at most 64"),
        ({"good_classes": ["bolt"]}, "are not all among the classes"),
        ({"hold_below": 0.9}, "is above threshold"),
        ({"networks": {}}, "an object of 1 to 8 entries"),
        ({"tolerances": {"u8s8": {"vector": 0.1, "score": 0.1}}}, "tolerances are for"),
        ({"terms": {"form": "rows", "score_min": 0, "iou_max": 0.5, "required": {}}}, "score_min: expected"),
        (
            {"terms": {"form": "rows", "score_min": 0.1, "iou_max": 0.5, "required": {"line": 1}}},
            "among the good_classes",
        ),
        ({"kind": "anomaly"}, "score_good is missing"),
        (
            {"kind": "anomaly", "terms": {"score_good": 2, "score_bad": 1, "curve": "linear", "map_quiet": 0}},
            "score_bad 1.0 is not above score_good 2.0",
        ),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_place(content, fields, words):
    with pytest.raises(BadBundleError) as caught:
        manifests.read(changed(content, **fields))

    assert words in str(caught.value)


def paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.just([])
    | st.just({})
)


@given(st.data(), odd)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_in_any_field_is_read_or_our_error(content, data, value):
    root = json.loads(content)
    *way, last = data.draw(st.sampled_from([path for path in paths(root) if path]))
    inner = root
    for key in way:
        inner = inner[key]
    inner[last] = value

    try:
        again = manifests.read(bundle.canonical(root))
    except BadBundleError:
        return
    assert again.networks


def restated(good, folder, **fields):
    """The bundle with other statements in its manifest."""
    folder.mkdir()
    for path in good.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / bundle.MANIFEST_NAME).write_bytes(changed((good / bundle.MANIFEST_NAME).read_bytes(), **fields))
    return folder


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"classes": ["line", "dent"]},
            r"gives boxes \[8, 4\], scores \[8, 1\], its manifest says a detector of 2 classes: boxes \[any, 4\], scor",
        ),
        (
            {"terms": {"form": "rows", "score_min": 0.2, "iou_max": 0.5, "required": {}}},
            r"its manifest says a detector of 1 classes: detections \[any, 6\]",
        ),
        ({"kind": "classifier", "terms": {}}, r"its manifest says a classifier of 1 classes: scores \[1\]"),
    ],
)
def test_a_detector_whose_outputs_disagree_with_its_manifest_is_refused_as_it_comes_in(good, tmp_path, fields, words):
    store = ModelStore(tmp_path / "models")
    bundle_dir = restated(good, tmp_path / "wrong", **fields)
    golden = network_manifest_golden(bundle_dir, store)

    with pytest.raises(BadBundleError, match=words):
        golden()
    assert store.list() == ()


def network_manifest_golden(bundle_dir, store):
    """Staging, with golden answers of the shape that the wrong manifest asks for: only the network is at fault."""
    from edge_agent.models import arrays, network_golden
    from edge_agent.models.network import expected_outputs

    manifest = manifests.read((bundle_dir / bundle.MANIFEST_NAME).read_bytes())
    shapes = {name: shape for name, shape in expected_outputs(manifest).items() if name != "detections"}
    outputs = {
        f"fp32/{name}": np.zeros((1, *(size or 8 for size in shape)), np.float32) for name, shape in shapes.items()
    }
    made = arrays.save(
        {
            "pictures": np.zeros((1, 32, 32, 3), np.uint8),
            "fp32/scores/read": np.zeros(1, np.float32),
            "fp32/found/read": np.zeros((1, network_golden.FOUND_MAX, 6), np.float32),
            **outputs,
        }
    )
    (bundle_dir / "golden.safetensors").write_bytes(made)
    described = dataclasses.asdict(bundle.describe(made, "golden.safetensors"))
    content = changed((bundle_dir / bundle.MANIFEST_NAME).read_bytes(), golden=described)
    (bundle_dir / bundle.MANIFEST_NAME).write_bytes(content)
    return lambda: store.stage(bundle_dir)


def test_a_network_that_was_vetted_before_is_still_held_to_another_manifest_when_it_is_loaded(good, tmp_path):
    store = ModelStore(tmp_path / "models")
    store.stage(good)
    wrong = restated(good, tmp_path / "wrong", classes=["line", "dent"], name="other")
    digest = network_manifest_golden(wrong, store)()

    with pytest.raises(BadBundleError, match="declare what the network has"):
        store.activate("other", digest, RuntimeOptions())
    assert store.active("other") is None


class Answers:
    """A session that gives what it is told to."""

    def __init__(self, **answer):
        self.answer = {name: np.asarray(value, np.float32) for name, value in answer.items()}
        self.input_px = (32, 32)
        self.providers_in_use = ("CPUExecutionProvider",)

    def run(self, picture):
        return self.answer


PICTURE = tiny_pictures(1)[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros((3, 5)), r"gave detections \[3, 5\] for this picture, its manifest says detections \[any, 6\]"),
        (np.zeros((2, 3, 6)), r"gave detections \[2, 3, 6\]"),
        (np.zeros((5000, 6)), "gave 5000 detections for one picture, at most 4096"),
        ([[0, 0, 1, 1, 0.9, 1]], r"found class 1, its manifest has 1 classes \(0 to 0\); declare all of them"),
        ([[0, 0, 1, 1, 0.9, -1]], "found class -1"),
    ],
)
def test_an_answer_that_is_not_what_the_manifest_says_is_refused_for_that_picture(manifest, rows, words):
    rows_manifest = dataclasses.replace(manifest, terms=dataclasses.replace(manifest.terms, form="rows"))
    network = Network(Answers(detections=rows), rows_manifest)

    with pytest.raises(InferenceError, match=words):
        network.run(PICTURE)


def test_rows_that_only_fill_up_need_no_class(manifest):
    rows_manifest = dataclasses.replace(manifest, terms=dataclasses.replace(manifest.terms, form="rows"))

    assert len(Network(Answers(detections=[[0, 0, 0, 0, 0.0, -1]]), rows_manifest).run(PICTURE)["detections"]) == 1


def test_a_network_that_fails_on_a_picture_says_so_and_judges_the_next(tmp_path):
    store = ModelStore(tmp_path / "models")
    digest = store.stage(packed(tmp_path, line_detector(fragile=True)))
    model = store.activate("lines", digest, RuntimeOptions())
    plain, bright = tiny_pictures(2)

    with pytest.raises(InferenceError, match="failed while running the model"):
        model.network.run(bright)
    assert model.assess(model.network.run(plain)).label == "ok"


def test_only_an_encoder_takes_another_head(good, tmp_path):
    store = ModelStore(tmp_path / "models")
    digest = store.stage(good)
    encoder = store.load(store.stage(tiny_bundle(tmp_path / "tiny")), RuntimeOptions()).encoder

    with pytest.raises(BadBundleError, match="only an encoder takes another head"):
        store.with_head(digest, tiny_head(encoder), "2")
    with pytest.raises(BadBundleError, match="expected an encoder with a head"):
        with_encoder(store.load(digest, RuntimeOptions()))


def test_both_kinds_of_bundle_live_in_one_store(good, tmp_path):
    store = ModelStore(tmp_path / "models")
    for directory in (good, tiny_bundle(tmp_path / "tiny")):
        digest = store.stage(directory)
        store.activate(store.manifest(digest).name, digest, RuntimeOptions())

    assert [(model.manifest.name, manifests.kind_of(model.manifest)) for model in store.list()] == [
        ("lines", "detector"),
        ("surface", "encoder + head"),
    ]
    assert store.prune(0) == ()
