"""Shares of statistics: exact ones come out as they went in, others close by; what no samples can have is refused."""

import dataclasses
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadContributionError
from edge_agent.federate import packing
from edge_agent.federate import statistics_code as code
from edge_agent.federate.prediction import PANEL_ROWS
from edge_agent.learn import solve
from edge_agent.learn import statistics as sums
from edge_agent.learn.statistics import Statistics
from tests.federate.samples import BASE, codes, same, statistics


@given(
    count=st.integers(1, 120),
    size=st.integers(1, 3 * PANEL_ROWS + 2),
    seed=st.integers(0, 2**32 - 1),
    rank=st.integers(1, 8),
    weight=st.sampled_from([1, 3, 10**6]),
)
def test_an_exact_share_comes_out_as_it_went_in(count, size, seed, rank, weight):
    given_sums = sums.times(sums.sums(*codes(count, size, seed, rank)), weight)

    content = code.to_bytes(code.share(BASE, given_sums))
    found = code.from_bytes(content, base=BASE)

    assert same(found.statistics, given_sums)
    assert (found.base, found.features, found.encoder_features, found.levels) == (BASE, ((0, size),), size, 0)
    assert code.to_bytes(found) == content


@pytest.mark.parametrize("levels", [15, 127, 1000])
def test_a_coarse_share_is_as_close_as_its_levels(levels):
    given_sums = statistics(200, 40)

    found = code.from_bytes(code.to_bytes(code.share(BASE, given_sums, levels=levels)), base=BASE).statistics

    scatter = np.diag(given_sums.gram - (given_sums.cross / given_sums.counts) @ given_sums.cross.T)
    level = np.sqrt(np.outer(scatter, scatter)) / levels
    assert np.all(np.abs(found.gram - given_sums.gram) <= level * 0.5 + 1.5)
    assert np.array_equal(np.diag(found.gram), np.diag(given_sums.gram))
    assert np.array_equal(found.cross, given_sums.cross)
    assert np.array_equal(found.counts, given_sums.counts)


def test_what_rounding_cost_in_definiteness_is_the_deficit_that_the_solver_adds():
    given_sums = statistics(30, 60)

    found = code.from_bytes(code.to_bytes(code.share(BASE, given_sums, levels=31)), base=BASE).statistics

    assert solve.spectrum(found).deficit > 0
    assert np.all(np.isfinite(solve.spectrum(found).cross))


def test_two_coders_are_two_bases():
    first, second = (code.base_of(f"{'ab' * 32}+{number:064x}") for number in (1, 2))

    assert first != second
    content = code.to_bytes(code.share(first, statistics()))
    assert code.from_bytes(content, base=first).base == first
    with pytest.raises(BadContributionError, match="the round wants"):
        code.from_bytes(content, base=second)


def test_chosen_features_are_their_rows_and_columns():
    given_sums = statistics(size=24)

    found = code.from_bytes(code.to_bytes(code.share(BASE, given_sums, ((2, 5), (10, 24)))), base=BASE)

    index = [*range(2, 5), *range(10, 24)]
    assert found.features == ((2, 5), (10, 24))
    assert found.encoder_features == 24
    assert np.array_equal(found.statistics.gram, given_sums.gram[np.ix_(index, index)])
    assert np.array_equal(found.statistics.cross, given_sums.cross[index])


@pytest.mark.parametrize("ranges", [(), ((3, 3),), ((5, 2),), ((0, 4), (3, 8)), ((0, 25),)])
def test_features_that_the_vectors_do_not_have_are_refused(ranges):
    with pytest.raises(BadContributionError, match="ascending"):
        code.share(BASE, statistics(size=24), ranges)


def test_a_share_of_few_samples_is_much_smaller_than_its_matrix():
    """As many rows as there are samples explain all others."""
    few, many = (len(code.to_bytes(code.share(BASE, statistics(count, 200, seed=3)))) for count in (40, 400))

    assert few < many / 2
    assert many < 200 * 201 // 2 * 2


