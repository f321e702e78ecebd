"""A drift in words: what rose or fell, from where to where, since when, and what did not. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from edge_agent.learn.drift import SIGN_OF, SUSPECT, Cause, Charts, Sign, evidence
from edge_agent.learn.drift_chart import BATCH, Chart


def _grey(level: float) -> str:
    return f"{2.0**level - 1.0:.0f}"


def _share(level: float) -> str:
    return f"{level:.1%}"


def _octaves(level: float) -> str:
    return f"{level:.2f}"


def _pixels(level: float) -> str:
    return f"{round(level, 1) + 0.0:+.1f} px"  # no -0.0


# Channel -> what it is called, and its level as a person reads it.
WORDS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "scene_light": ("brightness of what is fixed", _grey),
    "light": ("brightness", _grey),
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
NOUNS: Mapping[Sign, str] = {
    Sign.FIXED_LIGHT: "light",
    Sign.PLACE: "place",
    Sign.LIGHT: "brightness",
    Sign.FOCUS: "sharpness",
    Sign.FEATURES: "features",
    Sign.LABELS: "labels",
    Sign.VERDICTS: "verdicts",
}


def say(cause: Cause, charts: Charts) -> str:
    """The finding in one line: the cause's own numbers first, then what else moved, then what did not."""
    signs = evidence(cause, charts)
    moved = sorted((name for name, chart in charts.items() if chart.strength >= SUSPECT), key=_strength_in(charts))
    own = [name for name in moved if SIGN_OF[name] in signs] or moved
    beside = [name for name in moved if name not in own]
    pictures = max((charts[name].batches for name in own), default=0) * BATCH
    text = ", ".join(_change(name, charts[name]) for name in own) + f" over {pictures:,} pictures"
    if beside:
        text += "; with it " + ", ".join(_change(name, charts[name]) for name in beside)
    still = {SIGN_OF[name] for name in charts} - {SIGN_OF[name] for name in moved}
    nouns = ", ".join(noun for sign, noun in NOUNS.items() if sign in still)
    return text + (f"; unchanged: {nouns}" if nouns else "")


def _strength_in(charts: Charts) -> Callable[[str], float]:
    return lambda name: -charts[name].strength


def _change(name: str, chart: Chart) -> str:
    noun, words = WORDS[name]
    return f"{noun} {words(chart.centre)} -> {words(chart.now)}"
