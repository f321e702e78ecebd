"""The tables of coordinator.db, and its rows as records; whoever calls a function that writes owns the transaction.

task          what is learned: its terms (JSON), where it stands (epoch, number, base)
gateway       who joined: tags (JSON), version, when last heard of, forgotten or not, the share its deltas count
mark          the highest mark that a gateway was shown, by task
round         each round that was offered
contribution  each that was announced or answered; counted_in is the round it counts in, `summed` whether `sums` has it
sums          the running sums of a task's open round, and nothing that contributions do not give again
release       what a round published: sha256 of the model and of the server's state
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edge_agent import storage
from edge_agent.coordinator.aggregate.weights import Weight
from edge_agent.coordinator.rounds import Claim, Phase, Round, Terms

REFUSALS_KEPT = 64

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE task (name TEXT PRIMARY KEY, terms TEXT NOT NULL, epoch INTEGER NOT NULL, number INTEGER NOT NULL,
        base TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE gateway (name TEXT PRIMARY KEY, tags TEXT NOT NULL, version INTEGER NOT NULL, seen_utc_s REAL NOT NULL,
        forgotten INTEGER NOT NULL DEFAULT 0, share REAL NOT NULL DEFAULT 1) WITHOUT ROWID;
    CREATE TABLE mark (gateway TEXT NOT NULL, task TEXT NOT NULL, epoch INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (gateway, task)) WITHOUT ROWID;
    CREATE TABLE round (task TEXT NOT NULL, number INTEGER NOT NULL, epoch INTEGER NOT NULL, offer TEXT NOT NULL,
        kind TEXT NOT NULL, bases TEXT NOT NULL, minimum INTEGER NOT NULL, maximum INTEGER NOT NULL,
        minimum_samples INTEGER NOT NULL, invited INTEGER NOT NULL, deadline_utc_s REAL NOT NULL, grace_s REAL NOT NULL,
        phase TEXT NOT NULL, reason TEXT, PRIMARY KEY (task, number)) WITHOUT ROWID;
    CREATE TABLE contribution (gateway TEXT NOT NULL, id TEXT NOT NULL, task TEXT NOT NULL, number INTEGER NOT NULL,
        offer TEXT NOT NULL, kind TEXT NOT NULL, base TEXT NOT NULL, sha256 TEXT NOT NULL, samples INTEGER NOT NULL,
        state TEXT NOT NULL, counted_in INTEGER, units INTEGER, nominal INTEGER, summed INTEGER NOT NULL DEFAULT 0,
        reason TEXT, heard_utc_s REAL NOT NULL, PRIMARY KEY (gateway, id)) WITHOUT ROWID;
    CREATE INDEX contribution_by_round ON contribution (task, counted_in, state);
    CREATE UNIQUE INDEX contribution_once ON contribution (task, counted_in, gateway) WHERE state = 'counted';
    CREATE TABLE sums (task TEXT PRIMARY KEY, number INTEGER NOT NULL, content BLOB NOT NULL);
    CREATE TABLE release (task TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, base TEXT NOT NULL,
        model TEXT NOT NULL, state TEXT, PRIMARY KEY (task, number)) WITHOUT ROWID
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A contribution that counts: where its bytes are, and what it weighs; `summed`: the stored sums have it."""

    gateway: str
    sha256: str
    base: str
    samples: int
    weight: Weight
    summed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What round `number` published, made against `base`; `model` and `state` are sha256."""

    number: int
    kind: str
    base: str
    model: str
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a contribution was answered: announced (not yet), counted in a round, late, refused or forgotten."""

    state: str
    sha256: str
    counted_in: int | None
    reason: str | None


def write_round(connection: storage.Connection, state: Round, epoch: int) -> None:
    """Keep the round as it is now."""
    terms = state.terms
    connection.execute(
        "INSERT OR REPLACE INTO round VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            terms.task,
            terms.number,
            epoch,
            terms.offer,
            terms.kind,
            json.dumps(terms.bases),
            terms.minimum,
            terms.maximum,
            terms.minimum_samples,
            terms.invited,
            terms.deadline_utc_s,
            terms.grace_s,
            state.phase.value,
            state.reason,
        ),
    )


