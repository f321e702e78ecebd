"""`models activate | rollback | shadow`: which bundle judges, and which one is tried beside it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge_agent.cli.models.place import Place, bars, digest_of, done, facts, patience, place_of, say, who
from edge_agent.errors import EXIT_FAULT, EXIT_OK, BadBundleError

if TYPE_CHECKING:
    from edge_agent.models.trial import Trial


def activate(arguments: argparse.Namespace) -> int:
    """Use a bundle at once, without a trial."""
    place = place_of(arguments)
    digest = digest_of(place.store, arguments.digest, "")
    name = place.store.manifest(digest).name
    with patience(place, digest):
        place.store.activate(name, digest, place.runtime, place.flavour, by=who(arguments))
    return done(arguments, f"{name} ({digest[:12]}) is active", {"name": name, "digest": digest})


def roll_back(arguments: argparse.Namespace) -> int:
    """Use the previous bundle again."""
    digest = place_of(arguments).store.roll_back(arguments.name, by=who(arguments))
    text = f"{arguments.name} ({digest[:12]}) is active again"
    return done(arguments, text, {"name": arguments.name, "digest": digest})


def shadow(arguments: argparse.Namespace) -> int:
    """Begin a trial, end it, or say how it stands."""
    place = place_of(arguments)
    if arguments.digest is not None:
        return _begin(arguments, place, digest_of(place.store, arguments.digest, ""))
    if arguments.stop or arguments.confirm:
        return _end(arguments, place)
    trial = place.store.trial(arguments.name)
    if arguments.output == "json" or trial is None:
        text = f"{arguments.name}: no candidate was ever on trial; `models shadow DIGEST` begins one"
        return done(arguments, text, {"name": arguments.name, "trial": None if trial is None else _plain(trial)})
    facts(_words(arguments.name, trial))
    return EXIT_OK


def _begin(arguments: argparse.Namespace, place: Place, digest: str) -> int:
    """Through the gate like every candidate: what is worse on the sealed parts goes on no trial."""
    from edge_agent.processes.candidates import put_forward, sealed_count

    name = place.store.manifest(digest).name
    if place.store.active(name) == digest:
        raise BadBundleError(f"bundle {digest[:12]} is active already; a candidate is tried beside the active one")
    total = sealed_count(name, place.state_dir)
    with patience(place, digest), bars() as show:
        found = put_forward(name, digest, place.ground(who(arguments)), lambda at: show("sealed parts", at, total))
    result = {
        "name": name,
        "digest": digest,
        "outcome": found.outcome.value,
        "reasons": list(found.reasons),
        "figures": dict(found.figures),
    }
    if not found.accepted:
        text = f"{name} ({digest[:12]}) is refused, nothing changed:\n  " + "\n  ".join(found.reasons)
        done(arguments, text, result)
        return EXIT_FAULT
    for reason in found.reasons:
        say(arguments, f"not shown yet: {reason}")
    return done(arguments, f"{name} ({digest[:12]}) is on trial; `edge-agent models shadow` says how it stands", result)


def _end(arguments: argparse.Namespace, place: Place) -> int:
    from edge_agent.learn.release import Event

    trial = place.store.trial(arguments.name)
    if trial is None or not trial.stage.open:
        raise BadBundleError(f"model {arguments.name!r}: no candidate is on trial")
    event = Event.CONFIRMED if arguments.confirm else Event.REFUSED
    reasons = ("confirmed by hand",) if arguments.confirm else ("ended by hand",)
    after = place.store.trials.settle(arguments.name, trial.candidate, event, by=who(arguments), reasons=reasons)
    stage = after.trial.stage.value if after.trial is not None else "ended"
    text = f"{arguments.name}: candidate {trial.candidate[:12]} is {stage}; active is {after.active[:12]}"
    result = {"name": arguments.name, "candidate": trial.candidate, "stage": stage, "active": after.active}
    return done(arguments, text, result)


def _words(name: str, trial: Trial) -> Iterator[tuple[str, str]]:
    from edge_agent.cli.models.history import plain, when

    tally = trial.tally
    yield "model", name
    yield "candidate", f"{trial.candidate[:12]}, put forward by {plain(trial.by)}"
    yield "beside", trial.reference[:12]
    yield "stage", f"{trial.stage.value} since {when(trial.since_utc_s)}"
    for reason in trial.reasons:
        yield "why", plain(reason)
    yield "judged by both", f"{tally.parts} live parts, {tally.differing} differently"
    yield "by one alone", str(tally.alone)
    if tally.failed_before:
        yield "passes", f"{tally.missed} of {tally.failed_before} that the other fails"
    if sum(tally.cleared) + tally.blamed:
        yield "people say", f"right on {sum(tally.cleared)} of those that differ, wrong on {tally.blamed}"
    if tally.candidate_errors:
        yield "no answer", f"for {tally.candidate_errors} parts"
    both = tally.parts + tally.reference_errors
    if both:
        ms = f"{tally.candidate_ms / both:.2f} ms a part, the other {tally.reference_ms / both:.2f} ms"
        yield "takes", f"{ms}; {tally.slow} of {tally.timed} beyond the limit"
    if trial.crashes:
        yield "crashes", f"{trial.crashes} while it was in force"
    if trial.resting is not None:
        yield "rests meanwhile", f"the probation of {trial.resting.candidate[:12]}"


def _plain(trial: Trial) -> dict[str, Any]:
    from edge_agent.models.trial import to_plain

    tally = trial.tally
    counts = {"parts": tally.parts, "differing": tally.differing, "missed": tally.missed}
    return to_plain(trial) | {"open": trial.stage.open} | counts
