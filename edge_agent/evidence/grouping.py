"""Which physical thing a sample shows, and whether that thing belongs to the sealed hold-out. Pure.

part named by the trigger  -> part:ID            the same part is the same group at every camera and in every year
batch from an import       -> batch:PLANT/GROUP
nothing is known           -> time:CAMERA:BLOCK  what a camera saw within one block of time
imported without a group   -> picture:SHA256     with the few that look like it (`kin`), else by itself

A part photographed twice, once learned from and once tested on, would make every test flattering: so whole groups are
sealed or none of a group is. The store keeps the first answer for a group for ever, whatever the share becomes later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edge_agent.records import Inspection

UNGROUPED = "picture:"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRules:
    """`share` 0 to 1 of all groups is sealed. `seed` is the site's: gateways of one plant seal the same parts."""

    seed: str = ""
    share: float = 0.2
    block_s: float = 600.0


def group_of(inspection: Inspection, rules: SealRules) -> str:
    """The group of what a camera saw."""
    if inspection.part is not None:
        return f"part:{inspection.part}"
    return f"time:{inspection.camera}:{int(inspection.captured_utc_s // rules.block_s)}"


def group_of_import(plant: str | None, group: str | None, digest: str) -> str:
    """The group of an imported picture; `digest` is the sha256 (hex) of its bytes."""
    if group:
        return f"batch:{plant or ''}/{group}"
    return f"{UNGROUPED}{digest}"


def is_sealed(group: str, rules: SealRules) -> bool:
    """Whether a group that was never seen before is set aside: a hash decides, so nobody can choose."""
    digest = hashlib.sha256(f"{rules.seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < rules.share * 2**64
