"""Keys of the evidence store: which pictures are kept for labels, for how long, and what is set aside."""

from __future__ import annotations

from typing import Literal

from edge_agent.config.keys import Apply, Section, key
from edge_agent.config.texts import Word

MIB = 1024 * 1024

KEPT = ("fail", "hold", "near-threshold", "differ", "unlike", "random", "request")
Kept = Literal["fail", "hold", "near-threshold", "differ", "unlike", "random", "request"]
# Those with a picture that shows something; docs/evidence.md says which of them teach.
HoldWord = Literal["unsure", "learning", "model", "dark", "overexposed", "blurred", "moved", "late", "recipe"]


class Keeping(Section):
    """Which pictures of a camera are kept. A key that is not here is as in `evidence`."""

    keep: tuple[Kept, ...] = key(
        KEPT,
        "What is worth keeping; [] keeps nothing. FAIL and HOLD, scores near the threshold, what a model on trial sees "
        "differently, what is unlike anything the model knows, a random few PASS, what a person asks for.",
        apply=Apply.LIVE,
        max_length=len(KEPT),
    )
    hold_reasons: tuple[HoldWord, ...] = key(
        ("unsure",), "Which HOLDs `hold` means.", apply=Apply.LIVE, example=("unsure", "learning"), max_length=9
    )
    near_threshold: float = key(0.1, "How near a score is near the threshold.", apply=Apply.LIVE, ge=0, le=1)
    unlike_from: float = key(
        1.0,
        "From how far outside what the model knows a picture is unlike it; 1 is the limit that the model itself sets.",
        apply=Apply.LIVE,
        ge=0,
        le=1000,
    )
    pass_share: float = key(0.005, "Share of PASS that is kept at random.", apply=Apply.LIVE, ge=0, le=1)
    per_hour: int = key(
        120,
        "Pictures an hour at most, for each reason; what is asked for always fits.",
        apply=Apply.LIVE,
        ge=1,
        le=10_000,
    )
    alike_bits: int | None = key(
        4,
        "Of two pictures with the same finding whose fingerprints differ in at most so many of 64 bits, the second is "
        "not kept; null keeps every one.",
        apply=Apply.LIVE,
        ge=0,
        le=32,
    )
    format: Literal["jpeg", "png"] = key(
        "jpeg",
        "How pictures are kept: `jpeg` (quality 95) or `png` (every pixel, several times the space).",
        apply=Apply.LIVE,
    )


class Evidence(Keeping):
    """Pictures kept for labels and learning, on this disk only. A camera may repeat the keys up to `format`."""

    limit_bytes: int = key(
        4096 * MIB,
        "Space for all pictures; beyond it the least useful and oldest go.",
        apply=Apply.RESTART,
        ge=MIB,
        le=16 * 1024 * 1024 * MIB,
    )
    min_free_bytes: int = key(
        1024 * MIB,
        "So much of the disk stays free, whoever fills it: pictures go before it is touched.",
        apply=Apply.RESTART,
        ge=0,
        le=1024 * 1024 * MIB,
    )
    never_delete: tuple[Word, ...] = key(
        (),
        "Classes whose pictures are never deleted for space.",
        apply=Apply.RESTART,
        example=("crack",),
        max_length=256,
    )
    sealed_share: float = key(
        0.2,
        "Share of all parts (batches, blocks of time) that is set aside to test models on and never learned from. What "
        "was decided for a part stays.",
        apply=Apply.RESTART,
        ge=0,
        le=0.9,
    )
    group_minutes: float = key(
        10.0,
        "Where no trigger names the part, what a camera saw within such a block of time is taken for one thing.",
        apply=Apply.RESTART,
        ge=0.1,
        le=1440,
    )
    opinions: Literal[1, 2] = key(1, "How many people must say the same before a label counts.", apply=Apply.RESTART)
