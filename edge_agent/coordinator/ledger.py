"""The coordinator's ledger, coordinator.db: rounds, contributions, sums and releases, each change in one transaction.

What is kept of a contribution is its bytes (`payloads`) and one row that says what became of it. The row alone decides:
sums over the rows that count are a shortcut that any restart can take or leave, since they are exact (`aggregate.sums`)
and so the same however they came about.
"""

from __future__ import annotations

from pathlib import Path

from edge_agent import storage
from edge_agent.coordinator import rounds, tables
from edge_agent.coordinator.aggregate.weights import Weight
from edge_agent.coordinator.cohorts import parse_cohort
from edge_agent.coordinator.registry import Registry
from edge_agent.coordinator.rounds import Claim, Event, Known, Round, Terms
from edge_agent.coordinator.versions import check_coordinator
from edge_agent.errors import RefusedError

NAME = "coordinator.db"


class Ledger:
    """coordinator.db as this process has it open. `connection` is handed in, so that tests can break it.

    Raises, from every method: TransientError (StorageFullError, StorageReadOnlyError), CorruptStoreError.
    """

    def __init__(self, connection: storage.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self.registry = Registry(connection, path)

    # --- rounds -----------------------------------------------------------------------------------------------------

    def open_round(self, task: str, kind: str, offer: str, now_utc_s: float) -> Round:
        """The next round, with what waited for it; `offer` is its ULID.

        Raises:
            RefusedError: the one before has not ended, or this database is older than a gateway.
        """
        terms = self.registry.task(task)
        ours = self.registry.mark(task)
        gateway, highest = self.registry.highest_seen(task)
        check_coordinator(ours, highest, gateway)
        before = self.round(task)
        if before is not None and before.phase not in rounds.ENDED:
            raise RefusedError(f"task {task}: round {before.terms.number} is {before.phase.value}; it has to end first")
        invited = len(self.registry.gateways(task))
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
            if action is rounds.Action.ABANDON and event is Event.SHORT:
                tables.carry_over(connection, task, state.terms.number)
            tables.write_round(connection, state, self.registry.mark(task).epoch)
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
        gateway = self.registry.gateway(claim.gateway)
        in_cohort = gateway is not None and gateway.tags in parse_cohort(self.registry.task(claim.task).cohort)
        return Known(
            takes_part=gateway is not None and in_cohort and not gateway.forgotten,
            same_id=None if same is None or (announced and same.sha256 == claim.sha256) else same.sha256,
            same_bytes_in=max(earlier, default=None),
            in_round=any(row["state"] == "counted" and row["counted_in"] == number for row in mine),
            waiting=any(row["state"] == "late" and row["id"] != claim.id for row in mine),
            announced=announced,
        )

    def announce(self, claim: Claim, number: int, now_utc_s: float) -> None:
        """Keep that this one, and no other of its gateway, is on its way to round `number`."""
        with storage.transaction(self._connection, self.path) as connection:
            connection.execute(
                "DELETE FROM contribution WHERE gateway = ? AND task = ? AND state = 'announced'",
                (claim.gateway, claim.task),
            )
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
            tables.write_round(connection, state, self.registry.mark(claim.task).epoch)
            return tables.read_round(connection, claim.task) or state

    def set_aside(self, claim: Claim, state: str, now_utc_s: float, reason: str | None = None) -> None:
        """Keep that it was `late` or `refused`."""
        with storage.transaction(self._connection, self.path) as connection:
            tables.write_contribution(connection, claim, state, now_utc_s, reason=reason)
            if state == "refused":
                tables.prune_refused(connection, claim.gateway)

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
            tables.write_round(connection, after, self.registry.mark(terms.task).epoch)
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
                    tables.write_round(connection, moved, self.registry.mark(task).epoch)
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

    # --- inside --------------------------------------------------------------------------------------------------

    def _bases(self, task: str, kind: str, staleness_max: int) -> tuple[str, ...]:
        """The base of the next contributions and, for deltas, the ones it replaced."""
        bases = [self.registry.base(task)]
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
