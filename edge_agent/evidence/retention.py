"""Who has to go when space runs out: the least useful class first, in it the oldest. Pure.

usefulness   who                                                     goes
0            PASS kept at random                                     first
1            near the threshold, or unlike what the model knows
2            FAIL, HOLD, asked for
3            waiting for a second opinion, or disputed
4            labelled                                                last
9            legal hold; a class that is never deleted; a sealed     never
             sample that people have spoken of
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from edge_agent.records import KeepReason, Sample, Standing

# Below the limit by so much after an eviction, so that a full store does not evict for every picture.
EVICT_TO = 0.95


class Usefulness(enum.IntEnum):
    """Sorts from what goes first to what never goes; stored as these numbers."""

    ORDINARY = 0
    UNCERTAIN = 1
    SUSPECT = 2
    SPOKEN_OF = 3
    LABELLED = 4
    PROTECTED = 9


_BY_REASON = {
    KeepReason.RANDOM: Usefulness.ORDINARY,
    KeepReason.NEAR_THRESHOLD: Usefulness.UNCERTAIN,
    KeepReason.UNLIKE: Usefulness.UNCERTAIN,
    KeepReason.DIFFER: Usefulness.SUSPECT,
    KeepReason.FAIL: Usefulness.SUSPECT,
    KeepReason.HOLD: Usefulness.SUSPECT,
    KeepReason.REQUEST: Usefulness.SUSPECT,
    KeepReason.IMPORT: Usefulness.SUSPECT,
}


def usefulness(sample: Sample, never_delete: Collection[str]) -> Usefulness:
    """The class of a sample. Those of the labels in `never_delete` stay, by truth or else by the model's word."""
    spoken_of = sample.standing is not Standing.UNLABELLED
    if sample.legal_hold or (sample.sealed and spoken_of) or (sample.truth or sample.label) in never_delete:
        return Usefulness.PROTECTED
    if sample.standing is Standing.LABELLED:
        return Usefulness.LABELLED
    if spoken_of:
        return Usefulness.SPOKEN_OF
    return max((_BY_REASON[reason] for reason in sample.kept), default=Usefulness.ORDINARY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """`limit_bytes` for all pictures together; `floor_bytes` of the disk stay free, whoever fills it."""

    limit_bytes: int = 4 * 1024**3
    floor_bytes: int = 1024**3


@dataclass(frozen=True, slots=True)
class Surplus:
    """What has to go before more may be written: `must` at least, `wanted` (not less) so that there is air after it."""

    must: int
    wanted: int


def surplus_bytes(kept_bytes: int, coming_bytes: int, free_bytes: int, bounds: Bounds) -> Surplus:
    """How much has to go before `coming_bytes` may be written; nothing when there is room."""
    must = max(0, kept_bytes + coming_bytes - bounds.limit_bytes, bounds.floor_bytes + coming_bytes - free_bytes)
    aired = kept_bytes + coming_bytes - int(bounds.limit_bytes * EVICT_TO)
    return Surplus(must=must, wanted=max(must, aired) if must else 0)


@dataclass(frozen=True, slots=True)
class Dispensable:
    """A row that may go."""

    id: str
    size_bytes: int


def choose(in_order: Iterable[Dispensable], surplus: int) -> tuple[list[Dispensable], int]:
    """Who goes so that `surplus` bytes are gained, and how many they bring."""
    chosen, gained = [], 0
    for row in in_order:
        if gained >= surplus:
            break
        chosen.append(row)
        gained += row.size_bytes
    return chosen, gained
