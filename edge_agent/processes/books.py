"""The statistics books of a gateway: one for each model and coder, brought up to the labels as they stand.

    STATE/statistics/MODEL/CODER.book             CODER: the start of a hash of encoder file and feature code
    STATE/statistics/MODEL/sealed/CODER.book      the same of the hold-out, for the gate: seen once, not for each head

    STATE/statistics/MODEL/CODER.base             sums of a fleet, brought in by a person: heads are solved from both

A book belongs to one coder. While a fine-tuned encoder is on trial both are needed: labels go on teaching the head in
force, and the trial's own book is there when it wins.
"""

from __future__ import annotations

import enum
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import decode
from edge_agent.clock import rfc3339
from edge_agent.errors import BadEvidenceError, BadPictureError
from edge_agent.evidence.views import GateView, LearnerView, Lesson
from edge_agent.learn.book import Book, Entry, new_book, put, relabel, withdraw
from edge_agent.learn.book_file import UnusableBookError, read_book, write_book
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.statistics import Statistics
from edge_agent.models.coding import code_picture
from edge_agent.models.loading import LoadedModel
from edge_agent.storage import storage_faults

log = logging.getLogger(__name__)

BOOKS = "statistics"


class Side(enum.Enum):
    """Which samples a book is of; the value is its folder."""

    OPEN = ""
    SEALED = "sealed"


# A turned part is the same part where orientation means nothing; where it means something the held-back samples say so.
# What is judged is judged as it came.
VIEWS = {Side.OPEN: 4, Side.SEALED: 1}
# Of the active bundle, the one before it, and one on trial: what else there was can be made again from the evidence.
KEPT = 3


def book_of(name: str, model: LoadedModel, state_dir: Path, side: Side = Side.OPEN) -> Book:
    """The book of this model's coder as it was kept; a new one where there is none that can be used.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    try:
        return read_book(_file(name, model.coder, state_dir, side), model.coder)
    except UnusableBookError as error:
        log.info("model=%s book=new reason=%s", name, error)
        return new_book(model.coder, model.code.dimension, VIEWS[side])


def kept_book(name: str, coder: str, state_dir: Path) -> Book:
    """The book of a coder as it lies on disk.

    Raises:
        UnusableBookError: there is none, or it is damaged: nothing has been learned with this encoder yet.
        TransientError, StorageReadOnlyError.
    """
    return read_book(_file(name, coder, state_dir, Side.OPEN), coder)


def keep_book(name: str, book: Book, state_dir: Path, side: Side = Side.OPEN) -> None:
    """Write a book, and take away those of coders that were used longest ago.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the one before is as it was.
    """
    path = _file(name, book.coder, state_dir, side)
    write_book(path, book)
    with storage_faults(path):
        newest = sorted(path.parent.glob("*.book"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in newest[KEPT:]:
            old.unlink(missing_ok=True)


def base_of(name: str, model: LoadedModel, state_dir: Path) -> Statistics | None:
    """The sums of a fleet that were brought in for this model's coder; None where there are none that can be used.

    Raises:
        StorageReadOnlyError, TransientError: they cannot be read now.
    """
    path = base_file(name, model.coder, state_dir)
    if not path.exists():
        return None
    try:
        return read_book(path, model.coder).total
    except UnusableBookError as error:
        log.warning("model=%s base=unusable reason=%s", name, error)
        return None


def base_is_news(name: str, model: LoadedModel, state_dir: Path) -> bool:
    """Whether sums of a fleet came after the book was last written: then a pass has something new without a label."""
    base, book = base_file(name, model.coder, state_dir), _file(name, model.coder, state_dir, Side.OPEN)
    with storage_faults(base):
        return base.exists() and (not book.exists() or base.stat().st_mtime_ns > book.stat().st_mtime_ns)


def base_file(name: str, coder: str, state_dir: Path) -> Path:
    """Where the sums of a fleet lie for models of this name and coder."""
    return _file(name, coder, state_dir, Side.OPEN).with_suffix(".base")


def _file(name: str, coder: str, state_dir: Path, side: Side) -> Path:
    folder = state_dir / BOOKS / name / side.value
    with storage_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(coder.encode()).hexdigest()[:16]}.book"


def brought_up(book: Book, lessons: Sequence[Lesson], model: LoadedModel, view: LearnerView | GateView) -> Book:
    """The book as the labels stand now: gone samples withdrawn, changed labels changed, new samples coded.

    Raises:
        TransientError, CorruptStoreError: the evidence cannot be read now.
    """
    wanted = {lesson.sample.id: lesson for lesson in lessons}
    known = {entry.sample: entry for entry in book.entries}
    book = withdraw(book, known.keys() - wanted.keys())
    changed = [
        (sample, str(lesson.sample.truth), lesson.source.value)
        for sample, lesson in wanted.items()
        if sample in known and (known[sample].label, known[sample].source) != (lesson.sample.truth, lesson.source.value)
    ]
    book = relabel(book, changed)
    fresh = [lesson for sample, lesson in wanted.items() if sample not in known]
    entries, codes = _coded(fresh, model, view, book.views)
    return put(book, entries, codes) if entries else book


def _coded(
    lessons: Sequence[Lesson], model: LoadedModel, view: LearnerView | GateView, views: int
) -> tuple[list[Entry], Codes]:
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
