"""May a candidate that passed the gate go into force on live parts, may it stay, or must it go back? Pure.

    SHADOW --sound--> PROBATION --sound--> KEPT          in force: the reference | the candidate
      |  `--asked--> WAITING --confirmed--^  |
      `--worse, refused--> DISMISSED         `--worse, refused--> ROLLED_BACK        any of them --moved--> ENDED

    parts, each judged by both --> Tally --RULES, one function each--> Ruling(event or none yet, reasons)

Nobody knows the truth of a live part, so what counts is on how many parts the two differ, and in which way. Where
people said what a part is, that counts instead. Counts are looked at again and again while they grow, so shares come
with an interval that holds at all times at once (`share_interval`), not with one for a single look.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.learn.tally import Tally, share_interval

# p99 within the limit means that at most this share of the parts is beyond it.
SLOW_SHARE = 0.01
# A model that answers nothing for one part in a hundred is broken, whatever it says of the others.
ERROR_SHARE = 0.01
# What stays unclear is looked at until so many times the wanted parts; then the share itself decides.
PATIENCE = 4
# A candidate with a network of its own looks only while no frame waits; passed over so often, it will not get the time.
PASSED_OVER = 20
# Parts in a row are often alike (one batch, one pose): a difference on fewer than these is an anecdote.
ANECDOTE = 10
# What the sealed hold-out lets expect widens the limit to this at most: whoever differs on half of all parts is no
# improvement that a gate of a few hundred pictures can vouch for.
LIMIT_MAX = 0.5


class Stage(str, enum.Enum):
    """Where a candidate stands."""

    SHADOW = "shadow"  # judges beside the model in force, which the line hears
    WAITING = "waiting"  # nothing speaks against it; a person is asked
    PROBATION = "probation"  # in force, watched by the model before it
    KEPT = "kept"
    DISMISSED = "dismissed"  # never was in force
    ROLLED_BACK = "rolled-back"
    ENDED = "ended"  # somebody chose another model, or a newer candidate took its place

    @property
    def open(self) -> bool:
        """Whether the trial goes on."""
        return self in TABLE


class Event(str, enum.Enum):
    """What happens to a trial."""

    SOUND = "sound"
    WORSE = "worse"
    ASKED = "asked"  # sound, and the policy wants a person
    CONFIRMED = "confirmed"  # by a person
    REFUSED = "refused"  # by a person
    MOVED = "moved"  # another model was chosen by hand, or a newer candidate came


TABLE: Mapping[Stage, Mapping[Event, Stage]] = {
    Stage.SHADOW: {
        Event.SOUND: Stage.PROBATION,
        Event.ASKED: Stage.WAITING,
        Event.CONFIRMED: Stage.PROBATION,
        Event.WORSE: Stage.DISMISSED,
        Event.REFUSED: Stage.DISMISSED,
        Event.MOVED: Stage.ENDED,
    },
    Stage.WAITING: {
        Event.CONFIRMED: Stage.PROBATION,
        Event.WORSE: Stage.DISMISSED,
        Event.REFUSED: Stage.DISMISSED,
        Event.MOVED: Stage.ENDED,
    },
    Stage.PROBATION: {
        Event.SOUND: Stage.KEPT,
        Event.CONFIRMED: Stage.KEPT,
        Event.WORSE: Stage.ROLLED_BACK,
        Event.REFUSED: Stage.ROLLED_BACK,
        Event.MOVED: Stage.ENDED,
    },
}


def after(stage: Stage, event: Event) -> Stage | None:
    """The stage that follows, None where the event means nothing there."""
    return TABLE.get(stage, {}).get(event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked of a candidate on live parts; docs/learning.md says what each number means.

    `wait_s` bounds how long a candidate that shares the reference's network waits for `shadow_parts`; one with a
    network of its own waits for them as long as it takes. `latency_ms` is the longest that a part may take, None where
    nothing says. `crashes` of the process while the candidate was on probation end it.
    """

    shadow_parts: int = 200
    probation_parts: int = 500
    differing_share: float = 0.1
    missed_share: float = 0.5
    worse_by: float = 0.02
    confidence: float = 0.99
    wait_s: float = 10.0
    latency_ms: float | None = None
    crashes: int = 2
    by_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a ruling rests on. `shadow` is the tally of the shadow run, `probation` that since the switch.

    `shares_network`: the candidate is a new head on the reference's network. `won` of `sealed` parts of the hold-out
    are those where only the candidate is right: so much difference is expected of it. `waited_s` since the stage began.
    """

    stage: Stage
    shadow: Tally
    probation: Tally
    shares_network: bool
    waited_s: float
    won: int = 0
    sealed: int = 0
    crashes: int = 0

    @property
    def tally(self) -> Tally:
        """That of the present stage."""
        return self.probation if self.stage is Stage.PROBATION else self.shadow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What happens, None: nothing yet; and every reason for it, or what is being waited for."""

    event: Event | None
    reasons: tuple[str, ...]


