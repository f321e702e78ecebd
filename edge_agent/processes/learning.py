"""One learning pass over one model: from what people said to a head in force, or the reason why not.

evidence (open) --labels--> book: new, changed and withdrawn samples --> candidate head
evidence (sealed) --both heads judge--> gate --PASS, UNPROVEN--> bundle with the new head, active
                                           `--REFUSE--> nothing changes, the reasons are told
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import decode
from edge_agent.clock import Clock, rfc3339
from edge_agent.errors import BadEvidenceError, BadPictureError, RefusedError
from edge_agent.evidence.views import LearnerView, Lesson
from edge_agent.learn.book import Book, Entry, new_book, put, relabel, withdraw
from edge_agent.learn.book_file import UnusableBookError, read_book, write_book
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.teach import teach
from edge_agent.models.coding import code_picture
from edge_agent.models.journal import Figure
from edge_agent.models.loading import LoadedModel
from edge_agent.processes.candidates import Ground, put_forward
from edge_agent.processes.evidence_place import FOLDER

log = logging.getLogger(__name__)

BOOKS = "statistics"
# A turned part is the same part where orientation means nothing; where it means something the held-back samples say so.
VIEWS = 4


class Result(str, enum.Enum):
    """How a pass ended."""

    NOTHING_NEW = "nothing-new"  # the labels are those that the head in force was made from
    UNLEARNABLE = "unlearnable"  # too few labels or classes
    REFUSED = "refused"  # the gate: the head in force is better
    IN_FORCE = "in-force"  # the new head judges; `reason` says what is not proven yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass and its outcome in words."""

    model: str
    result: Result
    samples: int
    reason: str = ""
    digest: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    took_ms: Mapping[str, float] = field(default_factory=dict)


class _Laps:
    """How long each stretch of a pass took, in milliseconds and in order."""

    def __init__(self, clock: Clock) -> None:
        self.took_ms: dict[str, float] = {}
        self._clock = clock
        self._since_s = clock.mono_s()

    def lap(self, stretch: str) -> None:
        now_s = self._clock.mono_s()
        self.took_ms[stretch] = round((now_s - self._since_s) * 1e3, 1)
        self._since_s = now_s


def learn(name: str, ground: Ground) -> Pass:
    """One pass over the model of this name.

    Raises:
        TransientError, CorruptStoreError, StorageFullError, StorageReadOnlyError: try again later; nothing is lost.
        BadBundleError, ProviderError: the model cannot be used.
    """
    laps = _Laps(ground.clock)
    active = ground.store.active(name)
    if active is None:
        return Pass(model=name, result=Result.UNLEARNABLE, samples=0, reason="no bundle is active")
    model = ground.store.load(active, ground.runtime, ground.flavour)
    if not isinstance(model, LoadedModel):
        return Pass(model=name, result=Result.UNLEARNABLE, samples=0, reason="its kind has no head to teach")
    laps.lap("load")
    view = LearnerView(ground.state_dir / FOLDER)
    try:
        lessons = view.lessons(name)
        before = _book(name, model, ground)
        book = _brought_up(before, lessons, model, view)
    finally:
        view.close()
    laps.lap("book")
    if book.entries == before.entries and model.manifest.trained_on == "site":
        return Pass(model=name, result=Result.NOTHING_NEW, samples=len(book.entries))
    groups = {lesson.sample.id: lesson.sample.group for lesson in lessons}
    try:
        taught = teach(book, groups, model.code, model.manifest.good_classes)
    except RefusedError as error:
        write_book(_book_file(name, ground), book)
        return Pass(model=name, result=Result.UNLEARNABLE, samples=len(book.entries), reason=str(error))
    laps.lap("solve")
    version = "head-" + rfc3339(ground.clock.utc_s()).replace(":", "").replace("-", "").lower().replace(".", "-")
    found = put_forward(name, ground.store.with_head(active, taught.head, version[:64]), ground)
    laps.lap("gate")
    # Last: a pass that was killed before is made again.
    write_book(_book_file(name, ground), book)
    laps.lap("write")
    return Pass(
        model=name,
        result=Result.IN_FORCE if found.accepted else Result.REFUSED,
        samples=taught.samples,
        reason="; ".join(found.reasons),
        digest=found.digest,
        figures=found.figures,
        took_ms=laps.took_ms,
    )


def _book_file(name: str, ground: Ground) -> Path:
    folder = ground.state_dir / BOOKS
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.book"


def _book(name: str, model: LoadedModel, ground: Ground) -> Book:
    try:
        return read_book(_book_file(name, ground), model.coder)
    except UnusableBookError as error:
        log.info("model=%s book=new reason=%s", name, error)
        return new_book(model.coder, model.code.dimension, VIEWS)


def _brought_up(book: Book, lessons: Sequence[Lesson], model: LoadedModel, view: LearnerView) -> Book:
    """The book as the labels stand now: gone samples withdrawn, changed labels changed, new samples coded."""
    wanted = {lesson.sample.id: lesson for lesson in lessons}
    known = {entry.sample: entry for entry in book.entries}
    book = withdraw(book, known.keys() - wanted.keys())
    changed = [
        (sample, str(lesson.sample.truth), lesson.source.value)
        for sample, lesson in wanted.items()
        if sample in known and (known[sample].label, known[sample].source) != (lesson.sample.truth, lesson.source.value)
    ]
    book = relabel(book, changed)
    entries, codes = _coded([lesson for sample, lesson in wanted.items() if sample not in known], model, view, VIEWS)
    return put(book, entries, codes) if entries else book


def _coded(lessons: Sequence[Lesson], model: LoadedModel, view: LearnerView, views: int) -> tuple[list[Entry], Codes]:
    """Entries and codes of samples; a picture that is damaged or gone is left out, and the log says which."""
    entries, codes = [], []
    for lesson in lessons:
        sample = lesson.sample
        try:
            image = decode(view.picture(sample.id))
        except (BadPictureError, BadEvidenceError) as error:
            log.warning("sample=%s skipped reason=%s", sample.id, error)
            continue
        codes.append(code_picture(model, image, views)[1])
        block = rfc3339(sample.captured_utc_s)[:10]  # the day
        entries.append(Entry(sample=sample.id, label=str(sample.truth), source=lesson.source.value, block=block))
    return entries, np.stack(codes) if codes else np.empty((0, views, model.code.dimension), np.int8)