def test_the_same_sums_have_the_same_bytes_whatever_the_threads_of_the_linear_algebra():
    program = (
        "import hashlib; from tests.federate.samples import BASE, statistics;"
        "from edge_agent.federate import statistics_code as code;"
        "print(hashlib.sha256(code.to_bytes(code.share(BASE, statistics(300, 150)))).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": kind},
            capture_output=True, text=True, check=True,
        ).stdout
        for threads, kind in (("1", "Haswell"), ("2", "Haswell"), ("1", "Prescott"))
    }  # fmt: skip
    assert len(found) == 1


# --- sums that no samples have --------------------------------------------------------------------------------------


def _with(change) -> Statistics:
    given_sums = statistics(200, 24)
    parts = {"counts": given_sums.counts, "gram": given_sums.gram, "cross": given_sums.cross}
    return dataclasses.replace(given_sums, **{name: array.copy() for name, array in parts.items()} | change(given_sums))


def _altered(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


def _mirrored(array, place, value):
    return _altered(_altered(array, place, value), place[::-1], value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {"counts": _altered(s.counts, 0, -1)}, "expected 0 or more"),
        (lambda s: {"counts": s.counts * 0}, "expected 0 or more"),
        (lambda s: {"counts": _altered(s.counts, 0, 2**40)}, "expected 0 or more"),
        (lambda s: {"cross": _altered(s.cross, (3, 1), 10**9)}, "class sum is beyond"),
        (lambda s: {"gram": _altered(s.gram, (3, 3), 10**9)}, "sum of squares is beyond"),
        (lambda s: {"gram": _altered(s.gram, (3, 3), 0)}, "smaller than its class sums allow"),
        (lambda s: {"gram": _altered(s.gram, (3, 4), 5)}, "not symmetric"),
        (lambda s: {"gram": _mirrored(s.gram, (3, 4), 16129 * 200)}, "not positive semidefinite"),
        (lambda s: {"gram": s.gram - np.diag(np.diag(s.gram)) * 9 // 10}, "smaller than|not positive semidefinite"),
        (lambda s: {"classes": ("ok", "dent", "scratch")}, "sorted"),
        (lambda s: {"classes": ("", "dent", "scratch")}, "empty"),
        (lambda s: {"classes": ("dent", "ok", "s" * 256)}, "longer than 255"),
        (lambda s: {"cross": s.cross[:, :2]}, "shapes"),
    ],
)  # fmt: skip
def test_sums_that_no_samples_have_are_neither_written_nor_taken(change, words, monkeypatch):
    altered = _with(change)

    with pytest.raises(BadContributionError, match=words):
        code.to_bytes(code.share(BASE, altered))
    # The same, written by a program that does not check.
    monkeypatch.setattr(code, "check_sums", lambda *_: None)
    try:
        content = code.to_bytes(code.share(BASE, altered))
    except (ValueError, OverflowError, IndexError, struct.error):
        return  # the format has no way to say it
    monkeypatch.undo()
    if "symmetric" in words:  # cannot be said in this format: the upper triangle is read
        content = content[:-1]
    with pytest.raises(BadContributionError):
        code.from_bytes(content, base=BASE)


# --- bytes that nobody wrote ----------------------------------------------------------------------------------------

WRITTEN = code.to_bytes(code.share(BASE, statistics(40, 20)))
COARSE = code.to_bytes(code.share(BASE, statistics(40, 20), levels=127))


@pytest.mark.parametrize("content", [WRITTEN, COARSE], ids=["exact", "coarse"])
def test_every_prefix_and_every_suffix_is_refused(content):
    for end in range(len(content)):
        with pytest.raises(BadContributionError):
            code.from_bytes(content[:end], base=BASE)
    with pytest.raises(BadContributionError, match="truncated"):
        code.from_bytes(content + b"\0", base=BASE)


@settings(max_examples=400)
@given(st.sampled_from([WRITTEN, COARSE]), st.data())
def test_flipped_bits_are_refused(content, data):
    altered = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4, unique=True)):
        altered[place] ^= data.draw(st.integers(1, 255))

    try:
        found = code.from_bytes(bytes(altered), base=BASE)
    except BadContributionError:
        return
    # Nothing but what the digest of the sums does not cover may differ: how features are called, how many there are.
    given_share = code.from_bytes(content, base=BASE)
    assert np.array_equal(found.statistics.gram, given_share.statistics.gram)
    assert np.array_equal(found.statistics.counts, given_share.statistics.counts)


