"""The arrays of a bundle in safetensors files: head, feature code, golden pictures and vectors, golden scores.

safetensors checks offsets and lengths; it lets NaN, infinity and any shape through, so those are checked here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.learn import unknown
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.head import LinearHead, from_arrays, probabilities, to_arrays
from edge_agent.learn.unknown import Familiar

# A golden set shows that a device computes the same; it is no test set. Three pictures of 224 x 224 are 450 KiB.
GOLDEN_MAX = 16
_PICTURES = "pictures"
_VECTOR = "vector."
_OFFSET, _STEP = "offset", "step"
_ABOUT = "about"

Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Pictures uint8 [n, h, w, 3] BGR, and per flavour the vectors float32 [n, D] that its encoder must give."""

    pictures: NDArray[np.uint8] = field(repr=False)
    vectors: Vectors = field(repr=False)


def golden_to_bytes(golden: Golden) -> bytes:
    """The golden file: the same bytes for the same arrays."""
    tensors: dict[str, NDArray[Any]] = {_PICTURES: golden.pictures}
    tensors |= {_VECTOR + flavour: vectors for flavour, vectors in golden.vectors.items()}
    return save(tensors)


def golden_from_bytes(content: bytes, *, input_px: tuple[int, int], dimension: int, flavours: set[str]) -> Golden:
    """Parse and check a golden file against its manifest.

    Raises:
        BadBundleError: damaged, or a missing array, another dtype or shape, NaN or infinity.
    """
    tensors = load(content, "golden")
    pictures = array_of(tensors, _PICTURES, np.dtype(np.uint8), (None, *input_px, 3), "golden")
    count = pictures.shape[0]
    if not 1 <= count <= GOLDEN_MAX:
        raise BadBundleError(f"golden: {count} pictures, expected 1 to {GOLDEN_MAX}")
    float32 = np.dtype(np.float32)
    vectors = {
        name: array_of(tensors, _VECTOR + name, float32, (count, dimension), "golden") for name in sorted(flavours)
    }
    return Golden(pictures=pictures, vectors=vectors)


def scores_of(head: LinearHead, golden: Golden) -> dict[str, NDArray[np.float32]]:
    """Per flavour the class probabilities float32 [n, C] that the head gives for the golden vectors."""
    return {flavour: probabilities(head, vectors) for flavour, vectors in golden.vectors.items()}


def scores_to_bytes(scores: Vectors) -> bytes:
    """The file of golden scores."""
    return save(scores)


def scores_from_bytes(content: bytes, *, classes: int, flavours: set[str]) -> dict[str, NDArray[np.float32]]:
    """Parse and check a file of golden scores.

    Raises:
        BadBundleError: damaged, or a missing array, another dtype or shape, NaN or infinity.
    """
    tensors = load(content, "scores")
    shape = (None, classes)
    return {name: array_of(tensors, name, np.dtype(np.float32), shape, "scores") for name in sorted(flavours)}


def code_to_bytes(code: FeatureCode) -> bytes:
    """The file of a feature code: the same bytes for the same code."""
    return save({_OFFSET: code.offset, _STEP: code.step})


def code_from_bytes(content: bytes, *, dimension: int) -> FeatureCode:
    """Parse and check a file of a feature code.

    Raises:
        BadBundleError: damaged, of another dimension, NaN or infinity, or a step that is not positive.
    """
    tensors = load(content, "code")
    float32 = np.dtype(np.float32)
    offset, step = (array_of(tensors, name, float32, (dimension,), "code") for name in (_OFFSET, _STEP))
    try:
        return FeatureCode(offset=offset, step=step)
    except RefusedError as error:
        raise BadBundleError(f"code: {error}") from error


def head_to_bytes(head: LinearHead) -> bytes:
    """The head file: the same bytes for the same head."""
    tensors, about = to_arrays(head)
    # safetensors 0.8 writes several entries in an order of chance; one entry has no order.
    return save(tensors, {_ABOUT: json.dumps(about, sort_keys=True)})


def head_from_bytes(content: bytes, *, dimension: int) -> LinearHead:
    """Parse and check a head file.

    Raises:
        BadBundleError: damaged, of another dimension, or with contents that a head may not have.
    """
    head = from_arrays(load(content, "head"), _about(content))
    if head.dimension != dimension:
        raise BadBundleError(f"head: made for {head.dimension} features, the encoder gives {dimension}")
    return head


def familiar_to_bytes(familiar: Familiar) -> bytes:
    """The file of what a head's samples look like: the same bytes for the same."""
    tensors, about = unknown.to_arrays(familiar)
    return save(tensors, {_ABOUT: json.dumps(about, sort_keys=True)})


def familiar_from_bytes(content: bytes, *, dimension: int) -> Familiar:
    """Parse and check such a file.

    Raises:
        BadBundleError: damaged, of another dimension, NaN or infinity.
    """
    familiar = unknown.from_arrays(load(content, "familiar"), _about(content))
    if len(familiar.mean) != dimension:
        raise BadBundleError(f"familiar: made for {len(familiar.mean)} features, the encoder gives {dimension}")
    return familiar


def save(tensors: Vectors | Mapping[str, NDArray[Any]], about: dict[str, str] | None = None) -> bytes:
    """A safetensors file: the same bytes for the same arrays."""
    # safetensors 0.8 writes memory as it lies: an array in column order would come back scrambled.
    rows = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return safetensors.numpy.save(rows, metadata=about)


def load(content: bytes, what: str) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, which nobody has checked yet.

    Raises:
        BadBundleError: it is none.
    """
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadBundleError(f"{what}: not a safetensors file of plain arrays ({error})") from error
    return tensors


def _about(content: bytes) -> dict[str, str]:
    """What a head file says of itself, {} where it says nothing; the file's header has been checked before."""
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    try:
        about = json.loads(metadata.get(_ABOUT, "{}"))
    except (ValueError, RecursionError) as error:
        raise BadBundleError(f"head: damaged description ({error})") from error
    return about if isinstance(about, dict) else {}


def array_of(
    tensors: Mapping[str, NDArray[Any]],
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int | None, ...],
    what: str,
) -> NDArray[Any]:
    """The array `name`, of this dtype and shape (None: any), all finite.

    Raises:
        BadBundleError: it is missing, of another dtype or shape, or holds NaN or infinity.
    """
    array = tensors.get(name)
    if array is None:
        raise BadBundleError(f"{what}: {name} is missing, found {sorted(tensors)[:8]}")
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        wanted = ["n" if size is None else size for size in shape]
        raise BadBundleError(f"{what}: {name} is {array.dtype} {list(array.shape)}, expected {dtype} {wanted}")
    if not np.isfinite(array).all():
        raise BadBundleError(f"{what}: {name} holds NaN or infinity")
    return array
