r"""The difference that training made to a network, as bytes: `edge-agent/delta/1`. Pure, numpy and zstd only.

    delta + residual --step = c rms, dead zone--> int8 --gaps and values, or the plane--> zstd --> bytes
            \------------- what the bytes do not say: the residual of the next round -------------/

Each tensor has its own step, since layers differ by orders of magnitude. What rounding leaves out is not lost but added
to the next delta (error feedback: Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019), on the way up by the
gateway and on the way down by the coordinator: over the rounds decoded + residual is what was learned.

Tensors go by name, float32. What averaging must not touch stays where it is (`is_shared`): counters, and everything of
normalisation layers, whose running statistics through a coarse codec cost 15 points (69 -> 54 %).

The layout is in docs/federated.md; readers take versions N and N - 1 (tests/federate/golden).
"""

from __future__ import annotations

import fnmatch
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadContributionError
from edge_agent.federate import packing

FORMAT = "edge-agent/delta/1"
# Steps of so many root mean squares: 1 is 15 times smaller than float32, 2 35 times, 4 140 times.
COARSENESS = 2.0
LEVEL_MAX = 127
# Below .65 of a step is nothing. Plain rounding (.5) sends more and says little more with it.
_ROUND_UP = 0.35
# No layer of a network that works moves by this much in a round.
VALUE_MAX = 1000.0
TENSORS_MAX, AXES_MAX, NAME_MAX_BYTES = 4096, 8, 255
ENTRIES_MAX = 64 * 1024 * 1024
DELTA_MAX_BYTES = 72 * 1024 * 1024
LOCAL = ("*running_mean", "*running_var", "*num_batches_tracked", "*bn*", "*norm*")
_PLANE, _GAPS = 0, 1
_GAP_MAX_BYTES = 5
# Total length, format; base; entries of all tensors, of them not zero, bytes of the gaps; tensors, form; lengths of the
# three sections: index, levels, gaps.
_HEADER = struct.Struct(f"<I{packing.FORMAT_BYTES}s32sQQQHH3I")

Floats = NDArray[np.float32]
Tensors = Mapping[str, Floats]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """What the last message left out. `base` is the digest of what that message was made against: only the delta that
    follows it may take it up.
    """

    base: str
    tensors: Tensors = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coded:
    """One tensor: `levels` int8 [n]; level 1 means `point` steps, any other level itself."""

    shape: tuple[int, ...]
    step: np.float32
    point: np.float32
    levels: NDArray[np.int8] = field(repr=False)


def is_shared(name: str, array: NDArray[Any], local: Sequence[str] = LOCAL) -> bool:
    """Whether a tensor takes part in averaging: floating point, and its name fits none of the patterns `local`."""
    return bool(np.issubdtype(array.dtype, np.floating)) and not any(
        fnmatch.fnmatchcase(name, pattern) for pattern in local
    )


def to_bytes(
    delta: Tensors, base: str, *, residual: Residual | None = None, parent: str = "", coarseness: float = COARSENESS
) -> tuple[bytes, Residual]:
    """The message of `delta`, made against `base`, and what it leaves out. `parent` is the base before `base`.

    Write both in one transaction: a message that is sent with the residual of another loses or repeats what it says.

    Raises:
        BadContributionError: numbers that are not finite or huge, other tensors than the residual's, or a residual that
            does not follow `parent`; go on without it then.
    """
    if residual is not None and residual.base != parent:
        raise BadContributionError(
            f"{FORMAT}: the residual is of base {residual.base[:12]}, the delta follows {parent[:12]}; go on without it"
        )
    learned = {name: _plus(name, delta[name], residual) for name in sorted(delta)}
    coded = {name: _coded(array, coarseness) for name, array in learned.items()}
    left = {name: learned[name] - _values(tensor) for name, tensor in coded.items()}
    return _packed(coded, base), Residual(base=base, tensors=left)


