"""After damage: a new database from every row that can still be read; nothing is deleted, what is left over lies aside.

evidence.db (damaged) --rows, from both ends of each table--> evidence.db.part --whole--> evidence.db.new
      `--> damaged-TIME/, then the pictures that have no row now              evidence.db <--'
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent import storage
from edge_agent.clock import Clock, rfc3339
from edge_agent.errors import CorruptStoreError, TransientError
from edge_agent.evidence import tables
from edge_agent.evidence.database import NAME, Database
from edge_agent.evidence.labels import LabelEvent, LabelSource
from edge_agent.evidence.pictures import PREFIXES
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.records import ulid

log = logging.getLogger(__name__)

# Each table with the columns that order it.
TABLES = {
    "physical_group": "name",
    "sample": "seq",
    "label_event": "seq",
    "class": "task, name",
    "vector": "sample, encoder",
    "heat": "sample",
    "wish": "camera",
    "tally": "name",
    "fact": "name",
}
# Where the labels of a sample could not be read but their outcome could.
REPAIRER = "(repair)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What was saved. `aside` is the folder of what could not be used: the damaged database and `unowned` pictures;
    None where nothing was damaged.
    """

    aside: Path | None
    samples: int = 0
    labels: int = 0
    unowned: int = 0


def repair(root: Path, clock: Clock) -> Repaired:
    """Make the store whole again. The daemon may run: it tries the store again every minute.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: nothing was lost, and the next repair goes on.
    """
    part, fresh = root / f"{NAME}.part", root / f"{NAME}.new"
    if not fresh.exists():
        if _is_sound(root):
            return Repaired(aside=None)
        with storage.storage_faults(root):
            _remove_database(part)
        _copy(root / NAME, part)
        with storage.storage_faults(root):
            part.rename(fresh)
            storage.sync_directory(root)
    # From here on `fresh` is whole: a repair that is interrupted goes on with it.
    stamp = rfc3339(clock.utc_s()).replace(":", "")
    aside = root / f"damaged-{stamp}"
    with storage.storage_faults(root):
        aside.mkdir(exist_ok=True)
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                (root / f"{NAME}{suffix}").rename(aside / f"{NAME}{suffix}")
        fresh.rename(root / NAME)
        storage.sync_directory(root)
    Database(root).pictures.make_folders()
    with contextlib.closing(EvidenceStore(root)) as store:
        samples, labels = _settle(store, clock)
        unowned = _move_unowned(store, aside / "pictures")
    return Repaired(aside=aside, samples=samples, labels=labels, unowned=unowned)


def _is_sound(root: Path) -> bool:
    database = Database(root)
    try:
        database.check()
    except CorruptStoreError:
        return False
    finally:
        database.close()
    return True


def _remove_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _copy(damaged: Path, fresh: Path) -> None:
    target = storage.open_database(fresh, tables.MIGRATIONS)
    source = storage.open_database(damaged, (), read_only=True) if damaged.exists() else None
    try:
        with storage.transaction(target, fresh):
            for table, order in TABLES.items():
                if source is not None:
                    _copy_table(source, target, table, order)
            # The answers for groups whose own rows are gone stand in their samples.
            target.execute("INSERT OR IGNORE INTO physical_group SELECT DISTINCT physical_group, sealed FROM sample")
        # All of it in the one file that is then renamed.
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()
        if source is not None:
            source.close()


def _copy_table(source: storage.Connection, target: storage.Connection, table: str, order: str) -> None:
    known = {row["name"] for row in target.execute(f"PRAGMA table_info({table})")}
    for way in ("ASC", "DESC"):
        ordering = ", ".join(f"{column.strip()} {way}" for column in order.split(","))
        whole = True
        for row in _rows(source, f"SELECT * FROM {table} ORDER BY {ordering}"):  # noqa: S608 - constants
            if row is None:
                whole = False
                break
            names = [name for name in row.keys() if name in known]  # noqa: SIM118 - a row is no mapping
            holes = ", ".join("?" * len(names))
            target.execute(
                f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({holes})",  # noqa: S608 - constants
                [row[name] for name in names],
            )
        if whole:
            return


def _rows(source: storage.Connection, query: str) -> Iterator[storage.Row | None]:
    """The rows until one cannot be read; then None."""
    try:
        with storage.storage_faults(Path(NAME)):
            yield from source.execute(query)
    except (CorruptStoreError, TransientError) as error:
        log.warning("evidence=repair reason=%s", error)
        yield None


def _settle(store: EvidenceStore, clock: Clock) -> tuple[int, int]:
    with store.database.writing() as connection:
        known = tables.fact(connection, "rules")
        tables.set_fact(connection, "rules", StoreRules().as_json() if known is None else known)
        samples = [tables.sample_of(row) for row in connection.execute(tables.SELECT).fetchall()]
        for sample in samples:
            if sample.truth is not None and not tables.events_of(connection, sample.id):
                event = LabelEvent(
                    id=ulid(clock.utc_s()),
                    sample=sample.id,
                    by=REPAIRER,
                    source=LabelSource.IMPORT,
                    at_utc_s=clock.utc_s(),
                    label=sample.truth,
                    note="the label itself could not be read, only what it came to",
                )
                tables.add_label(connection, event)
            store.settle(connection, sample.id)
        labels = connection.execute("SELECT COUNT(*) FROM label_event WHERE by != ?", (REPAIRER,)).fetchone()[0]
    return len(samples), int(labels)


def _move_unowned(store: EvidenceStore, target: Path) -> int:
    moved = 0
    with store.database.writing() as connection:
        owned = {row["file"] for row in connection.execute("SELECT file FROM sample")}
        for prefix in PREFIXES:
            for file in store.database.pictures.names(prefix):
                if file not in owned:
                    target.mkdir(exist_ok=True)
                    (store.database.root / file).rename(target / Path(file).name)
                    moved += 1
    return moved
