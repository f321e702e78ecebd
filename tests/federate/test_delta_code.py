"""Deltas: over the rounds nothing is lost, and what no training made is refused."""

import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadContributionError
from edge_agent.federate import delta_code as code
from edge_agent.federate import packing

BASE, NEXT = "5e" * 32, "77" * 32
SHAPES = {"blocks.0.conv.weight": (8, 4, 3, 3), "blocks.1.conv.weight": (40, 25), "head.bias": (5,), "scalar": ()}


def delta(seed=0, scale=1e-3):
    chance = np.random.default_rng(seed)
    return {
        name: (chance.laplace(size=shape) * scale * 10.0**-place).astype(np.float32)
        for place, (name, shape) in enumerate(SHAPES.items())
    }


@given(seed=st.integers(0, 2**32 - 1), coarseness=st.floats(0.05, 8), scale=st.sampled_from([0.0, 1e-12, 1e-3, 10.0]))
def test_what_is_decoded_and_what_is_left_are_together_what_was_learned(seed, coarseness, scale):
    learned = delta(seed, scale)

    content, left = code.to_bytes(learned, BASE, coarseness=coarseness)
    found = code.from_bytes(content, SHAPES, base=BASE)

    assert left.base == BASE
    for name, array in learned.items():
        assert np.allclose(found[name] + left.tensors[name], array, rtol=1e-6, atol=1e-7 * scale)
        step = coarseness * np.sqrt(np.mean(np.square(array, dtype=np.float64)))
        within = np.abs(array) < 126 * step
        assert np.all(np.abs(left.tensors[name])[within] <= step * 1.001)


def test_over_forty_rounds_the_sum_of_what_was_sent_is_what_was_learned():
    learned = dict.fromkeys(SHAPES, 0.0)
    sent = dict.fromkeys(SHAPES, 0.0)
    residual, parent = None, ""
    for number in range(40):
        base = f"{number:02x}" * 32
        step = delta(number)
        content, residual = code.to_bytes(step, base, residual=residual, parent=parent, coarseness=4)
        found = code.from_bytes(content, SHAPES, base=base)
        parent = base
        for name in SHAPES:
            learned[name] = learned[name] + step[name]
            sent[name] = sent[name] + found[name]
    for name in SHAPES:
        assert np.allclose(sent[name] + residual.tensors[name], learned[name], atol=1e-7)


def test_a_residual_that_does_not_follow_is_refused():
    _, left = code.to_bytes(delta(), BASE)

    with pytest.raises(BadContributionError, match="the residual is of base 5e5e5e5e5e5e, the delta follows 7777"):
        code.to_bytes(delta(1), BASE, residual=left, parent=NEXT)
    with pytest.raises(BadContributionError, match="its residual"):
        code.to_bytes({"head.bias": np.ones(6, np.float32)}, NEXT, residual=left, parent=BASE)


def test_levels_are_a_dead_zone_and_one_reconstruction_point():
    array = np.array([0.0, 0.6, 0.64, 0.66, -1.2, 1.7, 3.0, -500.0], np.float32)
    coarseness = 1 / np.sqrt(np.mean(np.square(array, dtype=np.float64)))  # a step of 1

    content, _ = code.to_bytes({"x": array}, BASE, coarseness=float(coarseness))
    found = code.from_bytes(content, {"x": (8,)}, base=BASE)["x"]

    once = np.float32((0.66 + 1.2) / 2)
    assert np.allclose(found, [0, 0, 0, once, -once, 2, 3, -127], rtol=1e-5)


def test_norms_counters_and_what_is_named_stay_local():
    weight = np.zeros((2, 2), np.float32)

    assert code.is_shared("blocks.0.conv.weight", weight)
    for name in ("blocks.0.bn1.weight", "stem.bn.bias", "x.running_mean", "x.running_var", "layer_norm.weight"):
        assert not code.is_shared(name, weight)
    assert not code.is_shared("steps", np.zeros(1, np.int64))
    assert not code.is_shared("head.weight", weight, local=("head.*",))


def test_sparse_and_dense_deltas_take_the_smaller_form():
    sparse = np.zeros(100_000, np.float32)
    sparse[::997] = np.random.default_rng(0).normal(size=101)
    forms = []
    for array, coarseness in ((sparse, 1.0), (np.random.default_rng(1).normal(size=5000).astype(np.float32), 0.1)):
        content, _ = code.to_bytes({"x": array}, BASE, coarseness=coarseness)
        forms.append(code._HEADER.unpack_from(content)[7])
        assert len(content) < array.nbytes / 2
    assert forms == [code._GAPS, code._PLANE]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1001.0])
def test_numbers_that_no_training_makes_are_not_sent(value):
    array = np.zeros(4, np.float32)
    array[2] = value
    with pytest.raises(BadContributionError, match="training went astray"):
        code.to_bytes({"x": array}, BASE)
    with pytest.raises(BadContributionError, match="float64"):
        code.to_bytes({"x": np.zeros(4)}, BASE)


# --- bytes that nobody wrote ----------------------------------------------------------------------------------------

PLANE = code.to_bytes(delta(), BASE, coarseness=0.3)[0]
GAPS = code.to_bytes(delta(), BASE, coarseness=6)[0]


def test_both_forms_are_tried_below():
    assert [code._HEADER.unpack_from(content)[7] for content in (PLANE, GAPS)] == [code._PLANE, code._GAPS]


