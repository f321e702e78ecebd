"""The coordinator's ledger, coordinator.db: tasks, gateways, rounds and contributions, each change in one transaction.

What is kept of a contribution is its bytes (`payloads`) and one row that says what became of it. The row alone decides:
sums over the rows that count are a shortcut that any restart can take or leave, since they are exact (`aggregate.sums`)
and so the same however they came about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent import storage
from edge_agent.coordinator import rounds, tables
from edge_agent.coordinator.aggregate.weights import Weight
from edge_agent.coordinator.cohorts import parse_cohort
from edge_agent.coordinator.rounds import Claim, Event, Known, Round, Terms
from edge_agent.coordinator.versions import Mark, check_coordinator, negotiate, renewed
from edge_agent.errors import RefusedError

NAME = "coordinator.db"


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
    """Who joined; `seen_utc_s` is when it was last heard of."""

    name: str
    tags: Mapping[str, str]
    version: int
    seen_utc_s: float
    forgotten: bool


class Ledger:
    """coordinator.db as this process has it open. `connection` is handed in, so that tests can break it."""

    def __init__(self, connection: storage.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    # --- tasks and gateways -----------------------------------------------------------------------------------------

    def add_task(self, task: Task, base: str) -> None:
        """Begin a task on `base` (sha256 of the encoder, or of the first model); the same again changes its terms.

        Raises:
            ConfigError: the cohort cannot be read.
            TransientError (StorageFullError, StorageReadOnlyError), CorruptStoreError: of every method here.
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
                "INSERT INTO gateway VALUES (?, ?, ?, ?, 0) ON CONFLICT (name) DO UPDATE SET tags = excluded.tags, "
                "version = excluded.version, seen_utc_s = excluded.seen_utc_s",
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
            rows = self._connection.execute("SELECT * FROM gateway ORDER BY name").fetchall()
        every = [
            Gateway(**dict(row) | {"tags": json.loads(row["tags"]), "forgotten": bool(row["forgotten"])})
            for row in rows
        ]
        if task is None:
            return every
        cohort = parse_cohort(self.task(task).cohort)
        return [gateway for gateway in every if not gateway.forgotten and gateway.tags in cohort]

    def tasks(self) -> list[str]:
        """The names of all tasks."""
        with storage.storage_faults(self.path):
            return [row[0] for row in self._connection.execute("SELECT name FROM task ORDER BY name")]

    def renew(self, task: str) -> Mark:
        """Begin a new epoch above everything that a gateway was shown: after a restored backup, by a person."""
        mark = renewed(self.mark(task), self._highest_seen(task)[1])
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute("UPDATE task SET epoch = ?, number = ? WHERE name = ?", (mark.epoch, mark.number, task))
        return mark

    # --- rounds -----------------------------------------------------------------------------------------------------

    def open_round(self, task: str, kind: str, offer: str, now_utc_s: float) -> Round:
        """The next round, with what waited for it; `offer` is its ULID.

        Raises:
            RefusedError: the one before has not ended, or this database is older than a gateway.
        """
        terms = self.task(task)
        ours = self.mark(task)
        gateway, highest = self._highest_seen(task)
        check_coordinator(ours, highest, gateway)
        before = self.round(task)
        if before is not None and before.phase not in rounds.ENDED:
            raise RefusedError(f"task {task}: round {before.terms.number} is {before.phase.value}; it has to end first")
        invited = len(self.gateways(task))
        with storage.transaction(self._connection, self.path) as connection:
            state = Round(
                terms=Terms(
                    task=task,
                    number=ours.number + 1,
                    offer=offer,
                    kind=kind,
                    bases=self._bases(task, kind, terms.staleness_max),
                    minimum=terms.minimum,
                    maximum=terms.maximum,
                    minimum_samples=terms.minimum_samples,
                    invited=invited,
                    deadline_utc_s=now_utc_s + terms.duration_s,
                    grace_s=terms.grace_s,
                )
            )
            connection.execute("UPDATE task SET number = ? WHERE name = ?", (state.terms.number, task))
            tables.drop_sums(connection, task)
            tables.write_round(connection, state, ours.epoch)
        return state

    def round(self, task: str, number: int | None = None) -> Round | None:
        """A round, the newest without a number; None where there is none."""
        with storage.storage_faults(self.path):
            return tables.read_round(self._connection, task, number)

    def move(self, task: str, event: Event, reason: str | None = None) -> tuple[Round, rounds.Action]:
        """Let `event` happen to the newest round, and keep what became of it.

        Raises:
            RefusedError: there is no round.
        """
        with storage.transaction(self._connection, self.path) as connection:
            before = tables.read_round(connection, task)
            if before is None:
                raise RefusedError(f"task {task}: no round was opened yet")
            state, action = rounds.advance(before, event, reason)
            tables.write_round(connection, state, self.mark(task).epoch)
        return state, action

    # --- contributions ----------------------------------------------------------------------------------------------

    def known(self, claim: Claim) -> Known:
        """What is held that bears on this claim."""
        with storage.storage_faults(self.path):
            run = self._connection.execute
            same = tables.answered(self._connection, claim.gateway, claim.id)
            (number,) = run("SELECT max(number) FROM round WHERE task = ?", (claim.task,)).fetchone()
            mine = run(
                "SELECT state, counted_in, sha256, id FROM contribution WHERE task = ? AND gateway = ?",
                (claim.task, claim.gateway),
            ).fetchall()
        earlier = [row["counted_in"] for row in mine if row["state"] == "counted" and row["sha256"] == claim.sha256]
        announced = same is not None and same.state == "announced"
        takes_part = any(gateway.name == claim.gateway for gateway in self.gateways(claim.task))
        return Known(
            takes_part=takes_part,
            same_id=None if same is None or (announced and same.sha256 == claim.sha256) else same.sha256,
            same_bytes_in=max(earlier, default=None),
            in_round=any(row["state"] == "counted" and row["counted_in"] == number for row in mine),
            waiting=any(row["state"] == "late" and row["id"] != claim.id for row in mine),
            announced=announced,
        )

    def announce(self, claim: Claim, number: int, now_utc_s: float) -> None:
        """Keep that this one is on its way to round `number`."""
        with storage.transaction(self._connection, self.path) as connection:
            tables.write_contribution(connection, claim, "announced", now_utc_s, counted_in=number)

    def count(self, claim: Claim, number: int, weight: Weight, now_utc_s: float) -> Round:
        """Count it in the open round: its row and the round change in one transaction."""
        with storage.transaction(self._connection, self.path) as connection:
            before = tables.read_round(connection, claim.task)
            if before is None or before.terms.number != number:
                raise RefusedError(f"task {claim.task}: round {number} is no longer the newest")
            state, action = rounds.advance(before, Event.ARRIVED)
            if action is not rounds.Action.ADD:
                raise RefusedError(f"task {claim.task}: round {number} is {before.phase.value} and takes nothing more")
            tables.write_contribution(connection, claim, "counted", now_utc_s, counted_in=number, weight=weight)
            tables.write_round(connection, state, self.mark(claim.task).epoch)
            return tables.read_round(connection, claim.task) or state

    def set_aside(self, claim: Claim, state: str, now_utc_s: float, reason: str | None = None) -> None:
        """Keep that it was `late` or `refused`."""
        with storage.transaction(self._connection, self.path) as connection:
            tables.write_contribution(connection, claim, state, now_utc_s, reason=reason)

    def answered(self, gateway: str, identity: str) -> tables.Answered | None:
        """What a contribution was answered."""
        with storage.storage_faults(self.path):
            return tables.answered(self._connection, gateway, identity)

    def waiting(self, task: str) -> list[Claim]:
        """Late contributions, which wait for the next round."""
        with storage.storage_faults(self.path):
            return tables.waiting(self._connection, task)

    def counted(self, task: str, number: int) -> list[tables.Counted]:
        """What counts in a round, in the order of the digests."""
        with storage.storage_faults(self.path):
            return tables.counted(self._connection, task, number)

    def standing(self, state: Round) -> list[tables.Counted]:
        """What gateways that are not in the round gave last, on the same base."""
        terms = state.terms
        with storage.storage_faults(self.path):
            return tables.standing(self._connection, terms.task, terms.number, terms.kind, terms.bases[0])

    # --- sums, releases, forgetting ---------------------------------------------------------------------------------

    def sums(self, task: str, number: int) -> bytes | None:
        """The running sums of a round as they were kept last."""
        with storage.storage_faults(self.path):
            return tables.read_sums(self._connection, task, number)

    def keep_sums(self, task: str, number: int, content: bytes, whose: list[tables.Counted]) -> None:
        """Keep the running sums and whose contributions they hold, in one transaction."""
        with storage.transaction(self._connection, self.path) as connection:
            tables.write_sums(connection, task, number, content, whose)

    def publish(self, state: Round, model: str, server_state: str | None) -> Round:
        """End the round with its model; for deltas it is the next base."""
        terms = state.terms
        with storage.transaction(self._connection, self.path) as connection:
            after, _ = rounds.advance(state, Event.SOLVED)
            self._write_release(terms, model, server_state)
            if terms.kind == "delta":
                connection.execute("UPDATE task SET base = ? WHERE name = ?", (model, terms.task))
            tables.drop_sums(connection, terms.task)
            tables.write_round(connection, after, self.mark(terms.task).epoch)
        return after

    def unreleased(self, task: str) -> Round | None:
        """The newest statistics round if what it published was withdrawn and can be made again."""
        with storage.storage_faults(self.path):
            (number,) = self._connection.execute(
                "SELECT max(number) FROM round WHERE task = ? AND kind = 'statistics' AND phase = 'published'", (task,)
            ).fetchone()
            state = None if number is None else tables.read_round(self._connection, task, number)
            release = tables.release(self._connection, task, kind="statistics")
        there = release is not None and release.number == number
        return None if state is None or there or state.reason else state

    def republish(self, state: Round, model: str) -> None:
        """Put another model in place of the one that was withdrawn: without what was forgotten."""
        with storage.transaction(self._connection, self.path):
            self._write_release(state.terms, model, None)

    def withdraw(self, state: Round, reason: str) -> None:
        """Keep why what an ended round published is gone for good."""
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute(
                "UPDATE round SET reason = ? WHERE task = ? AND number = ?",
                (reason, state.terms.task, state.terms.number),
            )

    def release(self, task: str, *, kind: str | None = None) -> tables.Release | None:
        """The newest release, or the newest of a kind."""
        with storage.storage_faults(self.path):
            return tables.release(self._connection, task, kind=kind)

    def untouched(self, task: str, gateway: str) -> str | None:
        """The newest model that no delta of `gateway` went into, None where the first one is it."""
        with storage.storage_faults(self.path):
            row = self._connection.execute(
                "SELECT model FROM release WHERE task = ?1 AND kind = 'delta' AND number < coalesce((SELECT "
                "min(counted_in) FROM contribution WHERE task = ?1 AND gateway = ?2 AND kind = 'delta' "
                "AND state IN ('counted', 'forgotten')), 1 << 40) ORDER BY number DESC LIMIT 1",
                (task, gateway),
            ).fetchone()
        return None if row is None else str(row[0])

    def forget(self, gateway: str) -> list[str]:
        """Let nothing of `gateway` count any more, nor ever again; returns the tasks in which something had.

        Heads that its sums went into are withdrawn at once, to be solved again without it (`unreleased`). Models that
        its deltas went into stay: others learned on them; `untouched` is the one to go back to.

        Raises:
            RefusedError: nobody of this name ever joined.
        """
        with storage.transaction(self._connection, self.path) as connection:
            if connection.execute("UPDATE gateway SET forgotten = 1 WHERE name = ?", (gateway,)).rowcount == 0:
                raise RefusedError(f"{gateway}: no gateway of this name joined; `edge-coordinator gateways` lists them")
            rows = connection.execute(
                "SELECT DISTINCT task, counted_in FROM contribution WHERE gateway = ? AND state = 'counted'", (gateway,)
            ).fetchall()
            for task, number in rows:
                connection.execute(
                    "DELETE FROM release WHERE task = ?1 AND kind = 'statistics' AND number >= (SELECT min(counted_in) "
                    "FROM contribution WHERE task = ?1 AND gateway = ?2 AND kind = 'statistics' AND state = 'counted')",
                    (task, gateway),
                )
                state = tables.read_round(connection, task)
                if state is not None and state.terms.number == number:
                    moved, action = rounds.advance(state, Event.FORGOTTEN)
                    if action is rounds.Action.RECOUNT:
                        tables.drop_sums(connection, task)
                    tables.write_round(connection, moved, self.mark(task).epoch)
            connection.execute(
                "UPDATE contribution SET state = 'forgotten', summed = 0 WHERE gateway = ? "
                "AND state IN ('counted', 'late', 'announced')",
                (gateway,),
            )
        return sorted({row[0] for row in rows})

    def spoken_of(self) -> set[str]:
        """The sha256 of every file that has to stay."""
        with storage.storage_faults(self.path):
            return tables.spoken_of(self._connection)

    def close(self) -> None:
        self._connection.close()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _task(self, name: str) -> storage.Row:
        with storage.storage_faults(self.path):
            row: storage.Row | None = self._connection.execute("SELECT * FROM task WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise RefusedError(f"task {name!r} is not known; `edge-coordinator tasks` lists them")
        return row

    def _highest_seen(self, task: str) -> tuple[str, Mark | None]:
        with storage.storage_faults(self.path):
            row = self._connection.execute(
                "SELECT gateway, epoch, number FROM mark WHERE task = ? ORDER BY epoch DESC, number DESC LIMIT 1",
                (task,),
            ).fetchone()
        return ("", None) if row is None else (row["gateway"], Mark(epoch=row["epoch"], number=row["number"]))

    def _bases(self, task: str, kind: str, staleness_max: int) -> tuple[str, ...]:
        """The base of the next contributions and, for deltas, the ones it replaced."""
        bases = [self.base(task)]
        if kind == "delta" and staleness_max:
            rows = self._connection.execute(
                "SELECT base FROM release WHERE task = ? AND kind = 'delta' ORDER BY number DESC LIMIT ?",
                (task, staleness_max),
            )
            bases += [row[0] for row in rows if row[0] not in bases]
        return tuple(bases)

    def _write_release(self, terms: Terms, model: str, server_state: str | None) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?, ?)",
            (terms.task, terms.number, terms.kind, terms.bases[0], model, server_state),
        )


def open_ledger(root: Path) -> Ledger:
    """The ledger under `root`, which is made where it is not there.

    Raises:
        CorruptStoreError: damaged, or written by a newer program. It is never replaced: restore it from a backup.
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    with storage.storage_faults(root):
        root.mkdir(parents=True, exist_ok=True)
    path = root / NAME
    return Ledger(storage.open_database(path, tables.MIGRATIONS), path)
