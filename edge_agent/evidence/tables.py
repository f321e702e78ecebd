"""The tables of evidence.db, and rows made into records; every function that writes runs in the caller's transaction.

sample          one kept picture. `standing`, `truth` and `usefulness` are worked out from the other tables and rules,
                and written in the same transaction as what changed them
physical_group  the first and last answer to whether a group is sealed; outlives its samples
label_event     what people said, append-only; outlives its samples
class           the labels that may be given for a task
heat            a small PNG that shows where the model saw a defect, to lay over the picture
vector          int8 features of a sample by one encoder
wish            pictures a person asked for, by camera
tally           what was not kept, and what went, since the store was begun
fact            what the derived columns were last worked out with
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from edge_agent import storage
from edge_agent.evidence.labels import LabelEvent, LabelSource
from edge_agent.evidence.retention import Dispensable, Usefulness
from edge_agent.records import HoldReason, KeepReason, Region, Sample, Standing, Verdict

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE physical_group (name TEXT PRIMARY KEY, sealed INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE sample (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, task TEXT NOT NULL,
        camera TEXT, captured_utc_s REAL NOT NULL, part TEXT, recipe TEXT,
        physical_group TEXT NOT NULL, sealed INTEGER NOT NULL, kept TEXT NOT NULL,
        verdict TEXT, reason TEXT, label TEXT, score REAL, threshold REAL, whereabouts TEXT, model TEXT,
        likeness INTEGER, width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
        file TEXT NOT NULL, legal_hold INTEGER NOT NULL DEFAULT 0, standing TEXT NOT NULL, truth TEXT,
        usefulness INTEGER NOT NULL);
    CREATE INDEX sample_by_usefulness ON sample (usefulness, captured_utc_s, id, size_bytes);
    CREATE INDEX sample_by_file ON sample (file);
    CREATE INDEX sample_by_standing ON sample (standing, sealed, captured_utc_s);
    CREATE INDEX sample_by_camera ON sample (camera, captured_utc_s);
    CREATE INDEX sample_by_time ON sample (captured_utc_s, id);
    CREATE TABLE label_event (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, sample TEXT NOT NULL,
        label TEXT, withdraws TEXT UNIQUE, by TEXT NOT NULL, adjudicator INTEGER NOT NULL, source TEXT NOT NULL,
        at_utc_s REAL NOT NULL, note TEXT);
    CREATE INDEX label_event_by_sample ON label_event (sample, seq);
    CREATE INDEX label_event_by_person ON label_event (by, seq);
    CREATE INDEX label_event_word ON label_event (sample, by);
    CREATE TABLE class (task TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (task, name)) WITHOUT ROWID;
    CREATE TABLE vector (sample TEXT NOT NULL, encoder TEXT NOT NULL, scale TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (sample, encoder)) WITHOUT ROWID;
    CREATE TABLE wish (camera TEXT PRIMARY KEY, pictures INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE tally (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
    """,
    "CREATE TABLE heat (sample TEXT PRIMARY KEY, png BLOB NOT NULL) WITHOUT ROWID",
)

_COLUMNS = (
    "id, task, camera, captured_utc_s, part, recipe, physical_group, sealed, kept, verdict, reason, label, score,"
    " threshold, whereabouts, model, likeness, width_px, height_px, size_bytes, file, legal_hold, standing, truth"
)
SELECT = f"SELECT {_COLUMNS} FROM sample"  # noqa: S608 - constants
_SIGN = 1 << 63  # SQLite's integers are signed


def insert(connection: storage.Connection, sample: Sample, usefulness: Usefulness) -> None:
    """A new row; its group must be there already."""
    holes = ", ".join("?" * 25)
    connection.execute(
        f"INSERT INTO sample ({_COLUMNS}, usefulness) VALUES ({holes})",  # noqa: S608 - constants
        (
            sample.id,
            sample.task,
            sample.camera,
            sample.captured_utc_s,
            sample.part,
            sample.recipe,
            sample.group,
            int(sample.sealed),
            ",".join(reason.value for reason in sample.kept),
            sample.verdict and sample.verdict.value,
            sample.reason and sample.reason.value,
            sample.label,
            sample.score,
            sample.threshold,
            None if sample.where is None else json.dumps(asdict(sample.where)),
            sample.model,
            None if sample.likeness is None else (sample.likeness ^ _SIGN) - _SIGN,
            sample.width_px,
            sample.height_px,
            sample.size_bytes,
            sample.file,
            int(sample.legal_hold),
            sample.standing.value,
            sample.truth,
            int(usefulness),
        ),
    )


