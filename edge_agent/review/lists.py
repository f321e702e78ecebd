"""Looking things up: disputes, search, who said what, the store by camera."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.responses import Response

from edge_agent.evidence.catalogue import Stats, Wanted
from edge_agent.evidence.labels import LabelEvent, last_word
from edge_agent.evidence.overview import CameraCounts, by_camera, speakers
from edge_agent.records import KeepReason, Sample, Standing, Verdict
from edge_agent.review.desk import Evidence
from edge_agent.review.labelling import Look, look_at
from edge_agent.review.visit import Visit
from edge_agent.review.wording import day_start

E = TypeVar("E", bound=enum.Enum)

A_DAY_S = 86_400.0
ON_A_PAGE = 24
DISPUTES_SHOWN = 20
EVENTS_SHOWN = (100, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of a search: `more` is whether another follows."""

    samples: Sequence[Sample]
    more: bool
    cameras: Sequence[str]
    people: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One line of the history. `sample` is None where it had to go; `undone`: it was taken back; `mine`: this person
    may take it back now; `hidden`: they have to give their own opinion first.
    """

    event: LabelEvent
    sample: Sample | None
    undone: bool
    mine: bool
    hidden: bool


def _wanted(visit: Visit) -> Wanted:
    """What the query asks for; a word that cannot be is as if it were not there."""
    until = day_start(visit.ask("until"))
    return Wanted(
        standing=_one_of(Standing, visit.ask("standing")),
        camera=visit.ask("camera") or None,
        verdict=_one_of(Verdict, visit.ask("verdict")),
        label=visit.ask("label") or None,
        kept=_one_of(KeepReason, visit.ask("kept")),
        since_utc_s=day_start(visit.ask("since")),
        until_utc_s=None if until is None else until + A_DAY_S,
        labelled_by=visit.ask("by") or None,
        text=visit.ask("text") or None,
    )


def _one_of(kind: type[E], word: str) -> E | None:
    try:
        return kind(word)
    except ValueError:
        return None


async def search(visit: Visit) -> Response:
    """Pictures, newest first, by camera, label, verdict, reason, person, day, text."""
    wanted = _wanted(visit)
    page = int(visit.ask("page")) if visit.ask("page").isdecimal() and len(visit.ask("page")) < 6 else 0

    def find(evidence: Evidence) -> Found:
        samples = evidence.catalogue.find(wanted, limit=ON_A_PAGE + 1, offset=page * ON_A_PAGE)
        tasks = evidence.catalogue.stats().classes
        labels = {name for task in tasks for name in evidence.catalogue.classes(task)}
        labels |= {sample.label for sample in samples if sample.label is not None}
        return Found(
            samples=samples[:ON_A_PAGE],
            more=len(samples) > ON_A_PAGE,
            cameras=[one.camera for one in by_camera(evidence.store.database) if one.camera is not None],
            people=speakers(evidence.store.database),
            labels=sorted(labels),
        )

    found = await visit.office.desk.ask(find)
    asked = {name: word for name, word in visit.request.query_params.items() if name != "page" and word}
    return visit.page("search.html", found=found, asked=asked, number=page, reasons=KeepReason, standings=Standing)


async def disputes(visit: Visit) -> Response:
    """Where people differ, with what each says: before those who have spoken, and before adjudicators."""

    def find(evidence: Evidence) -> tuple[Look, ...]:
        samples = evidence.catalogue.find(Wanted(standing=Standing.DISPUTED), limit=DISPUTES_SHOWN)
        return tuple(look_at(evidence, visit.session, one, all_seeing=visit.may_adjudicate) for one in samples)

    return visit.page("disputes.html", looks=await visit.office.desk.ask(find))


async def history(visit: Visit) -> Response:
    """Who said what, newest first."""
    by = visit.ask("by")
    limit = EVENTS_SHOWN[1] if visit.ask("all") else EVENTS_SHOWN[0]

    def find(evidence: Evidence) -> tuple[list[Spoken], list[str]]:
        events = evidence.catalogue.events(by=by or None, limit=limit)
        return [_spoken(evidence, visit, event) for event in events], speakers(evidence.store.database)

    lines, people = await visit.office.desk.ask(find)
    return visit.page("history.html", lines=lines, people=people, by=by, shown_all=len(lines) < limit)


def _spoken(evidence: Evidence, visit: Visit, event: LabelEvent) -> Spoken:
    of_sample = evidence.catalogue.events(event.sample)
    found = evidence.catalogue.find_one(event.sample)
    last = last_word(of_sample, visit.name)
    waits = found is not None and found.standing in (Standing.WAITING, Standing.DISPUTED)
    return Spoken(
        event=event,
        sample=found,
        undone=any(other.withdraws == event.id for other in of_sample),
        mine=found is not None and last is not None and last.id == event.id,
        hidden=waits and last is None and not visit.may_adjudicate,
    )


async def cameras(visit: Visit) -> Response:
    """The store by camera and by class, and what the cameras do now."""

    def count(evidence: Evidence) -> tuple[list[CameraCounts], Stats]:
        return by_camera(evidence.store.database), evidence.catalogue.stats()

    counts, stats = await visit.office.desk.ask(count)
    return visit.page("cameras.html", counts=counts, stats=stats, now=visit.office.floor.cameras() or {})
