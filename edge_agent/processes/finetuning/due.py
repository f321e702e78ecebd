"""Is a fine-tuning run of a model due, gone on with, or begun anew? Pure: rules and situation in, a step out.

no order   off, too few labels, nothing new, too soon, window closed -> REST     else, or asked for -> BEGIN
an order   window open, or asked for -> RESUME      window closed, budget of tonight spent -> REST
           another encoder is active, labels changed a lot -> as without an order; what was trained is dropped (DROP)
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.models.finetune.budget import Window

# More changed, withdrawn or added labels than this share of those that a run was begun with: what it learned until now
# rests on other grounds, and going on would train on labels that nobody holds any more.
CHANGED_SHARE = 0.2
CLASSES_MIN = 2
PER_CLASS_MIN = 2
FAILURES_MAX = 3
DAY_S = 86_400.0


class Step(str, enum.Enum):
    REST = "rest"  # nothing now; an order that there is stays
    BEGIN = "begin"  # a new run; an order that there is goes
    RESUME = "resume"  # the order goes on
    DROP = "drop"  # the order goes, and nothing is begun now


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the configuration says. `window` None: always."""

    enabled: bool
    window: Window | None
    every_days: float
    min_labels: int
    min_new_labels: int
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A run that was begun and has not ended. `labels`: sample -> class, as it was begun with. `asked`: a person wanted
    it now, so it waits for no window. `night` names the night that `cpu_s` was spent and `failed` happened in.
    """

    model: str
    base: str
    asked: bool
    by: str
    begun_utc_s: float
    labels: Mapping[str, str] = field(repr=False)
    night: str = ""
    cpu_s: float = 0.0
    failed: bool = False
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How things stand for one model. `moment` is local time with its zone; `base` the hash of the active float
    encoder; `labels`: sample -> class, of the open side; `said_utc_s`: sample -> when that was said; `last_begun_utc_s`
    when the last run that ended was begun. `busy` says why no candidate is wanted now, empty when one is.
    """

    moment: datetime.datetime
    base: str
    labels: Mapping[str, str] = field(repr=False)
    said_utc_s: Mapping[str, float] = field(repr=False)
    order: Order | None = None
    last_begun_utc_s: float | None = None
    asked: bool = False
    busy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do and why. `opens_utc_s`: when the window opens next, where that is what is waited for."""

    step: Step
    reason: str
    opens_utc_s: float | None = None


def decide(rules: Rules, situation: Situation) -> Decision:
    """What to do about this model now."""
    order = situation.order
    if order is None:
        return _begun(rules, situation)
    stale = stale_reason(order, situation)
    if stale:
        fresh = _begun(rules, situation)
        if fresh.step is Step.BEGIN:
            return Decision(step=Step.BEGIN, reason=f"{stale}: begun anew")
        return Decision(step=Step.DROP, reason=f"{stale}: what was trained is dropped; {fresh.reason}")
    tonight = order.night == night_of(rules.window, situation.moment)
    if tonight and order.cpu_s >= rules.cpu_s:
        return _closed(rules.window, situation.moment, f"tonight's {rules.cpu_s:.0f} s of CPU time are spent")
    if situation.asked or order.asked:
        return Decision(step=Step.RESUME, reason="a person started it")
    if not rules.enabled:
        return Decision(step=Step.DROP, reason="learning.fine_tuning.enabled is false")
    if not is_open(rules.window, situation.moment):
        return _closed(rules.window, situation.moment, "it goes on in its next window")
    if tonight and order.failed:
        return _closed(rules.window, situation.moment, "it failed tonight, and is tried again in the next window")
    return Decision(step=Step.RESUME, reason="it was interrupted")


def _begun(rules: Rules, situation: Situation) -> Decision:
    """Whether a new run is due."""
    few = too_few(situation.labels)
    if few:
        return Decision(step=Step.REST, reason=few)
    if situation.busy:
        return Decision(step=Step.REST, reason=situation.busy)
    if situation.asked:
        return Decision(step=Step.BEGIN, reason="a person started it")
    if not rules.enabled:
        return Decision(step=Step.REST, reason="off (learning.fine_tuning.enabled)")
    found = len(situation.labels)
    if found < rules.min_labels:
        return Decision(step=Step.REST, reason=f"{found} labelled pictures, {rules.min_labels} are needed (min_labels)")
    new = new_labels(situation)
    if new < rules.min_new_labels:
        return Decision(
            step=Step.REST, reason=f"{new} new labels since the last run, {rules.min_new_labels} are needed"
        )
    if situation.last_begun_utc_s is not None:
        days = (situation.moment.timestamp() - situation.last_begun_utc_s) / DAY_S
        # A clock that was set back must not hold it up for ever.
        if 0 <= days < rules.every_days:
            return Decision(
                step=Step.REST, reason=f"the last run was begun {days:.1f} days ago (every_days: {rules.every_days:g})"
            )
    if not is_open(rules.window, situation.moment):
        return _closed(rules.window, situation.moment, "due; waits for its window")
    return Decision(step=Step.BEGIN, reason=f"{new} new labels")


def too_few(labels: Mapping[str, str]) -> str:
    """Why nothing can be trained on these, whoever asks; empty when something can."""
    counts: dict[str, int] = {}
    for label in labels.values():
        counts[label] = counts.get(label, 0) + 1
    enough = sorted(name for name, count in counts.items() if count >= PER_CLASS_MIN)
    if len(enough) >= CLASSES_MIN:
        return ""
    words = ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
    return (
        f"fine-tuning needs {CLASSES_MIN} classes with {PER_CLASS_MIN} labelled pictures each or more, found: {words}"
    )


def stale_reason(order: Order, situation: Situation) -> str:
    """Why an order must not be gone on with, empty when it may."""
    if order.base != situation.base:
        return f"encoder {situation.base[:12]} is active now, the run was begun from {order.base[:12]}"
    samples = order.labels.keys() | situation.labels.keys()
    changed = sum(order.labels.get(sample) != situation.labels.get(sample) for sample in samples)
    if changed > CHANGED_SHARE * len(order.labels):
        return f"{changed} labels were changed, withdrawn or added since the run was begun on {len(order.labels)}"
    return ""


def new_labels(situation: Situation) -> int:
    """Labels that were said since the last run was begun."""
    since_s = situation.last_begun_utc_s
    return sum(since_s is None or said_s > since_s for said_s in situation.said_utc_s.values())


def is_open(window: Window | None, moment: datetime.datetime) -> bool:
    """Whether training may run at this hour."""
    return window is None or window.holds(moment.time())


def night_of(window: Window | None, moment: datetime.datetime) -> str:
    """The night that a moment belongs to, by the date of its evening: hours after midnight belong to the day before."""
    crosses = window is not None and window.begin > window.end
    past_midnight = crosses and window is not None and moment.time() < window.end
    return (moment.date() - datetime.timedelta(days=1 if past_midnight else 0)).isoformat()


def next_opening(window: Window, moment: datetime.datetime) -> datetime.datetime:
    """When the window opens next after `moment`, in its zone."""
    today = moment.replace(
        hour=window.begin.hour, minute=window.begin.minute, second=window.begin.second, microsecond=0
    )
    return today if today > moment else today + datetime.timedelta(days=1)


def _closed(window: Window | None, moment: datetime.datetime, reason: str) -> Decision:
    if window is None:
        return Decision(step=Step.REST, reason=reason)
    opens = next_opening(window, moment)
    return Decision(step=Step.REST, reason=f"{reason} ({opens:%Y-%m-%d %H:%M})", opens_utc_s=opens.timestamp())
