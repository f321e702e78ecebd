"""The book of labels: what people say of samples is written down here, and what follows from it in the same moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent import storage
from edge_agent.clock import Clock
from edge_agent.errors import BadLabelError
from edge_agent.evidence import tables
from edge_agent.evidence.labels import LabelEvent, LabelSource, check_class, check_person, last_word
from edge_agent.evidence.store import EvidenceStore
from edge_agent.records import Sample, ulid


class LabelBook:
    """Labels of the samples in one store, by one process. What a method returned for is durable.

    `told` is called after each label that was given or taken back: there is something to learn.
    """

    def __init__(self, store: EvidenceStore, clock: Clock, told: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._clock = clock
        self._told = told

    def say(
        self,
        sample: str,
        label: str,
        *,
        by: str,
        source: LabelSource,
        identity: str | None = None,
        new_class: bool = False,
        adjudicator: bool = False,
        note: str | None = None,
    ) -> Sample:
        """Write down one label; returns the sample as it stands now.

        `identity` makes it idempotent: an event of that id that is there already is not written twice.

        Raises:
            BadLabelError: no such sample, no such class, no name.
            TransientError, CorruptStoreError: nothing was written.
        """
        check_person(by, note)
        with self._store.database.writing() as connection:
            known = self._sample(connection, sample)
            check_class(label, tables.classes(connection, known.task), new_class=new_class)
            event = LabelEvent(
                id=identity or ulid(self._clock.utc_s()),
                sample=known.id,
                label=label,
                by=by,
                source=source,
                at_utc_s=self._clock.utc_s(),
                adjudicator=adjudicator,
                note=note,
            )
            if identity is not None and _is_known(connection, event):
                return known
            tables.declare(connection, known.task, [label])
            tables.add_label(connection, event)
            settled = self._store.settle(connection, known.id)
        self._told()
        return settled

    def undo(self, *, by: str, source: LabelSource, sample: str | None = None) -> tuple[LabelEvent, Sample]:
        """Take back the last word of a person (of one sample, or of all); returns it, and the sample as it stands now.

        Raises:
            BadLabelError: there is nothing of theirs to take back.
            TransientError, CorruptStoreError: nothing was taken back.
        """
        check_person(by, None)
        with self._store.database.writing() as connection:
            last = _last_of(connection, by) if sample is None else last_word(tables.events_of(connection, sample), by)
            if last is None:
                where = "" if sample is None else f" of sample {sample}"
                raise BadLabelError(
                    f"{by} has no label{where} to take back; `edge-agent label --list` shows who said what"
                )
            withdrawal = LabelEvent(
                id=ulid(self._clock.utc_s()),
                sample=last.sample,
                withdraws=last.id,
                by=by,
                source=source,
                at_utc_s=self._clock.utc_s(),
            )
            known = self._sample(connection, last.sample)
            tables.add_label(connection, withdrawal)
            settled = self._store.settle(connection, known.id)
        self._told()
        return last, settled

    def declare(self, task: str, names: Sequence[str]) -> None:
        """Make these labels classes of a task.

        Raises:
            BadLabelError: one of them cannot be a class; none is made one.
            TransientError, CorruptStoreError.
        """
        for name in names:
            check_class(name, (), new_class=True)
        with self._store.database.writing() as connection:
            tables.declare(connection, task, names)

    @staticmethod
    def _sample(connection: storage.Connection, identity: str) -> Sample:
        known = tables.by_id(connection, identity)
        if known is None:
            raise BadLabelError(
                f"no sample {identity!r}: its picture was not kept, or had to go since; "
                "`edge-agent evidence list` shows what there is"
            )
        return known


def _is_known(connection: storage.Connection, event: LabelEvent) -> bool:
    row = connection.execute("SELECT * FROM label_event WHERE id = ?", (event.id,)).fetchone()
    if row is None:
        return False
    known = tables.event_of(row)
    if (known.sample, known.label, known.by) != (event.sample, event.label, event.by):
        raise BadLabelError(
            f"label {event.id!r} is known as {known.label!r} for {known.sample} by {known.by}, and now it is "
            f"{event.label!r} for {event.sample} by {event.by}; a new label needs an id of its own"
        )
    return True


def _last_of(connection: storage.Connection, by: str) -> LabelEvent | None:
    # A sample that had to go has taken the meaning of its labels with it: they are passed over.
    row = connection.execute(
        "SELECT said.* FROM label_event AS said JOIN sample ON sample.id = said.sample"
        " WHERE said.by = ? AND said.label IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM label_event AS taken WHERE taken.withdraws = said.id)"
        " ORDER BY said.seq DESC LIMIT 1",
        (by,),
    ).fetchone()
    return None if row is None else tables.event_of(row)
