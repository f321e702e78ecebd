"""What a plant shares of its statistics, as bytes: `edge-agent/statistics/1`. Pure.

    Share --> header | classes, counts, ranges | cross and diagonal (zstd) | quotients (zstd) | low bits | Share

Only the upper triangle is sent, and of each entry only its distance from what the rows above it let expect
(`federate.prediction`). Its scale is known to both sides: the low bits below that scale are noise and are sent as they
are, what is above ("quotient", mostly -4 to 4) goes through zstd.

levels 0 is exact: the same integers come out. Otherwise an entry is rounded to 1 / levels of the product of its two
features' within-class deviations (127: 8 bits, 1023: 11; the diagonal, counts and class sums stay exact); the lost
positive-definiteness is added to lambda by the solver (`learn.solve`: deficit).

The layout is in docs/federated.md. Readers take versions N and N - 1, writers write what the offer names; golden files
in tests/federate/golden hold each version to its bytes.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadContributionError
from edge_agent.federate import packing
from edge_agent.federate.prediction import Predictor, damping_of, predictor
from edge_agent.learn.feature_code import LEVEL_MAX
from edge_agent.learn.head import CLASSES_MAX
from edge_agent.learn.statistics import SAMPLES_MAX, Integers, Statistics

FORMAT = "edge-agent/statistics/1"
FEATURES_MAX = 2048
LEVELS_MAX = 4095
NAME_MAX_BYTES = 255
RANGES_MAX = 256
# 2048 features, every entry at its full width.
SHARE_MAX_BYTES = 20 * 1024 * 1024
# What reading takes for each entry of the matrix: 45 bytes were measured (tracemalloc; 27 MB for 784 features).
PEAK_BYTES = 48
_ESCAPE = 255
_WIDTH_MAX = 52
# Total length, format; base, digest of the sums; samples; features here, features of the encoder, classes, ranges,
# levels; lengths of the five sections.
_HEADER = struct.Struct(f"<I{packing.FORMAT_BYTES}s32s32sQIIHHH5I")
# Bits below this share of an entry's deviation are noise; .7, .5, .35, .25 gave 429, 425, 421, 422 KB (pcb-a).
_NOISE_SHARE = 0.35

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`base` is `base_of` the coder (64 hex digits). `features` says which parts of its vectors `statistics` are about:
    [first, end), ascending, together as many as the statistics have; `encoder_features` is how many there are.
    `levels` 0: the sums are exact.
    """

    base: str
    statistics: Statistics = field(repr=False)
    features: Ranges
    encoder_features: int
    levels: int = 0


def base_of(coder: str) -> str:
    """The base of shares whose codes `coder` made (`LoadedModel.coder`, `Book.coder`): 64 hex digits."""
    return hashlib.sha256(coder.encode()).hexdigest()


def share(base: str, statistics: Statistics, features: Ranges | None = None, *, levels: int = 0) -> Share:
    """A plant's sums, or those rows and columns of them that lie in `features`.

    Raises:
        BadContributionError: ranges that are empty, not ascending or beyond the vectors, or levels out of range.
    """
    size = statistics.dimension
    chosen = ((0, size),) if features is None else features
    _check_ranges(chosen, size, "share")
    if not 0 <= levels <= LEVELS_MAX:
        raise BadContributionError(f"share: {levels} levels, expected 0 (exact) to {LEVELS_MAX}")
    index = np.concatenate([np.arange(first, end) for first, end in chosen])
    kept = Statistics(
        classes=statistics.classes,
        counts=statistics.counts,
        gram=np.ascontiguousarray(statistics.gram[np.ix_(index, index)]),
        cross=np.ascontiguousarray(statistics.cross[index]),
    )
    return Share(base=base, statistics=kept, features=chosen, encoder_features=size, levels=levels)