def rule(case: Case, policy: Policy) -> Ruling:
    """The ruling on a trial as it stands: what is clearly worse ends it, what is not shown waits for more parts."""
    if not case.stage.open:
        return Ruling(event=None, reasons=())
    worse = tuple(text for ask in RULES for text in ask(case, policy))
    if worse:
        return Ruling(event=Event.WORSE, reasons=worse)
    if case.stage is Stage.WAITING:
        return Ruling(event=None, reasons=("nothing speaks against it; a person is asked",))
    return _probation_over(case, policy) if case.stage is Stage.PROBATION else _shadow_over(case, policy)


def limit_of(case: Case, policy: Policy) -> float:
    """The share of parts on which the two may differ: the configured one, and what the hold-out lets expect."""
    expected = share_interval(case.won, case.sealed, policy.confidence)[0]
    return max(policy.differing_share, min(LIMIT_MAX, policy.differing_share + expected))


def _shadow_over(case: Case, policy: Policy) -> Ruling:
    tally, limit = case.shadow, limit_of(case, policy)
    sound = Event.ASKED if policy.by_person else Event.SOUND
    if policy.shadow_parts == 0:
        return Ruling(event=sound, reasons=("no shadow run is asked for",))
    share = tally.suspicious / tally.parts if tally.parts else 0.0
    _, high = share_interval(tally.suspicious, tally.parts, policy.confidence)
    told = f"differs on {_of(tally.suspicious, tally.parts, policy)}"
    if tally.parts >= policy.shadow_parts and high <= limit:
        return Ruling(event=sound, reasons=(told,))
    enough = tally.parts >= PATIENCE * policy.shadow_parts
    late = case.shares_network and case.waited_s >= policy.wait_s
    if share <= limit and (enough or late):
        missing = f"unproven: {tally.parts} of {policy.shadow_parts} live parts" if not enough else "unproven"
        return Ruling(event=sound, reasons=(f"{missing}; {told}, at most {limit:.1%} are allowed",))
    if enough:
        return Ruling(event=Event.WORSE, reasons=(f"{told}, at most {limit:.1%} are allowed",))
    if tally.alone >= PASSED_OVER * policy.shadow_parts:
        text = f"{tally.alone} parts came too fast for a second look, {tally.parts} of {policy.shadow_parts} had one"
        return Ruling(event=Event.WORSE, reasons=(f"{text}; this gateway has no time to try it",))
    return Ruling(event=None, reasons=(f"{tally.parts} of {policy.shadow_parts} parts; {told}",))


