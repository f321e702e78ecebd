"""Labelled pictures taken into the store: each once, however often it is started or interrupted.

list --read, hash--> known bytes?  -- same label: counted;  another label: told, and left as it is
                     new bytes     -- examined (decoded once) --> store, label in the same transaction
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent import storage
from edge_agent.clock import Clock
from edge_agent.errors import BadPictureError
from edge_agent.evidence import tables
from edge_agent.evidence.grouping import UNGROUPED, group_of_import
from edge_agent.evidence.kin import Kin
from edge_agent.evidence.labels import LabelEvent, LabelSource, check_person
from edge_agent.evidence.lists import Entry
from edge_agent.evidence.store import Draft, EvidenceStore
from edge_agent.records import KeepReason, Sample, ulid

# One commit, one sync of each folder, for so many pictures or bytes: the longest that others wait for the lock.
BATCH_PICTURES = 64
BATCH_BYTES = 32 * 1024 * 1024
# As edge_agent/capture/picture.py reads.
MOST_FILE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a decoder says of a picture: its kind as a suffix (".png"), size and perceptual hash."""

    suffix: str
    width_px: int
    height_px: int
    likeness: int


# Raises BadPictureError.
Examine = Callable[[bytes], Examined]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTerms:
    """Whose labels they are, for which task; `relabel` lets the list correct what an earlier import said."""

    by: str
    task: str
    relabel: bool = False


@dataclass(slots=True)
class Report:
    """What became of a list. `classes` counts, by label, the pictures that are in the store now, old and new."""

    added: int = 0
    known: int = 0
    relabelled: int = 0
    sealed: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    contradictions: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pending:
    entry: Entry
    draft: Draft


class Importer:
    """Takes entries into a store."""

    def __init__(self, store: EvidenceStore, clock: Clock, examine: Examine, terms: ImportTerms) -> None:
        """`examine` decodes.

        Raises:
            BadLabelError: the name of who imports cannot stand in the book.
            TransientError, CorruptStoreError.
        """
        check_person(terms.by, None)
        self.report = Report()
        self._store = store
        self._clock = clock
        self._examine = examine
        self._terms = terms
        self._said: dict[bytes, str | None] = {}  # by this list, of these bytes
        self._pending: list[_Pending] = []
        with store.database.reading() as connection:
            self._kin = Kin(tables.likenesses(connection, UNGROUPED))

    def take(self, entries: Iterable[Entry], on_done: Callable[[int], None]) -> Report:
        """Import; `on_done` hears how many entries were looked at. What was added is durable on return.

        Raises:
            StorageFullError: the store is full of what may not go; what was added so far stays, start again later.
            TransientError, CorruptStoreError.
        """
        for number, entry in enumerate(entries, start=1):
            try:
                self._take(entry)
            except BadPictureError as error:
                self.report.unreadable.append(f"{entry.place}: {error}")
            if self._is_batch():
                self._commit()
            on_done(number)
        self._commit()
        return self.report

    def _take(self, entry: Entry) -> None:
        content = _read(entry.path)
        digest = hashlib.sha256(content)
        if digest.digest() in self._said:
            self._again(entry, self._said[digest.digest()])
            return
        with self._store.database.reading() as connection:
            known = tables.by_digest(connection, digest.hexdigest())
        if known is not None:
            self._said[digest.digest()] = entry.label
            self._known(entry, known)
            return
        found = self._examine(content)
        self._said[digest.digest()] = entry.label
        now_utc_s = self._clock.utc_s()
        group = group_of_import(entry.plant, entry.group, digest.hexdigest())
        if group.startswith(UNGROUPED):
            group = self._kin.group_of(found.likeness) or group
            self._kin.add(found.likeness, group)
        sample = Sample(
            id=ulid(now_utc_s, digest.digest()[:10]),
            task=self._terms.task,
            captured_utc_s=_changed_utc_s(entry.path),
            group=group,
            kept=(KeepReason.IMPORT,),
            likeness=found.likeness,
            width_px=found.width_px,
            height_px=found.height_px,
        )
        label = None if entry.label is None else self._event(sample.id, entry.label)
        draft = Draft(sample=sample, content=content, suffix=found.suffix, label=label)
        self._pending.append(_Pending(entry, draft))

    def _again(self, entry: Entry, said: str | None) -> None:
        if entry.label == said:
            self.report.known += 1
        else:
            self.report.contradictions.append(
                f"{entry.place}: is {entry.label!r} here, and the very same picture is {said!r} above; the first stands"
            )

    def _known(self, entry: Entry, sample: Sample) -> None:
        """These bytes are in the store already."""
        with self._store.database.reading() as connection:
            events = tables.events_of(connection, sample.id)
        undone = {event.withdraws for event in events}
        said = [event for event in events if event.label is not None and event.id not in undone]
        imported = [event.label for event in said if event.source is LabelSource.IMPORT]
        before = sample.truth or (imported[-1] if imported else None)
        if entry.label is None or entry.label == before or entry.label in imported[-1:]:
            self.report.known += 1
        elif not said or (self._terms.relabel and len(imported) == len(said)):
            with self._store.database.writing() as connection:
                tables.declare(connection, sample.task, [entry.label])
                tables.add_label(connection, self._event(sample.id, entry.label))
                self._store.settle(connection, sample.id)
            self.report.relabelled += 1
        else:
            people = len(imported) < len(said)
            hint = "people have looked at it, their word stands" if people else "--relabel lets this list correct it"
            self.report.contradictions.append(
                f"{entry.place}: is {entry.label!r} here, and {before or 'disputed'!r} in the store ({sample.id}); "
                f"{hint}"
            )
            return
        self.report.sealed += sample.sealed
        self.report.classes[entry.label or before or "(unlabelled)"] += 1

    def _event(self, sample: str, label: str) -> LabelEvent:
        now_utc_s = self._clock.utc_s()
        return LabelEvent(
            id=ulid(now_utc_s),
            sample=sample,
            by=self._terms.by,
            source=LabelSource.IMPORT,
            at_utc_s=now_utc_s,
            label=label,
        )

    def _is_batch(self) -> bool:
        held = sum(len(pending.draft.content) for pending in self._pending)
        return len(self._pending) >= BATCH_PICTURES or held >= BATCH_BYTES

    def _commit(self) -> None:
        if not self._pending:
            return
        kept = self._store.add([pending.draft for pending in self._pending])
        self.report.added += len(kept)
        self.report.sealed += sum(sample.sealed for sample in kept)
        self.report.classes.update(pending.entry.label or "(unlabelled)" for pending in self._pending)
        self._pending.clear()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(min(MOST_FILE_BYTES, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise BadPictureError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_FILE_BYTES:
        raise BadPictureError(f"{path}: more than {MOST_FILE_BYTES} bytes")
    return content


def _changed_utc_s(path: Path) -> float:
    with storage.storage_faults(path):
        return path.stat().st_mtime
