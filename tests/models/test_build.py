"""Building: the ONNX files compute what the network computes, and a built bundle is one that a gateway takes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import safetensors.numpy

from edge_agent.errors import BadBundleError
from edge_agent.models.encoder import Encoder, RuntimeOptions

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")

from edge_agent.models.build.bundle import Plan, build, synthetic_pictures  # noqa: E402 - needs torch
from edge_agent.models.build.export import export_core, fp32_encoder, pools_of  # noqa: E402
from edge_agent.models.build.network import imagenet_network, outputs_of, same_padding  # noqa: E402
from edge_agent.models.build.quantise import quantise, widen_stem  # noqa: E402
from edge_agent.models.store import ModelStore  # noqa: E402

SIZE = (64, 96)  # not square, so that a confusion of height and width cannot hide


@pytest.fixture(scope="module")
def network():
    return imagenet_network(SIZE)


@pytest.fixture(scope="module")
def core(network):
    return export_core(network)


@pytest.fixture(scope="module")
def pictures():
    return synthetic_pictures(16, 3, SIZE)[0]


@pytest.fixture(scope="module")
def fp32(core):
    return Encoder.from_bytes(fp32_encoder(core).SerializeToString(), RuntimeOptions())


@pytest.fixture(scope="module")
def plan():
    return Plan(input_px=(128, 128), parts=200, calibration=8)


@pytest.fixture(scope="module")
def built(plan, tmp_path_factory):
    directory = tmp_path_factory.mktemp("built")
    return directory, build(directory, plan, created_utc_s=1.79e9)


def off(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def run_core(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def test_the_onnx_file_computes_what_the_network_computes(network, fp32, pictures):
    for picture in pictures[:3]:
        with torch.no_grad():
            vector, heat = network(torch.from_numpy(picture))
        features = fp32.encode(picture)

        assert features.vector.shape == (784,)
        assert features.map.shape == (4, 6, 112)
        np.testing.assert_allclose(features.vector, vector.numpy(), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(features.map, heat.numpy(), rtol=1e-3, atol=1e-3)


def test_the_map_averages_to_its_part_of_the_vector(fp32, pictures):
    features = fp32.encode(pictures[0])

    np.testing.assert_allclose(features.map.mean(axis=(0, 1)), features.vector[160:272], rtol=1e-3, atol=1e-4)


def test_the_means_of_all_blocks_hold_those_of_the_stages_and_the_same_map(fp32, pictures):
    model = fp32_encoder(export_core(imagenet_network(SIZE, "blocks")))
    features = Encoder.from_bytes(model.SerializeToString(), RuntimeOptions()).encode(pictures[0])
    expected = fp32.encode(pictures[0])

    names = [name for name, width in outputs_of("blocks") for _ in range(width)]
    last = {name.split(".")[0]: name for name in names}
    assert features.vector.shape == (1808,)
    assert len(last) == 7
    found = features.vector[np.isin(names, list(last.values()))]
    np.testing.assert_allclose(found, expected.vector, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features.map, expected.map, rtol=1e-3, atol=1e-3)
    mean = features.vector[np.array(names) == last["stage5"]]
    np.testing.assert_allclose(features.map.mean(axis=(0, 1)), mean, rtol=1e-3, atol=1e-4)


def test_an_encoder_says_of_what_its_features_are(core):
    blocks = fp32_encoder(export_core(imagenet_network(SIZE, "blocks")))

    assert pools_of(fp32_encoder(core)) == "stages"
    assert pools_of(blocks) == "blocks"


def test_unknown_features_are_refused():
    with pytest.raises(BadBundleError, match="'corners' are unknown; known are stages, blocks"):
        imagenet_network(SIZE, "corners")


def test_the_wide_stem_is_the_same_sum(core, rng):
    wide = onnx.ModelProto()
    wide.CopyFrom(core)
    widen_stem(wide, SIZE)
    height, width = SIZE
    x = rng.uniform(-1, 1, (height, width, 3)).astype(np.float32)

    narrow = run_core(core, x.transpose(2, 0, 1)[None])
    found = run_core(wide, x.reshape(height, width // 4, 12).transpose(2, 0, 1)[None])

    for one, other in zip(narrow, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("flavour", ["u8s8", "symmetric"])
def test_int8_stays_near_fp32(core, fp32, pictures, flavour):
    encoder = Encoder.from_bytes(quantise(core, pictures[:8], flavour).SerializeToString(), RuntimeOptions())

    for picture in pictures[8:]:
        features, expected = encoder.encode(picture), fp32.encode(picture)
        assert off(features.vector, expected.vector) < 0.35


def test_calibration_tells_how_far_it_is(core, pictures):
    seen = []

    quantise(core, pictures[:3], progress=seen.append)

    assert seen == [1, 2, 3]


@pytest.mark.parametrize("wrong", [[], [np.zeros((96, 64, 3), np.uint8)]], ids=["none", "turned"])
def test_calibration_pictures_of_another_size_are_refused(core, wrong):
    with pytest.raises(BadBundleError, match=r"calibration needs pictures of \[64, 96, 3\]"):
        quantise(core, wrong)


def test_an_unknown_flavour_is_refused(core, pictures):
    with pytest.raises(BadBundleError, match="'int4' is unknown; known are u8s8, symmetric"):
        quantise(core, pictures, "int4")


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(n, k, s) for n in range(1, 24) for k in (3, 5) for s in (1, 2)]
)
def test_same_padding_gives_one_output_per_stride_begun(size, kernel, stride):
    before, after = same_padding(size, kernel, stride)

    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1


def test_a_built_bundle_is_vetted_activated_and_reproduces_its_golden_vectors_in_each_flavour(built, tmp_path):
    directory, result = built
    store = ModelStore(tmp_path / "models")

    digest = store.stage(directory)

    assert digest == result.digest
    for flavour in ("fp32", "u8s8", "symmetric"):
        assert store.activate("surface", digest, RuntimeOptions(), flavour).flavour == flavour
    assert set(result.manifest.classes) == {"ok", "scratch", "pit", "stain", "crack"}
    assert result.manifest.trained_on == "synthetic-line"


@pytest.mark.long
def test_a_bundle_of_all_blocks_is_taken_too(tmp_path):
    plan = Plan(input_px=(64, 64), features="blocks", parts=40, calibration=4, flavours=("u8s8",))

    build(tmp_path / "bundle", plan, created_utc_s=1.79e9)
    store = ModelStore(tmp_path / "models")
    model = store.activate("surface", store.stage(tmp_path / "bundle"), RuntimeOptions())

    assert model.manifest.features.dimension == model.code.dimension == 1808
    assert model.manifest.features.map_block == "stage5.3"


def test_the_head_names_parts_it_never_saw_far_better_than_chance(built):
    _, result = built

    # Half of the parts are ok, so saying ok to everything names a half of them rightly.
    assert min(result.accuracy.values()) > 0.65


def test_the_same_plan_gives_the_same_bytes(built, plan, tmp_path):
    directory, result = built

    again = build(tmp_path, plan, created_utc_s=1.79e9)

    assert again.digest == result.digest
    for file in result.manifest.files:
        assert (tmp_path / file.name).read_bytes() == (directory / file.name).read_bytes()


@pytest.mark.parametrize("flavour", ["fp32", "u8s8", "symmetric"])
def test_colours_the_wrong_way_round_are_outside_every_tolerance(built, flavour):
    # What golden vectors are for: the mistake that still looks plausible.
    directory, result = built
    encoder = Encoder.from_bytes((directory / f"encoder-{flavour}.onnx").read_bytes(), RuntimeOptions())
    golden = safetensors.numpy.load((directory / "golden.safetensors").read_bytes())

    swapped = [encoder.encode(np.ascontiguousarray(picture[..., ::-1])).vector for picture in golden["pictures"]]

    worst = max(off(found, vector) for found, vector in zip(swapped, golden[f"vector.{flavour}"], strict=True))
    assert worst > 1.5 * result.manifest.tolerances[flavour].vector


def test_means_are_finer_than_the_steps_of_int8(core, pictures):
    model = quantise(core, pictures[:8])
    encoder = Encoder.from_bytes(model.SerializeToString(), RuntimeOptions())
    steps = {node.output[0]: node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    scale = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}[steps["stage5"]]

    block = np.stack([encoder.encode(picture).vector[160:272] for picture in pictures]) / scale

    # Rounded to whole steps, every distance to a whole number would be 0; means of 24 cells are anywhere between.
    assert np.abs(block - np.round(block)).mean() > 0.1