def from_bytes(content: bytes, shapes: Shapes, *, base: str, limit_bytes: int = DELTA_MAX_BYTES) -> dict[str, Floats]:
    """The delta in `content`: float32 by name. `shapes` are the tensors that may be in it; it need not have them all.

    At most one byte an entry is decoded, and five for each that is not zero, after the tensors were found to be those
    of `shapes`.

    Raises:
        BadContributionError: truncated, altered, hostile, of another format or base, or other tensors than the model's.
    """
    fields = packing.unpack_header(_HEADER, FORMAT, content, min(limit_bytes, DELTA_MAX_BYTES))
    made_against, *numbers = fields
    entries, present, gap_bytes, tensors, form, *lengths = (int(number) for number in numbers)
    if made_against != bytes.fromhex(base):
        raise BadContributionError(f"{FORMAT}: made against another base than {base[:12]}; get the round's model first")
    if entries > ENTRIES_MAX or present > entries or gap_bytes > _GAP_MAX_BYTES * present or tensors > TENSORS_MAX:
        raise BadContributionError(
            f"{FORMAT}: {tensors} tensors of {entries} entries, {present} not zero, {gap_bytes} bytes of gaps; "
            f"expected at most {TENSORS_MAX}, {ENTRIES_MAX}, as many, and {_GAP_MAX_BYTES} bytes a gap"
        )
    index, levels_frame, gaps_frame = packing.cut(content, _HEADER.size, lengths, FORMAT)
    slots = _read_index(index, tensors, shapes)
    if sum(slot.size for slot in slots) != entries:
        raise BadContributionError(f"{FORMAT}: tensors of {sum(slot.size for slot in slots)} entries, header {entries}")
    if form == _PLANE:
        levels = np.frombuffer(packing.inflate(levels_frame, entries, f"{FORMAT}: levels"), np.int8)
    elif form == _GAPS:
        values = np.frombuffer(packing.inflate(levels_frame, present, f"{FORMAT}: levels"), np.int8)
        gaps = packing.inflate(gaps_frame, gap_bytes, f"{FORMAT}: gaps")
        levels = _scattered(values, np.frombuffer(gaps, np.uint8), entries)
    else:
        raise BadContributionError(f"{FORMAT}: form {form}, expected {_PLANE} (plane) or {_GAPS} (gaps)")
    if np.count_nonzero(levels) != present or (levels == -LEVEL_MAX - 1).any():
        raise BadContributionError(f"{FORMAT}: {np.count_nonzero(levels)} levels not zero, header {present}; or -128")
    return _cut_up(slots, levels)


# --- levels ---------------------------------------------------------------------------------------------------------


def _plus(name: str, array: Floats, residual: Residual | None) -> Floats:
    if array.dtype != np.float32 or not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > VALUE_MAX:
        raise BadContributionError(
            f"{FORMAT}: tensor {name} is {array.dtype} {array.shape} with NaN, infinity or more than {VALUE_MAX}; "
            "expected finite float32; training went astray, start it again"
        )
    if residual is None:
        return array
    left = residual.tensors.get(name)
    if left is None or left.shape != array.shape:
        raise BadContributionError(
            f"{FORMAT}: tensor {name} {array.shape}, its residual {None if left is None else left.shape}; go on without"
        )
    return array + left


def _coded(array: Floats, coarseness: float) -> _Coded:
    flat = array.ravel()
    mean_square = float(np.mean(np.square(flat), dtype=np.float64)) if flat.size else 0.0
    step = np.float32(coarseness * math.sqrt(mean_square))
    if not step > 0:
        return _Coded(shape=array.shape, step=np.float32(0), point=np.float32(1), levels=np.zeros(flat.size, np.int8))
    ratio = np.abs(flat) / step
    size = np.minimum(np.floor(ratio + np.float32(_ROUND_UP)), LEVEL_MAX)
    once = size == 1
    point = np.float32(np.mean(ratio[once], dtype=np.float64)) if once.any() else np.float32(1)
    return _Coded(shape=array.shape, step=step, point=point, levels=np.copysign(size, flat).astype(np.int8))


def _values(tensor: _Coded) -> Floats:
    """float32, as every reader computes it: a table of 255 values, so that it is the same everywhere."""
    table = np.arange(-LEVEL_MAX - 1, LEVEL_MAX + 1, dtype=np.float32)
    table[[LEVEL_MAX, LEVEL_MAX + 2]] = -tensor.point, tensor.point
    result: Floats = (table * tensor.step)[tensor.levels.astype(np.intp) + LEVEL_MAX + 1].reshape(tensor.shape)
    return result


# --- bytes ----------------------------------------------------------------------------------------------------------


def _packed(coded: Mapping[str, _Coded], base: str) -> bytes:
    levels = np.concatenate([np.zeros(0, np.int8), *(tensor.levels for tensor in coded.values())])
    places = np.flatnonzero(levels)
    gaps = _varints(np.diff(places, prepend=-1) - 1)
    plane = packing.squeeze(levels.tobytes())
    values, spaces = packing.squeeze(levels[places].tobytes()), packing.squeeze(gaps)
    form, sections = (_GAPS, (values, spaces)) if len(values) + len(spaces) < len(plane) else (_PLANE, (plane, b""))
    index = b"".join(_index_entry(name, tensor) for name, tensor in coded.items())
    lengths = [len(index), *map(len, sections)]
    header = packing.pack_header(
        _HEADER,
        FORMAT,
        _HEADER.size + sum(lengths),
        bytes.fromhex(base),
        len(levels),
        len(places),
        len(gaps),
        len(coded),
        form,
        *lengths,
    )
    return header + index + b"".join(sections)