@pytest.mark.parametrize("content", [PLANE, GAPS], ids=["plane", "gaps"])
def test_every_prefix_and_every_suffix_is_refused(content):
    for end in range(len(content)):
        with pytest.raises(BadContributionError):
            code.from_bytes(content[:end], SHAPES, base=BASE)
    with pytest.raises(BadContributionError, match="truncated"):
        code.from_bytes(content + b"\0", SHAPES, base=BASE)


@settings(max_examples=400)
@given(st.sampled_from([PLANE, GAPS]), st.data())
def test_flipped_bits_are_refused_or_give_tensors_of_the_model_that_are_finite(content, data):
    """The sha256 of the whole finds them; what is read in spite of them has no power to harm."""
    altered = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4, unique=True)):
        altered[place] ^= data.draw(st.integers(1, 255))

    try:
        found = code.from_bytes(bytes(altered), SHAPES, base=BASE)
    except BadContributionError:
        return
    for name, array in found.items():
        assert array.shape == SHAPES[name]
        assert np.isfinite(array).all()
        assert np.abs(array).max(initial=0) <= 2 * code.VALUE_MAX


@given(st.binary(max_size=400))
def test_other_bytes_are_refused(tail):
    for content in (tail, GAPS[:32] + tail, GAPS[: code._HEADER.size] + tail):
        with pytest.raises(BadContributionError):
            code.from_bytes(content, SHAPES, base=BASE)


def _rewritten(content, *, index=None, levels=None, gaps=None, **fields):
    names = ("total", "format", "base", "entries", "present", "gap_bytes", "tensors", "form")
    values = list(code._HEADER.unpack_from(content))
    sections = packing.cut(content, code._HEADER.size, values[-3:], "test")
    sections = [new if new is not None else old for new, old in zip((index, levels, gaps), sections, strict=True)]
    header = dict(zip(names, values, strict=False)) | fields
    header["total"] = code._HEADER.size + sum(map(len, sections))
    return code._HEADER.pack(*header.values(), *map(len, sections)) + b"".join(sections)


def _entry(name, shape, step=1e-3, point=1.0):
    return struct.pack(f"<B{len(name)}sB{len(shape)}Iff", len(name), name.encode(), len(shape), *shape, step, point)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (_entry("head.bias", (6,)), r"shape \(6,\), the model has \(5,\)"),
        (_entry("of.another", (5,)), "the model has None"),
        (_entry("head.bias", (5,), step=float("nan")), "step nan"),
        (_entry("head.bias", (5,), step=float("inf")), "step inf"),
        (_entry("head.bias", (5,), step=-1.0), "step -1"),
        (_entry("head.bias", (5,), step=1e30), r"step 1\.0+\d*e\+30|step 1e\+30|step \d"),
        (_entry("head.bias", (5,), point=float("nan")), "point nan"),
        (_entry("head.bias", (5,) * 9), "9 axes"),
        (_entry("head.bias", (5,))[:-1], "index of tensors is damaged"),
        (_entry("head.bias", (5,)) + b"x", "its 1 tensors end at"),
    ],
)
def test_an_index_of_other_tensors_is_refused(index, words):
    content = _rewritten(
        PLANE, index=index, levels=packing.squeeze(bytes(5)), entries=5, present=0, gap_bytes=0, tensors=1
    )

    with pytest.raises(BadContributionError, match=words):
        code.from_bytes(content, SHAPES, base=BASE)


def test_tensors_that_come_twice_are_refused():
    content = _rewritten(PLANE, index=_entry("head.bias", (5,)) * 2, tensors=2)
    with pytest.raises(BadContributionError, match="twice"):
        code.from_bytes(content, SHAPES, base=BASE)


def test_levels_that_are_beyond_what_a_layer_moves_are_refused():
    content = _rewritten(
        PLANE, index=_entry("head.bias", (5,), step=900.0), levels=packing.squeeze(b"\x64\0\0\0\0"),
        entries=5, present=1, gap_bytes=0, tensors=1,
    )  # fmt: skip
    with pytest.raises(BadContributionError, match=r"moves by 9e.04"):
        code.from_bytes(content, SHAPES, base=BASE)


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        (b"\x80", "gaps for 1 levels"),
        (b"\x05", "a level at entry 5 of 5"),
        (b"\xff\xff\xff\xff\x7f", "a level at entry"),
        (b"\x00\x00", "2 gaps for 1 levels"),
    ],
)
def test_gaps_that_lead_nowhere_are_refused(gaps, words):
    content = _rewritten(
        GAPS, index=_entry("head.bias", (5,)), levels=packing.squeeze(b"\x01"), gaps=packing.squeeze(gaps),
        entries=5, present=1, gap_bytes=len(gaps), tensors=1,
    )  # fmt: skip
    with pytest.raises(BadContributionError, match=words):
        code.from_bytes(content, SHAPES, base=BASE)


def test_a_bomb_is_left_after_the_first_byte_too_many():
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(2**29))
    for content in (_rewritten(PLANE, levels=bomb), _rewritten(GAPS, levels=bomb), _rewritten(GAPS, gaps=bomb)):
        tracemalloc.start()
        try:
            with pytest.raises(BadContributionError, match="more than"):
                code.from_bytes(content, SHAPES, base=BASE)
            assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("fields", [{"entries": 2**40}, {"present": 2**40}, {"tensors": 65535}, {"form": 7}])
def test_a_header_that_asks_for_much_is_refused(fields):
    with pytest.raises(BadContributionError):
        code.from_bytes(_rewritten(PLANE, **fields), SHAPES, base=BASE)


def test_another_base_is_named():
    with pytest.raises(BadContributionError, match="another base than 777777777777"):
        code.from_bytes(PLANE, SHAPES, base=NEXT)