def read_round(connection: storage.Connection, task: str, number: int | None = None) -> Round | None:
    """A round, the newest without a number; how many it counts is counted, not kept twice."""
    row = connection.execute(
        "SELECT * FROM round WHERE task = ? AND number = coalesce(?, (SELECT max(number) FROM round WHERE task = ?))",
        (task, number, task),
    ).fetchone()
    if row is None:
        return None
    given = {name: row[name] for name in Terms.__slots__}  # the columns are named as the fields
    terms = Terms(**given | {"bases": tuple(json.loads(row["bases"]))})
    counts = dict(
        connection.execute(
            "SELECT state, count(*) FROM contribution WHERE task = ? AND counted_in = ? GROUP BY state",
            (task, terms.number),
        ).fetchall()
    )
    return Round(
        terms=terms,
        phase=Phase(row["phase"]),
        counted=counts.get("counted", 0),
        announced=counts.get("announced", 0),
        reason=row["reason"],
    )


def write_contribution(
    connection: storage.Connection,
    claim: Claim,
    state: str,
    now_utc_s: float,
    *,
    counted_in: int | None = None,
    weight: Weight | None = None,
    reason: str | None = None,
) -> None:
    """Keep what the contribution was answered, in place of that it was announced."""
    row = (claim.gateway, claim.id, claim.task, claim.number, claim.offer, claim.kind, claim.base, claim.sha256)
    units, nominal = (weight.units, weight.nominal) if weight else (None, None)
    connection.execute(
        "INSERT OR REPLACE INTO contribution VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
        (*row, claim.samples, state, counted_in, units, nominal, reason, now_utc_s),
    )


def answered(connection: storage.Connection, gateway: str, identity: str) -> Answered | None:
    """What this contribution was answered, None for one that is new."""
    row = connection.execute(
        "SELECT state, sha256, counted_in, reason FROM contribution WHERE gateway = ? AND id = ?", (gateway, identity)
    ).fetchone()
    return None if row is None else Answered(**dict(row))


def counted(connection: storage.Connection, task: str, number: int) -> list[Counted]:
    """What counts in a round, by digest: in an order that does not hang on who came first."""
    rows = connection.execute(
        "SELECT * FROM contribution WHERE task = ? AND counted_in = ? AND state = 'counted' ORDER BY sha256, gateway",
        (task, number),
    )
    return [_counted(row) for row in rows]


def standing(connection: storage.Connection, task: str, number: int, kind: str, base: str) -> list[Counted]:
    """What gateways that gave nothing to round `number` gave last, to an earlier one of this kind and base."""
    rows = connection.execute(
        """SELECT *, max(counted_in) FROM contribution AS c WHERE task = ?1 AND counted_in < ?2 AND state = 'counted'
           AND kind = ?3 AND base = ?4 AND NOT EXISTS (SELECT 1 FROM contribution AS d WHERE d.task = ?1
           AND d.counted_in = ?2 AND d.gateway = c.gateway AND d.state = 'counted')
           GROUP BY gateway ORDER BY sha256, gateway""",
        (task, number, kind, base),
    )
    return [_counted(row) for row in rows]


def waiting(connection: storage.Connection, task: str) -> list[Claim]:
    """Late contributions, in the order of their ids."""
    rows = connection.execute("SELECT * FROM contribution WHERE task = ? AND state = 'late' ORDER BY id", (task,))
    return [_claim(row) for row in rows]


def release(connection: storage.Connection, task: str, *, kind: str | None = None) -> Release | None:
    """The newest release, or the newest of a kind."""
    row = connection.execute(
        "SELECT number, kind, base, model, state FROM release WHERE task = ? AND kind = coalesce(?, kind) "
        "ORDER BY number DESC LIMIT 1",
        (task, kind),
    ).fetchone()
    return None if row is None else Release(**dict(row))