def to_bytes(given: Share) -> bytes:
    """The bytes of a share: the same on every machine.

    Raises:
        BadContributionError: sums that no samples can have, or more features or classes than can be sent.
    """
    statistics = given.statistics
    check_sums(statistics, given.levels)
    gram, quotients, low_bits = _encode_gram(statistics, given.levels)
    codes = packing.zigzag(quotients)
    names = b"".join(bytes([len(name)]) + name for name in (name.encode() for name in statistics.classes))
    small = np.concatenate([_cross_steps(statistics.counts, statistics.cross), np.diag(statistics.gram)])
    sections = [
        names + statistics.counts.astype("<u8").tobytes() + np.array(given.features, "<u4").tobytes(),
        packing.squeeze(packing.planes(small)),
        packing.squeeze(np.minimum(codes, _ESCAPE).astype(np.uint8).tobytes()),
        codes[codes >= _ESCAPE].astype("<u8").tobytes(),
        low_bits,
    ]
    header = packing.pack_header(
        _HEADER,
        FORMAT,
        _HEADER.size + sum(map(len, sections)),
        bytes.fromhex(given.base),
        _digest(statistics.counts, statistics.cross, gram),
        statistics.count,
        statistics.dimension,
        given.encoder_features,
        len(statistics.classes),
        len(given.features),
        given.levels,
        *map(len, sections),
    )
    return header + b"".join(sections)


def from_bytes(
    content: bytes, *, base: str, encoder_features: int | None = None, limit_bytes: int = SHARE_MAX_BYTES
) -> Share:
    """The share in `content`, whose sums were checked to be sums that samples can have.

    `encoder_features` is how many the round's encoder has, where that is known: a few hundred bytes can say that a
    matrix of FEATURES_MAX is all zeros. Nothing is allocated before the lengths were found to fit together, and then
    at most PEAK_BYTES an entry of the matrix. What is not symmetric cannot be written in this format.

    Raises:
        BadContributionError: truncated, altered, hostile, of another format or base, or sums that no samples can have.
    """
    head = _head(content, base, limit_bytes)
    if encoder_features not in {None, head.encoder_features}:
        raise BadContributionError(
            f"{FORMAT}: an encoder of {head.encoder_features} features, expected {encoder_features}"
        )
    about, small, frame, large, low_bits = packing.cut(content, _HEADER.size, head.lengths, FORMAT)
    classes, counts, features = _read_about(about, head)
    size, entries = head.features, head.features * (head.features - 1) // 2
    numbers = packing.unplanes(packing.inflate(small, 8 * size * (head.classes + 1), f"{FORMAT}: class sums"))
    cross = _cross_sums(counts, numbers[: size * head.classes].reshape(head.classes, size))
    diagonal = numbers[size * head.classes :]
    _check_marginals(counts, cross, diagonal)
    codes = np.frombuffer(packing.inflate(frame, entries, f"{FORMAT}: quotients"), np.uint8).astype(np.uint64)
    escaped = np.flatnonzero(codes == _ESCAPE)
    if 8 * len(escaped) != len(large):
        raise BadContributionError(
            f"{FORMAT}: {len(escaped)} large quotients, {len(large)} bytes for them, expected 8 each"
        )
    codes[escaped] = np.frombuffer(large, "<u8")
    gram = _decode_gram((counts, cross, diagonal), packing.unzigzag(codes), low_bits, head.levels)
    if _digest(counts, cross, gram) != head.sums:
        raise BadContributionError(f"{FORMAT}: the sums differ from those that were written; altered on the way")
    statistics = Statistics(classes=classes, counts=counts, gram=gram, cross=cross)
    check_sums(statistics, head.levels)
    return Share(
        base=base, statistics=statistics, features=features, encoder_features=head.encoder_features, levels=head.levels
    )


