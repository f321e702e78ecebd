"""Keys of how a new model comes into force: beside the one that judges, then watched, then kept or taken back."""

from __future__ import annotations

from typing import Literal

from edge_agent.config.keys import Apply, Section, key


class Release(Section):
    """How a candidate that passed the gate comes into force (docs/learning.md, "Shadow run and probation")."""

    approval: Literal["automatic", "person"] = key(
        "automatic",
        "Whether a candidate whose shadow run is sound goes into force by itself, or waits for the command `model` "
        "with action confirm.",
        apply=Apply.LIVE,
    )
    shadow_parts: int = key(
        200,
        "Parts that a candidate judges beside the active model; 0 switches straight.",
        apply=Apply.LIVE,
        ge=0,
        le=10**6,
    )
    probation_parts: int = key(
        500,
        "Parts that it is watched for once it is in force; 0 keeps it at once.",
        apply=Apply.LIVE,
        ge=0,
        le=10**6,
    )
    wait_s: float = key(
        10.0,
        "A new head is tried on parts that are past; where there are not enough (after a start), it waits so long for "
        "more and goes into force as unproven. A new network waits for all of them.",
        apply=Apply.LIVE,
        ge=0,
        le=86_400,
    )
    differing_share: float = key(
        0.1,
        "Share of parts on which a candidate may say something else than the model before it. Differences that the "
        "sealed parts prove right come on top.",
        apply=Apply.LIVE,
        gt=0,
        le=1,
    )
    missed_share: float = key(
        0.5,
        "Share of the parts failed by the model before it that a candidate may pass.",
        apply=Apply.LIVE,
        gt=0,
        le=1,
    )
    crashes: int = key(
        2,
        "Ends of the inspect process without a farewell while a candidate was on probation that take it back, before "
        "it is loaded again.",
        apply=Apply.LIVE,
        ge=1,
        le=100,
    )
