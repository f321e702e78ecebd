"""Named arrays as one vector and back: the same place for the same number in every contribution. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError

# By name; float32 or float64.
Arrays = Mapping[str, NDArray[Any]]
Vector = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names in order and the shape of each."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """P, how many numbers."""
        return sum(map(math.prod, self.shapes))


def layout_of(arrays: Arrays) -> Layout:
    """The places of these arrays: by name, whatever order they came in."""
    names = tuple(sorted(arrays))
    return Layout(names=names, shapes=tuple(arrays[name].shape for name in names))


def flatten(layout: Layout, arrays: Arrays) -> Vector:
    """`arrays` as one vector [P]: float32 where all of them are, else float64.

    Raises:
        RefusedError: a name is missing or too many, or a shape or type is another one.
    """
    check_fit(layout, arrays)
    wide = any(arrays[name].dtype == np.float64 for name in layout.names)
    result = np.empty(layout.size, np.float64 if wide else np.float32)
    start = 0
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        end = start + math.prod(shape)
        result[start:end] = arrays[name].reshape(-1)
        start = end
    return result


def unflatten(layout: Layout, vector: Vector) -> dict[str, NDArray[Any]]:
    """The arrays in `vector` [P], as views of it."""
    result = {}
    start = 0
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        end = start + math.prod(shape)
        result[name] = vector[start:end].reshape(shape)
        start = end
    return result


def check_fit(layout: Layout, arrays: Arrays) -> None:
    """Whether these arrays have the names, shapes and types that are wanted.

    Raises:
        RefusedError: they do not.
    """
    missing, strange = sorted(set(layout.names) - set(arrays)), sorted(set(arrays) - set(layout.names))
    if missing or strange:
        raise RefusedError(f"arrays {missing[:4]} are missing and {strange[:4]} are not asked for")
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        found = arrays[name]
        if found.shape != shape or found.dtype not in (np.float32, np.float64):
            raise RefusedError(
                f"array {name}: {found.dtype} {list(found.shape)}, expected float32 or float64 {list(shape)}"
            )