def check_sums(statistics: Statistics, levels: int = 0) -> None:
    """Whether samples can have these sums, up to what `levels` of rounding can do to them.

    Raises:
        BadContributionError: names, shapes or counts that cannot be, sums beyond what so many samples can reach, a
            matrix that is not symmetric or not positive semidefinite.
    """
    size, classes = statistics.dimension, len(statistics.classes)
    shapes = (statistics.counts.shape, statistics.gram.shape, statistics.cross.shape)
    if shapes != ((classes,), (size, size), (size, classes)) or not 1 <= size <= FEATURES_MAX:
        raise BadContributionError(f"statistics: shapes {shapes}, expected [C], [D, D], [D, C], D up to {FEATURES_MAX}")
    if not 1 <= classes <= CLASSES_MAX or statistics.classes != tuple(sorted(set(statistics.classes))):
        raise BadContributionError(f"statistics: {classes} classes, expected 1 to {CLASSES_MAX} different ones, sorted")
    if not all(1 <= len(name.encode()) <= NAME_MAX_BYTES for name in statistics.classes):
        raise BadContributionError(f"statistics: a class name is empty or longer than {NAME_MAX_BYTES} bytes")
    if not np.array_equal(statistics.gram, statistics.gram.T):
        raise BadContributionError("statistics: the Gram matrix is not symmetric")
    diagonal = np.diag(statistics.gram)
    _check_marginals(statistics.counts, statistics.cross, diagonal)
    means = statistics.cross / np.sqrt(np.maximum(statistics.counts, 1))
    scatter = statistics.gram - means @ means.T
    deviation = np.sqrt(np.maximum(np.diag(scatter), 1.0))
    # Rounding moves an entry by up to half a level, which moves eigenvalues by some 0.6 sqrt(D) / levels.
    slack = 1e-6 * size + (np.sqrt(size) / levels if levels else 0.0)
    try:
        np.linalg.cholesky(scatter / np.outer(deviation, deviation) + slack * np.eye(size))
    except np.linalg.LinAlgError as error:
        raise BadContributionError(
            f"statistics: not positive semidefinite (slack {slack:.2g}): no samples have these sums"
        ) from error


# --- header and small sections --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    sums: bytes
    count: int
    features: int
    encoder_features: int
    classes: int
    ranges: int
    levels: int
    lengths: tuple[int, ...]


def _head(content: bytes, base: str, limit_bytes: int) -> _Head:
    made_against, sums, *numbers = packing.unpack_header(_HEADER, FORMAT, content, min(limit_bytes, SHARE_MAX_BYTES))
    assert isinstance(made_against, bytes)  # noqa: S101 - the layout says so
    assert isinstance(sums, bytes)  # noqa: S101
    count, features, encoder_features, classes, ranges, levels, *lengths = (int(number) for number in numbers)
    if made_against.hex() != base:
        raise BadContributionError(
            f"{FORMAT}: made with coder {made_against.hex()[:12]}, the round wants {base[:12]}; get its model"
        )
    limits = (
        ("samples", count, SAMPLES_MAX),
        ("features", features, FEATURES_MAX),
        ("classes", classes, CLASSES_MAX),
        ("ranges", ranges, RANGES_MAX),
    )
    for what, found, most in limits:
        if not 1 <= found <= most:
            raise BadContributionError(f"{FORMAT}: {found} {what}, expected 1 to {most}")
    if levels > LEVELS_MAX:
        raise BadContributionError(f"{FORMAT}: {levels} levels, expected 0 (exact) to {LEVELS_MAX}")
    return _Head(
        sums=sums,
        count=count,
        features=features,
        encoder_features=encoder_features,
        classes=classes,
        ranges=ranges,
        levels=levels,
        lengths=tuple(lengths),
    )