def sample_of(row: storage.Row) -> Sample:
    """A row of `SELECT` as a record."""
    return Sample(
        id=row["id"],
        task=row["task"],
        camera=row["camera"],
        captured_utc_s=row["captured_utc_s"],
        part=row["part"],
        recipe=row["recipe"],
        group=row["physical_group"],
        sealed=bool(row["sealed"]),
        kept=tuple(KeepReason(word) for word in row["kept"].split(",")),
        verdict=row["verdict"] and Verdict(row["verdict"]),
        reason=row["reason"] and HoldReason(row["reason"]),
        label=row["label"],
        score=row["score"],
        threshold=row["threshold"],
        where=row["whereabouts"] and Region(**json.loads(row["whereabouts"])),
        model=row["model"],
        likeness=None if row["likeness"] is None else row["likeness"] & (2 * _SIGN - 1),
        width_px=row["width_px"],
        height_px=row["height_px"],
        size_bytes=row["size_bytes"],
        file=row["file"],
        legal_hold=bool(row["legal_hold"]),
        standing=Standing(row["standing"]),
        truth=row["truth"],
    )


def by_id(connection: storage.Connection, identity: str) -> Sample | None:
    """One sample."""
    row = connection.execute(f"{SELECT} WHERE id = ?", (identity,)).fetchone()
    return None if row is None else sample_of(row)


def by_digest(connection: storage.Connection, digest: str) -> Sample | None:
    """A sample that keeps bytes of this sha256 (hex), whatever kind of picture they are."""
    for tree in ("open", "sealed"):
        start = f"{tree}/{digest[:2]}/{digest}"
        row = connection.execute(f"{SELECT} WHERE file > ? AND file < ? ORDER BY seq LIMIT 1", (start, start + "~"))
        found = row.fetchone()
        if found is not None:
            return sample_of(found)
    return None


def likenesses(connection: storage.Connection, group_start: str) -> list[tuple[int, str]]:
    """Perceptual hash and group of every sample whose group begins so."""
    rows = connection.execute(
        "SELECT likeness, physical_group FROM sample WHERE substr(physical_group, 1, ?) = ? AND likeness IS NOT NULL",
        (len(group_start), group_start),
    )
    return [(row["likeness"] & (2 * _SIGN - 1), row["physical_group"]) for row in rows]


def settle(connection: storage.Connection, sample: Sample, usefulness: Usefulness) -> None:
    """Write what was worked out anew: standing, truth, usefulness, legal hold."""
    connection.execute(
        "UPDATE sample SET standing = ?, truth = ?, legal_hold = ?, usefulness = ? WHERE id = ?",
        (sample.standing.value, sample.truth, int(sample.legal_hold), int(usefulness), sample.id),
    )


def seal(connection: storage.Connection, group: str, *, sealed: bool) -> bool:
    """Whether a group is sealed: as it was decided the first time, else as `sealed` says now and for ever."""
    connection.execute("INSERT OR IGNORE INTO physical_group (name, sealed) VALUES (?, ?)", (group, int(sealed)))
    row = connection.execute("SELECT sealed FROM physical_group WHERE name = ?", (group,)).fetchone()
    return bool(row["sealed"])


def add_label(connection: storage.Connection, event: LabelEvent) -> None:
    """Append one event."""
    connection.execute(
        "INSERT INTO label_event (id, sample, label, withdraws, by, adjudicator, source, at_utc_s, note)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.id,
            event.sample,
            event.label,
            event.withdraws,
            event.by,
            int(event.adjudicator),
            event.source.value,
            event.at_utc_s,
            event.note,
        ),
    )


def events_of(connection: storage.Connection, identity: str) -> list[LabelEvent]:
    """What was said of one sample, oldest first."""
    rows = connection.execute("SELECT * FROM label_event WHERE sample = ? ORDER BY seq", (identity,))
    return [event_of(row) for row in rows]


def latest_events(connection: storage.Connection, limit: int, by: str | None = None) -> list[LabelEvent]:
    """What was said last of all samples (by one person), newest first."""
    rows = connection.execute(
        "SELECT * FROM label_event WHERE ? IS NULL OR by = ? ORDER BY seq DESC LIMIT ?", (by, by, limit)
    )
    return [event_of(row) for row in rows]


