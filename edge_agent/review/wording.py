"""What the page says of a sample, and which key means which class. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.clock import rfc3339
from edge_agent.records import HoldReason, KeepReason, Sample, Standing, Verdict

# h, n, s, u and z do other things on the page.
KEYS = "1234567890abcdefgijklmopqrtvwxy"
GOOD = "ok"

KEPT: Mapping[KeepReason, str] = {
    KeepReason.FAIL: "the verdict was FAIL",
    KeepReason.HOLD: "the model was not sure",
    KeepReason.NEAR_THRESHOLD: "its score is near the threshold",
    KeepReason.DIFFER: "a model on trial sees it differently",
    KeepReason.UNLIKE: "it is unlike what the model knows",
    KeepReason.RANDOM: "a random look at what passes",
    KeepReason.REQUEST: "somebody asked for it",
    KeepReason.IMPORT: "imported",
}
STANDING: Mapping[Standing, str] = {
    Standing.UNLABELLED: "not labelled",
    Standing.WAITING: "waits for a second opinion",
    Standing.DISPUTED: "disputed",
    Standing.LABELLED: "labelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A class button; `key` is empty where there are more classes than keys."""

    key: str
    label: str


def choices(classes: Sequence[str]) -> list[Choice]:
    """The buttons, in the order given."""
    keys = [*KEYS, *[""] * len(classes)]
    return [Choice(key=key, label=label) for key, label in zip(keys, classes, strict=False)]


def in_order(known: Iterable[str], shown: Sequence[str]) -> list[str]:
    """Classes as buttons: those shown before stay where they were, good parts come first, the rest by name."""
    fresh = sorted(set(known) - set(shown), key=lambda name: (name != GOOD, name.casefold()))
    return [name for name in shown if name in set(known)] + fresh


def kept_because(sample: Sample) -> str:
    """Why it was kept: the strongest reason first."""
    return ", ".join(KEPT[reason] for reason in sample.kept)


def model_said(sample: Sample) -> str:
    """The verdict in one line: `FAIL scratch`, `HOLD (unsure) ok`, or that no model has seen it."""
    if sample.verdict is None:
        return "no model has judged it"
    why = f" ({_reason(sample.reason)})" if sample.verdict is Verdict.HOLD and sample.reason else ""
    return f"{sample.verdict.value}{why}" + (f" {sample.label}" if sample.label else "")


def spoken(sample: Sample) -> str:
    """The picture for those who cannot see it: where it is from, what the model says and how sure it is."""
    words = [f"Picture from {sample.camera or 'an import'}"]
    if sample.part:
        words.append(f"part {sample.part}")
    words.append(f"model says {model_said(sample)}" if sample.verdict else model_said(sample))
    if sample.score is not None:
        words.append(f"defect score {sample.score:.2f}")
    if sample.where is not None:
        across = "left" if sample.where.x + sample.where.width / 2 < 0.5 else "right"
        down = "upper" if sample.where.y + sample.where.height / 2 < 0.5 else "lower"
        words.append(f"marked in the {down} {across}")
    return ", ".join(words)


def stands(sample: Sample) -> str:
    """What it counts as now."""
    return f"counts as {sample.truth}" if sample.truth is not None else STANDING[sample.standing]


def outcome(label: str, sample: Sample) -> str:
    """What a label led to."""
    return f"Labelled {label}." if sample.truth == label else f"Labelled {label}: {stands(sample)}."


def moment(utc_s: float) -> str:
    """`2026-11-24 09:58:42 UTC`; the page's script shows it in the browser's own zone."""
    return rfc3339(utc_s)[:19].replace("T", " ") + " UTC"


def day_start(text: str) -> float | None:
    """Seconds of the start (UTC) of a day written `2026-11-24`; None for anything else."""
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        return None
    return datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc).timestamp()


def _reason(reason: HoldReason) -> str:
    return reason.value.replace("-", " ")