def _read_about(about: bytes, head: _Head) -> tuple[tuple[str, ...], Integers, Ranges]:
    fixed = 8 * head.classes + 8 * head.ranges
    names, place = [], 0
    for _ in range(head.classes):
        length = about[place] if place < len(about) else 0
        names.append(about[place + 1 : place + 1 + length])
        place += 1 + length
    if place + fixed != len(about):
        raise BadContributionError(f"{FORMAT}: {len(about)} bytes of names and counts, expected {place + fixed}")
    try:
        classes = tuple(name.decode() for name in names)
    except UnicodeDecodeError as error:
        raise BadContributionError(f"{FORMAT}: a class name is not UTF-8 ({error})") from error
    counts = np.frombuffer(about, "<u8", head.classes, place)
    if int(counts.max()) > SAMPLES_MAX or int(counts.sum()) != head.count:
        raise BadContributionError(f"{FORMAT}: counts sum to {counts.sum()}, the header says {head.count} samples")
    pairs = np.frombuffer(about, "<u4", 2 * head.ranges, place + 8 * head.classes).reshape(-1, 2).tolist()
    features: Ranges = tuple((first, end) for first, end in pairs)
    _check_ranges(features, head.encoder_features, FORMAT)
    if sum(end - first for first, end in features) != head.features:
        raise BadContributionError(f"{FORMAT}: ranges {features[:4]} do not name {head.features} features")
    return classes, counts.astype(np.int64), features


def _check_ranges(features: Ranges, size: int, what: str) -> None:
    edges = [edge for pair in features for edge in pair]
    empty = any(first >= end for first, end in features)
    if not 1 <= len(features) <= RANGES_MAX or empty or edges != sorted(edges) or edges[0] < 0 or edges[-1] > size:
        raise BadContributionError(
            f"{what}: features {features[:4]}, expected ascending [first, end) within 0 to {size}"
        )


def _check_marginals(counts: Integers, cross: Integers, diagonal: Integers) -> None:
    """Counts, class sums and squares that samples can have, each in itself and together (Cauchy-Schwarz)."""
    if (counts < 0).any() or not 1 <= int(counts.sum()) <= SAMPLES_MAX:
        raise BadContributionError(f"statistics: counts {counts[:8]}, expected 0 or more, in all 1 to {SAMPLES_MAX}")
    if (np.abs(cross) > LEVEL_MAX * counts).any():
        raise BadContributionError(f"statistics: a class sum is beyond what its count times {LEVEL_MAX} can be")
    if (diagonal > LEVEL_MAX**2 * int(counts.sum())).any():
        raise BadContributionError(f"statistics: a sum of squares is beyond what {counts.sum()} samples can reach")
    explained = (cross.astype(np.float64) ** 2 / np.maximum(counts, 1)).sum(axis=1)
    if (diagonal < explained * (1 - 1e-9) - 0.5).any():
        raise BadContributionError("statistics: a sum of squares is smaller than its class sums allow")


def _cross_steps(counts: Integers, cross: Integers) -> Integers:
    """Class sums as distances from what the mean over the classes before lets expect: int64 [C D], class by class."""
    return np.concatenate([column - _expected(counts, cross, place) for place, column in enumerate(cross.T)])


def _cross_sums(counts: Integers, steps: Integers) -> Integers:
    cross = np.zeros((steps.shape[1], len(counts)), np.int64)
    for place, column in enumerate(steps):
        cross[:, place] = column + _expected(counts, cross, place)
        if (np.abs(cross[:, place]) > LEVEL_MAX * counts[place]).any():
            raise BadContributionError(f"{FORMAT}: a sum of class {place} is beyond what {counts[place]} samples reach")
    return cross


def _expected(counts: Integers, cross: Integers, place: int) -> Integers:
    """For class `place`: its count times the mean of the classes before it."""
    before = max(int(counts[:place].sum()), 1)
    result: Integers = np.rint(cross[:, :place].sum(axis=1) * (float(counts[place]) / before)).astype(np.int64)
    return result


def _digest(counts: Integers, cross: Integers, gram: Integers) -> bytes:
    content = hashlib.sha256()
    for array in (counts, cross, gram):
        content.update(np.ascontiguousarray(array, "<i8").tobytes())
    return content.digest()


# --- the Gram matrix ------------------------------------------------------------------------------------------------