@given(st.binary(max_size=400))
def test_other_bytes_are_refused(tail):
    for content in (tail, WRITTEN[:32] + tail, WRITTEN[: code._HEADER.size] + tail):
        with pytest.raises(BadContributionError):
            code.from_bytes(content, base=BASE)


@pytest.mark.parametrize("levels", [0, 127])
def test_reading_takes_no_more_memory_than_it_says(levels):
    size = 512
    content = code.to_bytes(code.share(BASE, statistics(50, size), levels=levels))
    tracemalloc.start()
    try:
        code.from_bytes(content, base=BASE)
        assert tracemalloc.get_traced_memory()[1] < code.PEAK_BYTES * size**2 + len(content) + 2**20
    finally:
        tracemalloc.stop()


def test_a_small_file_cannot_ask_for_a_larger_matrix_than_the_encoder_has():
    with pytest.raises(BadContributionError, match="an encoder of 20 features, expected 784"):
        code.from_bytes(WRITTEN, base=BASE, encoder_features=784)
    assert code.from_bytes(WRITTEN, base=BASE, encoder_features=20).encoder_features == 20


def test_another_base_and_another_format_are_named():
    with pytest.raises(BadContributionError, match="made with coder 5e5e5e5e5e5e, the round wants 777777777777"):
        code.from_bytes(WRITTEN, base="77" * 32)
    with pytest.raises(BadContributionError, match=r"statistics/9'.*expected 'edge-agent/statistics/1"):
        code.from_bytes(WRITTEN.replace(b"statistics/1", b"statistics/9"), base=BASE)
    with pytest.raises(BadContributionError, match="at most 100 are taken"):
        code.from_bytes(WRITTEN, base=BASE, limit_bytes=100)


def _with_frame(section: int, frame: bytes) -> bytes:
    """WRITTEN with another section and a header that knows its length."""
    fields = list(code._HEADER.unpack_from(WRITTEN))
    sections = packing.cut(WRITTEN, code._HEADER.size, fields[-5:], "test")
    sections[section] = frame
    fields[-5:] = map(len, sections)
    fields[0] = code._HEADER.size + sum(map(len, sections))
    return code._HEADER.pack(*fields) + b"".join(sections)


@pytest.mark.parametrize("section", [1, 2])
@pytest.mark.parametrize("told", [True, False], ids=["size told", "size not told"])
def test_a_bomb_is_left_after_the_first_byte_too_many(section, told):
    # Half a GiB of zeros in some 50 KB.
    frame = zstandard.ZstdCompressor(level=3, write_content_size=told)
    bomb = frame.compress(bytes(2**29)) if told else _streamed(frame, 2**29)
    content = _with_frame(section, bomb)
    tracemalloc.start()
    try:
        with pytest.raises(BadContributionError, match="more than"):
            code.from_bytes(content, base=BASE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20 + len(content)


def _streamed(compressor, size):
    stream = compressor.compressobj()
    return b"".join(stream.compress(bytes(2**20)) for _ in range(size // 2**20)) + stream.flush()


def test_a_window_that_would_take_too_much_memory_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True, write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters)

    with pytest.raises(BadContributionError, match="no zstd frame"):
        code.from_bytes(_with_frame(2, _streamed(frame, 2**20)), base=BASE)


def test_a_header_that_asks_for_much_is_refused_before_anything_is_allocated():
    fields = list(code._HEADER.unpack_from(WRITTEN))
    for place, value, words in ((5, 10**9, "features"), (7, 60_000, "classes"), (8, 60_000, "ranges")):
        altered = [*fields[:place], value, *fields[place + 1 :]]
        tracemalloc.start()
        try:
            with pytest.raises(BadContributionError, match=words):
                code.from_bytes(code._HEADER.pack(*altered) + WRITTEN[code._HEADER.size :], base=BASE)
            assert tracemalloc.get_traced_memory()[1] < 2**18
        finally:
            tracemalloc.stop()
