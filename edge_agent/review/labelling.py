"""The queue and one picture: looking, saying, skipping, taking back.

A second opinion is worth something only if it does not know the first: what others said of a picture is not shown to
somebody who has not spoken of it yet, until it is settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from edge_agent.errors import BadLabelError
from edge_agent.evidence.labels import LabelEvent, LabelSource, opinion
from edge_agent.evidence.overview import by_camera
from edge_agent.records import Sample, Standing
from edge_agent.review.desk import Evidence
from edge_agent.review.sessions import Session
from edge_agent.review.visit import Visit, go, plain
from edge_agent.review.wording import Choice, choices, in_order, outcome, stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One picture before one person: `words` is who says what today, `mine` what this person says. `hidden`: others
    spoke of it, and this person has to speak first.
    """

    sample: Sample
    choices: Sequence[Choice]
    events: Sequence[LabelEvent]
    words: Mapping[str, str]
    mine: str | None
    hidden: bool
    heat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The queue as a page shows it: `look` is None when it is empty; `total` counts what was done and what is left."""

    look: Look | None
    left: int
    skipped: int
    cameras: Sequence[str]


def look_at(evidence: Evidence, session: Session, sample: Sample, *, all_seeing: bool = False) -> Look:
    """A picture as this person may see it."""
    events = evidence.catalogue.events(sample.id)
    words = opinion(events, evidence.store.rules.people_needed).words
    shown = session.choices.setdefault(sample.task, [])
    shown[:] = in_order(evidence.catalogue.classes(sample.task), shown)
    open_still = sample.standing in (Standing.WAITING, Standing.DISPUTED)
    return Look(
        sample=sample,
        choices=choices(shown),
        events=events,
        words=words,
        mine=words.get(session.person.name),
        heat=evidence.catalogue.heat(sample.id) is not None,
        hidden=open_still and session.person.name not in words and not all_seeing,
    )


def _work(evidence: Evidence, session: Session, camera: str, asked: str) -> Work:
    name = session.person.name
    sample: Sample | None
    if asked:
        sample = evidence.catalogue.sample(asked)
    else:
        # One more than were skipped, so that one is left if any is.
        queue = evidence.catalogue.queue(name, camera=camera or None, limit=len(session.skipped) + 1)
        sample = next((one for one in queue if one.id not in session.skipped), None)
    return Work(
        look=None if sample is None else look_at(evidence, session, sample),
        left=evidence.catalogue.waiting(name),
        skipped=len(session.skipped),
        cameras=[one.camera for one in by_camera(evidence.store.database) if one.camera is not None],
    )


async def queue(visit: Visit) -> Response:
    """The picture that most needs this person's word, or the one that is named."""
    camera, asked = visit.ask("camera"), visit.ask("sample")
    work = await visit.office.desk.ask(lambda evidence: _work(evidence, visit.session, camera, asked))
    return visit.page("queue.html", work=work, camera=camera)


async def sample(visit: Visit) -> Response:
    """One picture with everything that is known of it."""
    identity = visit.request.path_params["sample"]

    def find(evidence: Evidence) -> Look:
        known = evidence.catalogue.sample(identity)
        return look_at(evidence, visit.session, known, all_seeing=visit.may_adjudicate)

    return visit.page("sample.html", look=await visit.office.desk.ask(find))


async def say(visit: Visit) -> Response:
    """A class for a picture."""
    form, session = visit.form, visit.session
    label = form.get("label", "").strip()
    new_class, decides = bool(form.get("new_class")), bool(form.get("decides")) and visit.may_adjudicate
    note = form.get("note", "").strip() or None

    def write(evidence: Evidence) -> Sample:
        return evidence.book.say(
            form.get("sample", ""),
            label,
            by=visit.name,
            source=LabelSource.PAGE,
            new_class=new_class,
            adjudicator=decides,
            note=note,
        )

    try:
        done = await visit.office.desk.ask(write)
    except BadLabelError as error:
        session.said = plain(error)
        return _back(visit)
    session.done += 1
    session.said = outcome(label, done)
    return _back(visit)


async def undo(visit: Visit) -> Response:
    """Take back this person's last word, of one picture or of all, and show that picture again."""
    identity = visit.form.get("sample") or None

    def take_back(evidence: Evidence) -> tuple[LabelEvent, Sample]:
        return evidence.book.undo(by=visit.name, source=LabelSource.PAGE, sample=identity)

    try:
        event, undone = await visit.office.desk.ask(take_back)
    except BadLabelError as error:
        visit.session.said = plain(error)
        return _back(visit)
    visit.session.done = max(0, visit.session.done - 1)
    visit.session.skipped.discard(undone.id)
    visit.session.said = f"Took back {event.label}: {stands(undone)}."
    if visit.form.get("next", "queue") != "queue":
        return _back(visit)
    return go("/queue", camera=visit.form.get("camera", ""), sample=undone.id)


async def skip(visit: Visit) -> Response:
    """Not this one now; or, without a picture, all that were skipped again."""
    identity = visit.form.get("sample", "")
    if identity:
        visit.session.skipped.add(identity)
        visit.session.said = "Skipped."
    else:
        visit.session.skipped.clear()
    return _back(visit)


def _back(visit: Visit) -> Response:
    """To the page that the form stood on; only to pages of ours."""
    match visit.form.get("next", "queue"):
        case "sample":
            return go(f"/sample/{visit.form.get('sample', '')}")
        case "disputes":
            return go("/disputes")
        case "history":
            return go("/history")
        case _:
            return go("/queue", camera=visit.form.get("camera", ""))
