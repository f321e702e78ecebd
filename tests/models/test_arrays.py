"""Head, golden vectors and scores in safetensors: what comes back is what went in, anything else is refused."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadBundleError
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.head import LinearHead
from edge_agent.models import arrays


@pytest.fixture
def golden(rng):
    return {
        "pictures": rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8),
        "vector.u8s8": rng.standard_normal((2, 24)).astype(np.float32),
    }


def read(tensors):
    content = safetensors.numpy.save(tensors)
    return arrays.golden_from_bytes(content, input_px=(32, 32), dimension=24, flavours={"u8s8"})


def test_golden_vectors_come_back(golden):
    found = read(golden)

    np.testing.assert_array_equal(found.pictures, golden["pictures"])
    np.testing.assert_array_equal(found.vectors["u8s8"], golden["vector.u8s8"])
    assert arrays.golden_to_bytes(found) == safetensors.numpy.save(golden)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_golden_vector_that_is_not_finite_is_refused(golden, value):
    golden["vector.u8s8"][1, 3] = value

    with pytest.raises(BadBundleError, match=r"golden: vector\.u8s8 holds NaN or infinity"):
        read(golden)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"pictures": np.zeros((2, 32, 32), np.uint8)}, r"pictures is uint8 \[2, 32, 32\], expected uint8 \['n', 32"),
        ({"pictures": np.zeros((2, 32, 32, 3), np.float32)}, "pictures is float32"),
        ({"pictures": np.zeros((0, 32, 32, 3), np.uint8)}, "0 pictures, expected 1 to 16"),
        ({"pictures": np.zeros((17, 32, 32, 3), np.uint8)}, "17 pictures, expected 1 to 16"),
        ({"vector.u8s8": np.zeros((3, 24), np.float32)}, r"is float32 \[3, 24\], expected float32 \[2, 24\]"),
        ({"vector.u8s8": np.zeros((2, 24), np.float64)}, "is float64"),
    ],
)
def test_another_shape_or_type_is_refused(golden, change, word):
    with pytest.raises(BadBundleError, match=word):
        read(golden | change)


def test_a_flavour_without_golden_vectors_is_refused(golden):
    del golden["vector.u8s8"]

    with pytest.raises(BadBundleError, match=r"golden: vector\.u8s8 is missing, found \['pictures'\]"):
        read(golden)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_our_error(garbage):
    with pytest.raises(BadBundleError):
        arrays.scores_from_bytes(garbage, classes=2, flavours={"u8s8"})
    with pytest.raises(BadBundleError):
        arrays.head_from_bytes(garbage, dimension=4)


def test_every_prefix_of_a_head_is_refused(pristine):
    content = (pristine / "head.safetensors").read_bytes()
    for length in range(len(content)):
        with pytest.raises(BadBundleError):
            arrays.head_from_bytes(content[:length], dimension=24)


def test_a_head_for_another_encoder_is_refused(pristine):
    content = (pristine / "head.safetensors").read_bytes()

    with pytest.raises(BadBundleError, match="made for 24 features, the encoder gives 784"):
        arrays.head_from_bytes(content, dimension=784)


def test_a_head_survives_its_bytes(pristine):
    content = (pristine / "head.safetensors").read_bytes()

    head = arrays.head_from_bytes(content, dimension=24)

    assert arrays.head_from_bytes(arrays.head_to_bytes(head), dimension=24).classes == head.classes


def test_a_head_always_becomes_the_same_bytes(pristine):
    head = arrays.head_from_bytes((pristine / "head.safetensors").read_bytes(), dimension=24)

    assert len({arrays.head_to_bytes(head) for _ in range(20)}) == 1


@pytest.mark.parametrize("about", ["{", "[]", "null", '"text"', "{}", "[" * 100_000])
def test_a_head_that_says_nothing_sensible_of_itself_is_refused(rng, about):
    tensors = {"weights": np.zeros((4, 2), np.float32), "bias": np.zeros(2, np.float32)}

    with pytest.raises(BadBundleError, match="head: "):
        arrays.head_from_bytes(safetensors.numpy.save(tensors, metadata={"about": about}), dimension=4)


def test_a_head_in_column_order_comes_back_as_it_was(rng):
    count, dimension = 3, 5
    weights = np.asfortranarray(rng.standard_normal((dimension, count)).astype(np.float32))
    head = LinearHead(
        classes=("a", "b", "ok"),
        good_classes=frozenset({"ok"}),
        weights=weights,
        bias=np.zeros(count, np.float32),
        mean=np.zeros(dimension, np.float32),
        scale=np.ones(dimension, np.float32),
    )

    found = arrays.head_from_bytes(arrays.head_to_bytes(head), dimension=dimension)

    np.testing.assert_array_equal(found.weights, weights)


def test_golden_vectors_in_column_order_come_back_as_they_were(golden):
    golden["vector.u8s8"] = np.asfortranarray(golden["vector.u8s8"])
    made = arrays.Golden(pictures=golden["pictures"], vectors={"u8s8": golden["vector.u8s8"]})

    found = arrays.golden_from_bytes(arrays.golden_to_bytes(made), input_px=(32, 32), dimension=24, flavours={"u8s8"})

    np.testing.assert_array_equal(found.vectors["u8s8"], golden["vector.u8s8"])


def test_a_feature_code_comes_back_and_one_that_cannot_be_is_refused():
    code = FeatureCode(offset=np.arange(24, dtype=np.float32), step=np.full(24, 0.5, np.float32))
    content = arrays.code_to_bytes(code)

    back = arrays.code_from_bytes(content, dimension=24)

    np.testing.assert_array_equal(back.offset, code.offset)
    np.testing.assert_array_equal(back.step, code.step)
    with pytest.raises(BadBundleError, match=r"code: offset is float32 \[24\], expected float32 \[25\]"):
        arrays.code_from_bytes(content, dimension=25)
    for step, word in ((0.0, "above zero"), (np.nan, "NaN")):
        bad = safetensors.numpy.save({"offset": code.offset, "step": np.full(24, step, np.float32)})
        with pytest.raises(BadBundleError, match=word):
            arrays.code_from_bytes(bad, dimension=24)