def _encode_gram(statistics: Statistics, levels: int) -> tuple[Integers, Integers, bytes]:
    """The matrix as the reader will have it, the quotients of all entries of the upper triangle, and their low bits."""
    gram = statistics.gram
    state = _state(statistics.counts, statistics.cross, np.diag(gram), levels)
    restored = np.diag(np.diag(gram))
    quotients: list[Integers] = [np.zeros(0, np.int64)]
    low_bits: list[bytes] = []
    for i in range(len(gram) - 1):
        predicted, unit = state.row(i), _unit(state, i, levels)
        steps = np.rint((gram[i, i + 1 :] - np.rint(predicted)) / unit).astype(np.int64)
        widths = _widths(state, i, unit)
        quotients.append(steps >> widths)
        low_bits.append(_pack_low(steps, widths))
        found = np.rint(np.rint(predicted) + steps * unit).astype(np.int64)
        restored[i, i + 1 :] = restored[i + 1 :, i] = found
        state.learn(i, found, predicted)
    return restored, np.concatenate(quotients), b"".join(low_bits)


def _decode_gram(
    known: tuple[Integers, Integers, Integers], quotients: Integers, low_bits: bytes, levels: int
) -> Integers:
    counts, _, diagonal = known
    most = float(LEVEL_MAX**2 * int(counts.sum()))
    state = _state(*known, levels)
    gram = np.diag(diagonal)
    bits = np.frombuffer(low_bits, np.uint8)
    entry = place = 0
    for i in range(len(diagonal) - 1):
        predicted, unit = state.row(i), _unit(state, i, levels)
        widths = _widths(state, i, unit)
        end = place + (int(widths.sum()) + 7) // 8
        if end > len(bits):
            raise BadContributionError(f"{FORMAT}: low bits end in row {i} of {len(diagonal)}")
        quotient = quotients[entry : entry + len(widths)]
        if (np.abs(quotient.astype(np.float64)) * (1 << widths) > 2.0**54).any():
            raise BadContributionError(f"{FORMAT}: an entry of row {i} is beyond any sum")
        steps = (quotient << widths) | _unpack_low(bits[place:end], widths)
        found = np.rint(np.rint(predicted) + steps * unit)
        if not (np.abs(found) <= most).all():
            raise BadContributionError(f"{FORMAT}: an entry of row {i} is beyond what {counts.sum()} samples can reach")
        gram[i, i + 1 :] = gram[i + 1 :, i] = found.astype(np.int64)
        state.learn(i, gram[i, i + 1 :], predicted)
        entry, place = entry + len(widths), end
    if place != len(bits):
        raise BadContributionError(f"{FORMAT}: {len(bits)} bytes of low bits, expected {place}")
    return gram


def _state(counts: Integers, cross: Integers, diagonal: Integers, levels: int) -> Predictor:
    return predictor(counts, cross, diagonal, damping_of(levels))


def _unit(state: Predictor, i: int, levels: int) -> NDArray[np.float64]:
    """What one step of row i means: 1, or a level of the two deviations; float64 [D - i - 1]."""
    scatter = state.scatter
    return np.sqrt(scatter[i] * scatter[i + 1 :]) / levels if levels else np.ones(len(scatter) - i - 1)


def _widths(state: Predictor, i: int, unit: NDArray[np.float64]) -> Integers:
    """How many low bits of each entry of row i are noise."""
    exponents = np.frexp(state.scale(i) * _NOISE_SHARE / unit)[1].astype(np.int64)
    result: Integers = np.clip(exponents - 1, 0, _WIDTH_MAX)
    return result


def _pack_low(steps: Integers, widths: Integers) -> bytes:
    """The lowest `widths` bits of each step, bit by bit, each over the entries that have it; a row ends with a byte."""
    parts = [(steps[widths > bit] >> bit) & 1 for bit in range(int(widths.max(initial=0)))]
    return np.packbits(np.concatenate(parts).astype(np.uint8)).tobytes() if parts else b""


def _unpack_low(packed: NDArray[np.uint8], widths: Integers) -> Integers:
    bits = np.unpackbits(packed, count=int(widths.sum())).astype(np.int64)
    low = np.zeros(len(widths), np.int64)
    place = 0
    for bit in range(int(widths.max(initial=0))):
        has = widths > bit
        end = place + int(has.sum())
        low[has] |= bits[place:end] << bit
        place = end
    return low