def carry_over(connection: storage.Connection, task: str, number: int) -> None:
    """Let what counted in a round that came to nothing wait for the next one."""
    connection.execute(
        "UPDATE contribution SET state = 'late', counted_in = NULL, units = NULL, nominal = NULL, summed = 0 "
        "WHERE task = ? AND counted_in = ? AND state = 'counted' AND kind = 'delta'",
        (task, number),
    )


def prune_refused(connection: storage.Connection, gateway: str) -> None:
    """Keep the newest refusals of a gateway only: whoever sends nonsense shall not fill the disk."""
    connection.execute(
        "DELETE FROM contribution WHERE gateway = ?1 AND state = 'refused' AND id NOT IN (SELECT id FROM contribution "
        "WHERE gateway = ?1 AND state = 'refused' ORDER BY heard_utc_s DESC, id DESC LIMIT ?2)",
        (gateway, REFUSALS_KEPT),
    )


def spoken_of(connection: storage.Connection) -> set[str]:
    """The sha256 of every file that has to stay.

    Of contributions these are: what waits, what is in the newest published round of its kind or in one after it, and
    what each gateway that is not in that one gave last on the base in force (`standing`). Of the others the row stays.
    """
    rows = connection.execute(
        """WITH newest AS (SELECT task, kind, max(number) AS number FROM round WHERE phase = 'published'
             GROUP BY task, kind)
           SELECT c.sha256 FROM contribution AS c JOIN task AS t ON t.name = c.task
             LEFT JOIN newest AS n ON n.task = c.task AND n.kind = c.kind
           WHERE c.state = 'late' OR c.state = 'counted' AND (
             c.counted_in >= coalesce(n.number, 0)
             OR c.kind = 'statistics' AND c.base = t.base AND c.counted_in = (SELECT max(counted_in)
               FROM contribution AS d WHERE d.task = c.task AND d.gateway = c.gateway AND d.kind = c.kind
               AND d.base = c.base AND d.state = 'counted' AND d.counted_in <= n.number))
           UNION SELECT model FROM release UNION SELECT state FROM release WHERE state IS NOT NULL
           UNION SELECT base FROM task"""
    )
    return {row[0] for row in rows}


def write_sums(
    connection: storage.Connection, task: str, number: int, content: bytes, whose: Iterable[Counted]
) -> None:
    """Keep the running sums, and in the same transaction whose contributions are in them."""
    connection.execute("INSERT OR REPLACE INTO sums VALUES (?, ?, ?)", (task, number, content))
    connection.executemany(
        "UPDATE contribution SET summed = 1 WHERE task = ? AND counted_in = ? AND gateway = ? AND state = 'counted'",
        [(task, number, entry.gateway) for entry in whose],
    )


def drop_sums(connection: storage.Connection, task: str) -> None:
    """Forget the running sums: they are made again from the contributions."""
    connection.execute("DELETE FROM sums WHERE task = ?", (task,))
    connection.execute("UPDATE contribution SET summed = 0 WHERE task = ? AND summed = 1", (task,))


def read_sums(connection: storage.Connection, task: str, number: int) -> bytes | None:
    """The running sums of this round, None where none are kept."""
    row = connection.execute("SELECT content FROM sums WHERE task = ? AND number = ?", (task, number)).fetchone()
    return None if row is None else bytes(row[0])


def _counted(row: storage.Row) -> Counted:
    weight = Weight(units=row["units"], nominal=row["nominal"])
    return Counted(
        gateway=row["gateway"],
        sha256=row["sha256"],
        base=row["base"],
        samples=row["samples"],
        weight=weight,
        summed=bool(row["summed"]),
    )


def _claim(row: storage.Row) -> Claim:
    given: dict[str, Any] = {name: row[name] for name in Claim.__slots__ if name != "sender"}
    return Claim(sender=row["gateway"], **given)
