"""Who takes part in what: tasks, the gateways that joined, and the highest mark that each of them was shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent import storage
from edge_agent.coordinator.cohorts import parse_cohort
from edge_agent.coordinator.versions import Mark, check_coordinator, negotiate, renewed
from edge_agent.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learned together, and on which terms. `cohort` as in `cohorts`; `staleness_max` older bases count too."""

    name: str
    cohort: str = ""
    minimum: int = 2
    maximum: int = 1000
    minimum_samples: int = 1
    duration_s: float = 3600.0
    grace_s: float = 60.0
    staleness_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Who joined; `seen_utc_s` is when it was last heard of, `share` (above 0 to 1) what its deltas count."""

    name: str
    tags: Mapping[str, str]
    version: int
    seen_utc_s: float
    forgotten: bool
    share: float


class Registry:
    """The tables task, gateway and mark of coordinator.db.

    Raises, from every method: TransientError (StorageFullError, StorageReadOnlyError), CorruptStoreError.
    """

    def __init__(self, connection: storage.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def add_task(self, task: Task, base: str) -> None:
        """Begin a task on `base` (sha256 of the encoder, or of the first model); the same again changes its terms.

        Raises:
            ConfigError: the cohort cannot be read.
        """
        parse_cohort(task.cohort)
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute(
                "INSERT INTO task VALUES (?, ?, 1, 0, ?) ON CONFLICT (name) DO UPDATE SET terms = excluded.terms",
                (task.name, json.dumps(asdict(task)), base),
            )

    def task(self, name: str) -> Task:
        """The terms of a task.

        Raises:
            RefusedError: there is none of this name.
        """
        return Task(**json.loads(self._task(name)["terms"]))

    def base(self, task: str) -> str:
        """What the next contributions are made against."""
        return str(self._task(task)["base"])

    def mark(self, task: str) -> Mark:
        """How far this task has come."""
        row = self._task(task)
        return Mark(epoch=row["epoch"], number=row["number"])

    def join(
        self,
        gateway: str,
        tags: Mapping[str, str],
        versions: tuple[int, int],
        seen: Mapping[str, Mark],
        now_utc_s: float,
    ) -> int:
        """Register a gateway, or hear of it again; returns the version to speak. `seen`: its highest marks by task.

        The marks are kept also when this database turns out to be older than they are: nothing is offered then.

        Raises:
            RefusedError: no common version, or this database is older than the gateway.
        """
        version = negotiate(*versions)
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute(
                "INSERT INTO gateway (name, tags, version, seen_utc_s) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET tags = excluded.tags, version = excluded.version, "
                "seen_utc_s = excluded.seen_utc_s",
                (gateway, json.dumps(dict(tags), sort_keys=True), version, now_utc_s),
            )
            connection.executemany(
                "INSERT INTO mark VALUES (?, ?, ?, ?) ON CONFLICT (gateway, task) DO UPDATE SET "
                "epoch = excluded.epoch, number = excluded.number "
                "WHERE (excluded.epoch, excluded.number) > (epoch, number)",
                [(gateway, task, mark.epoch, mark.number) for task, mark in seen.items()],
            )
        for task in self.tasks():
            check_coordinator(self.mark(task), seen.get(task), gateway)
        return version

    def gateways(self, task: str | None = None) -> list[Gateway]:
        """Who joined, or who of them takes part in a task."""
        with storage.storage_faults(self.path):
            every = [_gateway(row) for row in self._connection.execute("SELECT * FROM gateway ORDER BY name")]
        if task is None:
            return every
        cohort = parse_cohort(self.task(task).cohort)
        return [gateway for gateway in every if not gateway.forgotten and gateway.tags in cohort]

    def gateway(self, name: str) -> Gateway | None:
        """One of those who joined, None for a stranger."""
        with storage.storage_faults(self.path):
            row = self._connection.execute("SELECT * FROM gateway WHERE name = ?", (name,)).fetchone()
        return None if row is None else _gateway(row)

    def set_share(self, name: str, share: float) -> None:
        """Let the deltas of a gateway count for less; sums of statistics always count whole.

        Raises:
            RefusedError: nobody of this name, or not above 0 to 1.
        """
        if not 0.0 < share <= 1.0 or self.gateway(name) is None:
            raise RefusedError(f"share {share} of gateway {name!r}: expected above 0 to 1, of one that joined")
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute("UPDATE gateway SET share = ? WHERE name = ?", (share, name))

    def tasks(self) -> list[str]:
        """The names of all tasks."""
        with storage.storage_faults(self.path):
            return [row[0] for row in self._connection.execute("SELECT name FROM task ORDER BY name")]

    def renew(self, task: str) -> Mark:
        """Begin a new epoch above everything that a gateway was shown: after a restored backup, by a person."""
        mark = renewed(self.mark(task), self.highest_seen(task)[1])
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute("UPDATE task SET epoch = ?, number = ? WHERE name = ?", (mark.epoch, mark.number, task))
        return mark

    def highest_seen(self, task: str) -> tuple[str, Mark | None]:
        """The highest mark of a task that a gateway was shown, and which gateway."""
        with storage.storage_faults(self.path):
            row = self._connection.execute(
                "SELECT gateway, epoch, number FROM mark WHERE task = ? ORDER BY epoch DESC, number DESC LIMIT 1",
                (task,),
            ).fetchone()
        return ("", None) if row is None else (row["gateway"], Mark(epoch=row["epoch"], number=row["number"]))

    def _task(self, name: str) -> storage.Row:
        with storage.storage_faults(self.path):
            row: storage.Row | None = self._connection.execute("SELECT * FROM task WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise RefusedError(f"task {name!r} is not known; `edge-coordinator tasks` lists them")
        return row


def _gateway(row: storage.Row) -> Gateway:
    return Gateway(**dict(row) | {"tags": json.loads(row["tags"]), "forgotten": bool(row["forgotten"])})
