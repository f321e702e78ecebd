"""A drift in words: what rose or fell, from where to where, since when, and what did not. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edge_agent.learn.drift import CAUSE_OF, SUSPECT, Cause, Charts
from edge_agent.learn.drift_chart import BATCH, Chart


def _share(level: float) -> str:
    return f"{level:.1%}"


def _octaves(level: float) -> str:
    return f"{level:.2f}"


def _pixels(level: float) -> str:
    return f"{level:+.1f} px"


# Channel -> what it is called, and its level as a person reads it.
WORDS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "light": ("brightness", lambda level: f"{2.0**level - 1.0:.0f}"),
    "burnt": ("burnt out share", _share),
    "fineness": ("sharpness", _octaves),
    "coarse_fineness": ("sharpness at half size", _octaves),
    "detail": ("fine detail", _octaves),
    "right_px": ("place to the right", _pixels),
    "down_px": ("place downwards", _pixels),
    "distance": ("distance of the features", lambda level: f"{2.0**level:.1f}"),
    "score": ("score", lambda level: f"{1.0 / (1.0 + math.exp(-level)):.3f}"),
    "fails": ("share of FAIL", _share),
    "holds": ("share of HOLD", _share),
    "rarity": ("rarity of labels in bits", _octaves),
}
NOUNS: Mapping[Cause, str] = {
    Cause.LIGHT: "light",
    Cause.FOCUS: "sharpness",
    Cause.MOVED: "place",
    Cause.PRODUCT: "features",
    Cause.MODEL: "verdicts",
}


def say(cause: Cause, charts: Charts) -> str:
    """The finding in one line: the cause's own numbers first, then what else moved, then what did not."""
    moved = sorted(
        (name for name, chart in charts.items() if chart.strength >= SUSPECT),
        key=lambda name: (CAUSE_OF[name] is not cause, -charts[name].strength),
    )
    own = [name for name in moved if CAUSE_OF[name] is cause]
    beside = [name for name in moved if CAUSE_OF[name] is not cause]
    pictures = max((charts[name].batches for name in own or beside), default=0) * BATCH
    text = ", ".join(_change(name, charts[name]) for name in own or beside)
    text += f" over {pictures:,} pictures"
    if own and beside:
        text += "; with it " + ", ".join(_change(name, charts[name]) for name in beside)
    still = [noun for other, noun in NOUNS.items() if other in _charted(charts) - {CAUSE_OF[name] for name in moved}]
    return text + (f"; unchanged: {', '.join(still)}" if still else "")


def _change(name: str, chart: Chart) -> str:
    noun, words = WORDS[name]
    return f"{noun} {words(chart.centre)} -> {words(chart.now)}"


def _charted(charts: Charts) -> set[Cause]:
    return {CAUSE_OF[name] for name in charts}
