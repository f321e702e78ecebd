"""The door to ONNX Runtime: what it takes, what it gives, and that it never falls back in silence."""

import threading

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_agent.errors import BadBundleError, BadPictureError, ProviderError
from edge_agent.models.encoder import Encoder, RuntimeOptions, available_providers
from tests.fakes.tiny_model import tiny_onnx, tiny_pictures


@pytest.fixture(scope="module")
def content():
    return tiny_onnx().SerializeToString()


@pytest.fixture(scope="module")
def encoder(content):
    return Encoder.from_bytes(content, RuntimeOptions())


def test_an_encoder_knows_its_shapes(encoder):
    assert (encoder.input_px, encoder.dimension, encoder.map_shape) == ((32, 32), 24, (8, 8, 16))
    assert encoder.providers_in_use == ("CPUExecutionProvider",)


def test_features_have_the_shapes_that_were_promised_and_the_map_averages_to_its_part_of_the_vector(encoder):
    features = encoder.encode(tiny_pictures(1)[0])

    assert (features.vector.dtype, features.vector.shape) == (np.float32, (24,))
    assert (features.map.dtype, features.map.shape) == (np.float32, (8, 8, 16))
    np.testing.assert_allclose(features.map.mean(axis=(0, 1)), features.vector[8:24], rtol=1e-5)


def test_a_read_only_picture_and_a_view_are_fine(encoder):
    picture = tiny_pictures(1)[0]
    expected = encoder.encode(picture).vector
    wide = np.repeat(picture, 2, axis=1)[:, ::2]
    picture.setflags(write=False)

    np.testing.assert_array_equal(encoder.encode(picture).vector, expected)
    np.testing.assert_array_equal(encoder.encode(wide).vector, expected)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((32, 31, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((0, 0, 3), np.uint8),
    ],
    ids=lambda picture: f"{picture.dtype}-{picture.shape}",
)
def test_another_shape_or_type_is_refused_with_both(encoder, picture):
    with pytest.raises(BadPictureError) as caught:
        encoder.encode(picture)

    assert "takes uint8 [32, 32, 3]" in str(caught.value)
    assert f"{picture.dtype} {list(picture.shape)}" in str(caught.value)


def test_a_provider_that_is_not_installed_is_an_error_and_not_a_warning(content, capfd):
    with pytest.raises(
        ProviderError, match="CUDAExecutionProvider is not part of the installed ONNX Runtime"
    ) as caught:
        Encoder.from_bytes(
            content, RuntimeOptions(providers=(("CUDAExecutionProvider", {}), ("CPUExecutionProvider", {})))
        )

    assert caught.value.exit_code == 69
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_installed_and_takes_no_work_is_an_error(content, capfd):
    # The Azure provider is in every wheel for x86 and runs no local operator: asked for, listed, and not in use.
    installed = set(available_providers()) - {"CPUExecutionProvider"}

    for name in installed:
        with pytest.raises(ProviderError, match="would leave operators of the model to the CPU"):
            Encoder.from_bytes(content, RuntimeOptions(providers=((name, {}),)))
    assert capfd.readouterr() == ("", "")


def test_no_provider_at_all_is_an_error(content):
    with pytest.raises(ProviderError, match="no execution provider was asked for"):
        Encoder.from_bytes(content, RuntimeOptions(providers=()))


@pytest.mark.parametrize("garbage", [b"", b"junk", b"\x08\x08" * 50])
def test_bytes_that_onnx_runtime_cannot_load_are_our_error_and_print_nothing(garbage, capfd):
    with pytest.raises(BadBundleError, match="refuses the model"):
        Encoder.from_bytes(garbage, RuntimeOptions())
    assert capfd.readouterr() == ("", "")


def test_a_model_that_is_no_encoder_is_refused_with_what_it_is(runtime):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["b"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])

    with pytest.raises(BadBundleError, match=r"a model takes `picture` uint8 \[h, w, 3\].* this one takes \{'a'"):
        Encoder.from_bytes(model.SerializeToString(), runtime)


@pytest.mark.parametrize("options", [{"disable_arena": True}, {"intra_op_threads": 2}, {"allow_spinning": True}])
def test_options_change_the_cost_and_not_the_result(content, encoder, options):
    other = Encoder.from_bytes(content, RuntimeOptions(**options))

    for picture in tiny_pictures(3):
        np.testing.assert_allclose(other.encode(picture).vector, encoder.encode(picture).vector, rtol=1e-5, atol=1e-6)


def test_one_encoder_serves_several_threads_at_once(encoder):
    pictures = tiny_pictures(16)
    expected = [encoder.encode(picture).vector for picture in pictures]
    found = {}

    def work(first):
        for index in range(first, len(pictures), 4):
            found[index] = encoder.encode(pictures[index]).vector

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    for index, vector in enumerate(expected):
        np.testing.assert_array_equal(found[index], vector)
