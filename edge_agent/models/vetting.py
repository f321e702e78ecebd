"""What both sides of vetting know: the parent that asks (vet.py) and the rules the child applies (rules.py). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.errors import BadBundleError

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VetLimits:
    """What a model may be and cost. The default encoder has 290 nodes, 3.3 MB, and 86 MB of activations at 224 px.

    `activation_bytes` bounds the sum over all intermediate tensors, as the file's static shapes give it.
    `address_space_bytes` and the two times bound the child; the default encoder passes with 512 MiB and 0.3 s.
    """

    file_bytes: int = 128 * _MIB
    nodes: int = 4096
    activation_bytes: int = 768 * _MIB
    address_space_bytes: int = 2048 * _MIB
    cpu_s: int = 30
    wall_s: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class VetReport:
    """What the file is, as the child found it: `input_px` of the picture [h, w, 3], the shape of each output by name.

    An output whose size depends on the picture is given with None for that size.
    """

    nodes: int
    initialiser_bytes: int
    activation_bytes: int
    input_px: tuple[int, int]
    outputs: Mapping[str, tuple[int | None, ...]]


def require_size(size_bytes: int, limits: VetLimits) -> None:
    """Length first.

    Raises:
        BadBundleError: empty or too long.
    """
    if not 0 < size_bytes <= limits.file_bytes:
        raise BadBundleError(f"model: file of {size_bytes} bytes, expected 1 to {limits.file_bytes}")