def _probation_over(case: Case, policy: Policy) -> Ruling:
    tally, limit = case.probation, limit_of(case, policy)
    told = f"differs on {_of(tally.suspicious, tally.parts, policy)}"
    seen = tally.parts + tally.alone + tally.reference_errors
    if tally.parts < policy.probation_parts and seen < PATIENCE * policy.probation_parts:
        return Ruling(event=None, reasons=(f"{tally.parts} of {policy.probation_parts} parts; {told}",))
    if tally.parts and tally.suspicious > limit * tally.parts:
        return Ruling(event=Event.WORSE, reasons=(f"{told}, at most {limit:.1%} are allowed",))
    return Ruling(event=Event.SOUND, reasons=(told,))


def _of(hits: int, parts: int, policy: Policy) -> str:
    """Words for a share with its interval."""
    if parts == 0:
        return "0 of 0 parts"
    low, high = share_interval(hits, parts, policy.confidence)
    return f"{hits} of {parts} parts ({hits / parts:.1%}, {low:.1%} to {high:.1%})"


def _clearly_above(hits: int, parts: int, limit: float, policy: Policy) -> bool:
    return share_interval(hits, parts, policy.confidence)[0] > limit


def _crashed(case: Case, policy: Policy) -> tuple[str, ...]:
    if case.stage is not Stage.PROBATION or case.crashes < policy.crashes:
        return ()
    return (f"inspection ended {case.crashes} times without a farewell while it was in force",)


def _fails(case: Case, policy: Policy) -> tuple[str, ...]:
    tally = case.tally
    if not _clearly_above(tally.candidate_errors, tally.asked, ERROR_SHARE, policy):
        return ()
    return (f"gives no answer for {_of(tally.candidate_errors, tally.asked, policy)}",)


def _too_slow(case: Case, policy: Policy) -> tuple[str, ...]:
    tally, before = case.tally, case.shadow
    # Where the machine is too slow for the reference as well, that is nothing against the candidate.
    usual = share_interval(before.reference_slow, before.timed, policy.confidence)[1] if before.reference_slow else 0.0
    if policy.latency_ms is None or not _clearly_above(tally.slow, tally.timed, max(SLOW_SHARE, usual), policy):
        return ()
    return (f"takes more than {policy.latency_ms:.4g} ms for {_of(tally.slow, tally.timed, policy)}",)


def _differs(case: Case, policy: Policy) -> tuple[str, ...]:
    tally, limit = case.tally, limit_of(case, policy)
    if tally.parts < ANECDOTE or not _clearly_above(tally.suspicious, tally.parts, limit, policy):
        return ()
    return (f"differs on {_of(tally.suspicious, tally.parts, policy)}, at most {limit:.1%} are allowed",)


def _misses(case: Case, policy: Policy) -> tuple[str, ...]:
    tally = case.tally
    if not _clearly_above(tally.missed, tally.failed_before, policy.missed_share, policy):
        return ()
    told = _of(tally.missed, tally.failed_before, policy)
    return (f"passes {told} that the other fails, at most {policy.missed_share:.0%} are allowed",)


def _people_say_so(case: Case, policy: Policy) -> tuple[str, ...]:
    tally = case.tally
    right, wrong = sum(tally.cleared), tally.blamed
    if not _clearly_above(wrong, wrong + right, 0.5, policy):
        return ()
    return (f"people say that it is wrong about {wrong} of {wrong + right} parts on which the two differ",)


def _worse_than_in_shadow(case: Case, policy: Policy) -> tuple[str, ...]:
    before, now = case.shadow, case.probation
    if case.stage is not Stage.PROBATION or before.parts == 0:
        return ()
    expected = share_interval(before.suspicious, before.parts, policy.confidence)[1]
    if now.parts < ANECDOTE or not _clearly_above(now.suspicious, now.parts, expected + policy.worse_by, policy):
        return ()
    told = _of(now.suspicious, now.parts, policy)
    return (f"differs on {told}, in its shadow run on {_of(before.suspicious, before.parts, policy)}",)


RULES = (_crashed, _fails, _too_slow, _differs, _misses, _people_say_so, _worse_than_in_shadow)