def event_of(row: storage.Row) -> LabelEvent:
    """A row of label_event as a record."""
    return LabelEvent(
        id=row["id"],
        sample=row["sample"],
        label=row["label"],
        withdraws=row["withdraws"],
        by=row["by"],
        adjudicator=bool(row["adjudicator"]),
        source=LabelSource(row["source"]),
        at_utc_s=row["at_utc_s"],
        note=row["note"],
    )


def classes(connection: storage.Connection, task: str) -> set[str]:
    """The labels that may be given: those declared, and those that a model gave."""
    rows = connection.execute(
        "SELECT name FROM class WHERE task = ? UNION SELECT DISTINCT label FROM sample"
        " WHERE task = ? AND label IS NOT NULL AND label != 'unlike-good'",
        (task, task),
    )
    return {row["name"] for row in rows}


def declare(connection: storage.Connection, task: str, names: Iterable[str]) -> None:
    """Make these labels classes of the task."""
    connection.executemany("INSERT OR IGNORE INTO class (task, name) VALUES (?, ?)", [(task, name) for name in names])


def dispensable(connection: storage.Connection, offset: int, limit: int) -> list[Dispensable]:
    """Rows in the order in which they go; the protected are not among them."""
    rows = connection.execute(
        "SELECT id, size_bytes FROM sample WHERE usefulness < ? ORDER BY usefulness, captured_utc_s, id"
        " LIMIT ? OFFSET ?",
        (int(Usefulness.PROTECTED), limit, offset),
    )
    return [Dispensable(row["id"], row["size_bytes"]) for row in rows]


def remove(connection: storage.Connection, identities: Sequence[str]) -> list[str]:
    """Delete samples with their vectors and heat, count them by class, and return their files."""
    files = []
    gone: Counter[str] = Counter()
    for identity in identities:
        row = connection.execute("SELECT file, usefulness FROM sample WHERE id = ?", (identity,)).fetchone()
        if row is not None:
            files.append(row["file"])
            gone[f"evicted-{Usefulness(row['usefulness']).name.lower().replace('_', '-')}"] += 1
        connection.execute("DELETE FROM sample WHERE id = ?", (identity,))
        connection.execute("DELETE FROM vector WHERE sample = ?", (identity,))
        connection.execute("DELETE FROM heat WHERE sample = ?", (identity,))
    count(connection, gone)
    return files


def keep_vector(connection: storage.Connection, identity: str, encoder: str, scale: str, value: bytes) -> None:
    """Keep what an encoder made of a sample; a newer one by the same encoder replaces it."""
    connection.execute(
        "INSERT OR REPLACE INTO vector (sample, encoder, scale, value) VALUES (?, ?, ?, ?)",
        (identity, encoder, scale, value),
    )


def keep_heat(connection: storage.Connection, identity: str, png: bytes) -> None:
    """Keep where the model saw a defect."""
    connection.execute("INSERT OR REPLACE INTO heat (sample, png) VALUES (?, ?)", (identity, png))


def heat_of(connection: storage.Connection, identity: str) -> bytes | None:
    """The PNG that `keep_heat` kept."""
    row = connection.execute("SELECT png FROM heat WHERE sample = ?", (identity,)).fetchone()
    return None if row is None else bytes(row["png"])


def kept_bytes(connection: storage.Connection) -> int:
    """Bytes of all pictures together."""
    return int(connection.execute("SELECT COALESCE(SUM(size_bytes), 0) FROM sample").fetchone()[0])


def count(connection: storage.Connection, numbers: Mapping[str, int]) -> None:
    """Add to the tally."""
    connection.executemany(
        "INSERT INTO tally (name, number) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET number = number + excluded.number",
        [(name, number) for name, number in numbers.items() if number],
    )


def tally(connection: storage.Connection) -> dict[str, int]:
    """What was counted since the store was begun."""
    return {row["name"]: row["number"] for row in connection.execute("SELECT name, number FROM tally ORDER BY name")}


def fact(connection: storage.Connection, name: str) -> str | None:
    """A stored fact."""
    row = connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def set_fact(connection: storage.Connection, name: str, value: str) -> None:
    """Store a fact."""
    connection.execute("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)", (name, value))