def _index_entry(name: str, tensor: _Coded) -> bytes:
    text, axes = name.encode(), len(tensor.shape)
    if len(text) > NAME_MAX_BYTES or axes > AXES_MAX:
        raise BadContributionError(f"{FORMAT}: tensor {name[:80]} has {axes} axes, at most {AXES_MAX}; or a long name")
    return struct.pack(
        f"<B{len(text)}sB{axes}Iff", len(text), text, axes, *tensor.shape, float(tensor.step), float(tensor.point)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    name: str
    shape: tuple[int, ...]
    step: float
    point: float

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _read_index(index: bytes, tensors: int, shapes: Shapes) -> list[_Slot]:
    slots: list[_Slot] = []
    place = 0
    try:
        for _ in range(tensors):
            (length,) = struct.unpack_from("<B", index, place)
            text, axes = struct.unpack_from(f"<{length}sB", index, place + 1)
            place += length + 2
            if axes > AXES_MAX:
                raise BadContributionError(f"{FORMAT}: a tensor of {axes} axes, at most {AXES_MAX}")
            *shape, step, point = struct.unpack_from(f"<{axes}Iff", index, place)
            place += 4 * axes + 8
            slots.append(_checked(_Slot(name=text.decode(), shape=tuple(shape), step=step, point=point), slots, shapes))
    except (struct.error, UnicodeDecodeError) as error:
        raise BadContributionError(
            f"{FORMAT}: the index of tensors is damaged after {place} bytes ({error})"
        ) from error
    if place != len(index):
        raise BadContributionError(f"{FORMAT}: an index of {len(index)} bytes, its {tensors} tensors end at {place}")
    return slots


def _checked(slot: _Slot, before: Sequence[_Slot], shapes: Shapes) -> _Slot:
    if slot.shape != shapes.get(slot.name):
        raise BadContributionError(
            f"{FORMAT}: tensor {slot.name[:80]!r} of shape {slot.shape}, the model has {shapes.get(slot.name)}"
        )
    if before and slot.name <= before[-1].name:
        raise BadContributionError(f"{FORMAT}: tensor {slot.name[:80]!r} twice or out of order")
    if not 0 <= slot.step * LEVEL_MAX <= VALUE_MAX * LEVEL_MAX or not 0.5 <= slot.point <= 2:
        raise BadContributionError(
            f"{FORMAT}: tensor {slot.name[:80]!r} with step {slot.step} and point {slot.point}, "
            f"expected 0 to {VALUE_MAX} and .5 to 2"
        )
    return slot


def _cut_up(slots: Sequence[_Slot], levels: NDArray[np.int8]) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    place = 0
    for slot in slots:
        part = levels[place : place + slot.size]
        place += slot.size
        largest = float(np.abs(part.astype(np.int16)).max(initial=0)) * slot.step
        if largest > VALUE_MAX * 2:
            raise BadContributionError(f"{FORMAT}: tensor {slot.name!r} moves by {largest:.3g}, at most {VALUE_MAX}")
        found[slot.name] = _values(
            _Coded(shape=slot.shape, step=np.float32(slot.step), point=np.float32(slot.point), levels=part)
        )
    return found


def _varints(numbers: NDArray[np.intp]) -> bytes:
    """LEB128 of numbers from 0 to below 2^35: seven bits a byte, the lowest first, the top bit set if more follow."""
    number = numbers.astype(np.uint64)
    parts = [((number >> np.uint64(7 * place)) & np.uint64(127)).astype(np.uint8) for place in range(_GAP_MAX_BYTES)]
    lengths = 1 + sum((number >> np.uint64(7 * place) > 0).astype(np.intp) for place in range(1, _GAP_MAX_BYTES))
    table = np.stack(parts, axis=1)
    places = np.arange(_GAP_MAX_BYTES)
    table |= np.where(places < lengths[:, None] - 1, 128, 0).astype(np.uint8)
    used: NDArray[np.uint8] = table[places < lengths[:, None]]
    return used.tobytes()


def _scattered(values: NDArray[np.int8], gaps: NDArray[np.uint8], entries: int) -> NDArray[np.int8]:
    """The plane of all levels from those that are not zero and the gaps before them."""
    ends = np.flatnonzero(gaps < 128)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if len(ends) != len(values) or (len(gaps) and ends[-1:].tolist() != [len(gaps) - 1]):
        raise BadContributionError(f"{FORMAT}: {len(ends)} gaps for {len(values)} levels, or the last one is cut off")
    if lengths.max(initial=0) > _GAP_MAX_BYTES:
        raise BadContributionError(f"{FORMAT}: a gap of {lengths.max()} bytes, at most {_GAP_MAX_BYTES}")
    plane = np.zeros(entries, np.int8)
    if not len(values):
        return plane
    shifts = 7 * (np.arange(len(gaps)) - np.repeat(starts, lengths))
    gap = np.add.reduceat((gaps & 127).astype(np.int64) << shifts, starts)
    places = np.cumsum(gap + 1) - 1
    if int(places[-1]) >= entries:
        raise BadContributionError(f"{FORMAT}: a level at entry {places[-1]} of {entries}")
    plane[places] = values
    return plane
