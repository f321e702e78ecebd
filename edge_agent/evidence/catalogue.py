"""Looking things up in the store: lists, the queue of what most needs a label, counts. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_agent import storage
from edge_agent.errors import BadEvidenceError
from edge_agent.evidence import tables
from edge_agent.evidence.database import Database
from edge_agent.evidence.labels import LabelEvent
from edge_agent.records import KeepReason, Sample, Standing, Verdict

_OPEN_TO = """
    standing != 'labelled' AND (? IS NULL OR camera = ?) AND (? IS NULL OR task = ?) AND NOT EXISTS (
        SELECT 1 FROM label_event AS said WHERE said.sample = sample.id AND said.by = ? AND said.label IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM label_event AS taken WHERE taken.withdraws = said.id))
"""
# Most useful first: where people differ, where a second opinion is asked for, then where the model is least sure. What
# is unlike anything known has no telling score, so it stands with the least sure.
_QUEUE = f"""
    WHERE {_OPEN_TO}
    ORDER BY CASE standing WHEN 'disputed' THEN 0 WHEN 'waiting' THEN 1 ELSE 2 END,
        CASE WHEN kept LIKE '%request%' THEN 0 ELSE 1 END,
        CASE WHEN kept LIKE '%unlike%' THEN 0.0 ELSE ABS(COALESCE(score - threshold, 1.0)) END, captured_utc_s DESC
    LIMIT ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which samples; None means any. `label` is the truth where there is one, else the model's word."""

    standing: Standing | None = None
    camera: str | None = None
    task: str | None = None
    verdict: Verdict | None = None
    label: str | None = None
    kept: KeepReason | None = None
    sealed: bool | None = None
    legal_hold: bool | None = None
    since_utc_s: float | None = None
    until_utc_s: float | None = None
    part: str | None = None
    labelled_by: str | None = None
    text: str | None = None  # within the id, part, recipe, group or model's label, capitals or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The store in numbers. `classes`: task -> truth -> [open, sealed] labelled samples."""

    samples: int
    size_bytes: int
    sealed: int
    legal_hold: int
    standing: dict[str, int]
    kept: dict[str, int]
    classes: dict[str, dict[str, tuple[int, int]]]
    tally: dict[str, int]
    oldest_utc_s: float | None


class Catalogue:
    """What is in a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sample(self, start: str) -> Sample:
        """The sample whose id begins so (capitals or not).

        Raises:
            BadEvidenceError: there is none, or more than one.
            TransientError, CorruptStoreError.
        """
        begin = start.upper()
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{tables.SELECT} WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (begin, begin + "~")
            ).fetchall()
        if len(rows) != 1 or not begin:
            found = "more than one sample begins" if rows else "no sample begins"
            raise BadEvidenceError(f"{found} with {start!r}; `edge-agent evidence list` shows what there is")
        return tables.sample_of(rows[0])

    def find_one(self, identity: str) -> Sample | None:
        """The sample of exactly this id, None where it is not, or no longer, kept.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            return tables.by_id(connection, identity)

    def heat(self, identity: str) -> bytes | None:
        """Where the model saw a defect in a sample: a small PNG to lay over the whole picture.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            return tables.heat_of(connection, identity)

    def find(self, wanted: Wanted, *, limit: int = 50, offset: int = 0) -> list[Sample]:
        """Samples, newest first.

        Raises:
            TransientError, CorruptStoreError.
        """
        where, values = _condition(wanted)
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{tables.SELECT} {where} ORDER BY captured_utc_s DESC, id DESC LIMIT ? OFFSET ?",
                (*values, limit, offset),
            )
            return [tables.sample_of(row) for row in rows]

    def queue(self, by: str, *, camera: str | None = None, task: str | None = None, limit: int = 1) -> list[Sample]:
        """What `by` should look at next, most useful first; what they have spoken of already is left out.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            rows = connection.execute(f"{tables.SELECT} {_QUEUE}", (camera, camera, task, task, by, limit))
            return [tables.sample_of(row) for row in rows]

    def waiting(self, by: str) -> int:
        """How many samples the whole queue of `by` has.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT COUNT(*) FROM sample WHERE {_OPEN_TO}", (None, None, None, None, by))  # noqa: S608 - constants
            return int(row.fetchone()[0])

    def events(self, sample: str | None = None, *, by: str | None = None, limit: int = 50) -> list[LabelEvent]:
        """Who said what: of one sample oldest first, of all newest first.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            if sample is not None:
                return tables.events_of(connection, sample)
            return tables.latest_events(connection, limit, by)

    def classes(self, task: str) -> set[str]:
        """The labels that may be given.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            return tables.classes(connection, task)

    def stats(self) -> Stats:
        """The store in numbers.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT COUNT(*) AS samples, COALESCE(SUM(size_bytes), 0) AS bytes, COALESCE(SUM(sealed), 0) AS sealed,"
                " COALESCE(SUM(legal_hold), 0) AS held, MIN(captured_utc_s) AS oldest FROM sample"
            ).fetchone()
            kept = {
                reason.value: connection.execute(
                    "SELECT COUNT(*) FROM sample WHERE ',' || kept || ',' LIKE ?", (f"%,{reason.value},%",)
                ).fetchone()[0]
                for reason in KeepReason
            }
            return Stats(
                samples=row["samples"],
                size_bytes=row["bytes"],
                sealed=row["sealed"],
                legal_hold=row["held"],
                standing=_counts(connection, "standing"),
                kept={name: number for name, number in kept.items() if number},
                classes=_classes(connection),
                tally=tables.tally(connection),
                oldest_utc_s=row["oldest"],
            )


def _condition(wanted: Wanted) -> tuple[str, list[Any]]:
    tests: dict[str, Any] = {
        "standing = ?": wanted.standing and wanted.standing.value,
        "camera = ?": wanted.camera,
        "task = ?": wanted.task,
        "verdict = ?": wanted.verdict and wanted.verdict.value,
        "COALESCE(truth, label) = ?": wanted.label,
        "',' || kept || ',' LIKE '%,' || ? || ',%'": wanted.kept and wanted.kept.value,
        "sealed = ?": wanted.sealed,
        "legal_hold = ?": wanted.legal_hold,
        "captured_utc_s >= ?": wanted.since_utc_s,
        "captured_utc_s < ?": wanted.until_utc_s,
        "part = ?": wanted.part,
        "EXISTS (SELECT 1 FROM label_event AS said WHERE said.sample = sample.id AND said.by = ?)": wanted.labelled_by,
        "instr(lower(id || ' ' || COALESCE(part, '') || ' ' || COALESCE(recipe, '') || ' ' || physical_group || ' '"
        " || COALESCE(label, '')), lower(?)) > 0": wanted.text,
    }
    asked = {test: value for test, value in tests.items() if value is not None}
    return ("WHERE " + " AND ".join(asked) if asked else ""), list(asked.values())


def _counts(connection: storage.Connection, column: str) -> dict[str, int]:
    rows = connection.execute(f"SELECT {column} AS name, COUNT(*) AS number FROM sample GROUP BY {column}")  # noqa: S608 - a constant
    return {row["name"]: row["number"] for row in rows}


def _classes(connection: storage.Connection) -> dict[str, dict[str, tuple[int, int]]]:
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for row in connection.execute(
        "SELECT task, truth, SUM(NOT sealed) AS open, SUM(sealed) AS sealed FROM sample WHERE truth IS NOT NULL"
        " GROUP BY task, truth ORDER BY task, truth"
    ):
        found.setdefault(row["task"], {})[row["truth"]] = (row["open"], row["sealed"])
    return found
