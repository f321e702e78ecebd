"""The store: pictures and what is known of them, bounded, crash-safe both ways.

    add:    room? -> files durable -> rows committed      a crash between leaves files without rows: the sweep
    evict:  rows deleted, committed -> files removed      a crash between leaves files without rows: the sweep

So a row always has its file, and what `add` returned for survives kill -9 and power cuts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from edge_agent import storage
from edge_agent.errors import BadEvidenceError, CorruptStoreError, StorageFullError, TransientError
from edge_agent.evidence import tables
from edge_agent.evidence.database import Database
from edge_agent.evidence.grouping import SealRules, is_sealed
from edge_agent.evidence.labels import LabelEvent, opinion
from edge_agent.evidence.pictures import PREFIXES, file_name, place_of
from edge_agent.evidence.retention import Bounds, Dispensable, Usefulness, choose, surplus_bytes, usefulness
from edge_agent.records import Sample, Standing

log = logging.getLogger(__name__)

EVICT_ROWS = 500
SETTLE_ROWS = 1000
Audit = Callable[[str, Mapping[str, str]], None]


def log_audit(event: str, facts: Mapping[str, str]) -> None:
    """An audit line in the log, until there is an audit trail to write to."""
    log.info("audit=%s %s", event, " ".join(f"{name}={value}" for name, value in facts.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRules:
    """What the store decides by. Kept in the store, so that a verb without a configuration decides alike."""

    seal: SealRules = field(default_factory=SealRules)
    bounds: Bounds = field(default_factory=Bounds)
    people_needed: int = 1
    never_delete: frozenset[str] = frozenset()

    def as_json(self) -> str:
        """As one line of text, the same for equal rules."""
        return json.dumps(dataclasses.asdict(self) | {"never_delete": sorted(self.never_delete)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StoreRules:
        """What `as_json` wrote."""
        plain = json.loads(text)
        return cls(
            seal=SealRules(**plain["seal"]),
            bounds=Bounds(**plain["bounds"]),
            people_needed=plain["people_needed"],
            never_delete=frozenset(plain["never_delete"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """int8 features of a picture: `value` as bytes, by which encoder (digest), quantised with which scales (id)."""

    encoder: str
    scale: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A sample to be kept. `sealed`, `file` and `size_bytes` of the record are the store's to say; its `group` stands
    unless the very same bytes are kept already: then their group is its group.
    """

    sample: Sample
    content: bytes = field(repr=False)
    suffix: str
    vector: Vector | None = None
    label: LabelEvent | None = None
    heat: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found: files without rows (removed), rows without files (removed unless people spoke of them)."""

    strays: int = 0
    lost: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(strays=self.strays + other.strays, lost=self.lost + other.lost)


class EvidenceStore:
    """The writing side. One per process and thread; processes take turns by the database's own lock."""

    def __init__(self, root: Path, rules: StoreRules | None = None, audit: Audit = log_audit) -> None:
        """Open, and begin if need be. Without `rules` those hold that the store was last opened with.

        Raises:
            CorruptStoreError, TransientError.
        """
        self.database = Database(root)
        self._audit = audit
        self.rules = self._take(rules)

    def close(self) -> None:
        self.database.close()

    def add(self, drafts: Sequence[Draft]) -> list[Sample]:
        """Keep samples, all or none, durable on return; those whose id is here already are left out of the answer.

        Raises:
            StorageFullError: neither the limit nor the floor of free disk can be held by evicting what may go.
            BadEvidenceError, StorageReadOnlyError, TransientError, CorruptStoreError: none is kept.
        """
        if not drafts:
            return []
        self.make_room(sum(len(draft.content) for draft in drafts))
        files: dict[str, bytes] = {}
        try:
            with self.database.writing() as connection:
                kept: list[Sample] = []
                for draft in drafts:
                    if tables.by_id(connection, draft.sample.id) is None:
                        kept.append(self._insert(connection, draft))
                        files[kept[-1].file] = draft.content
                self.database.pictures.place(files)
        except TransientError:
            # On a full disk every byte counts: what has no row now is taken away at once, not by the next sweep.
            with contextlib.suppress(TransientError, CorruptStoreError):
                self._remove_unowned(files)
            raise
        return kept

    def make_room(self, coming_bytes: int) -> int:
        """Evict until `coming_bytes` more fit; returns how many samples went.

        Raises:
            StorageFullError: what is left may not go; nothing was evicted for nothing.
            StorageReadOnlyError, TransientError, CorruptStoreError.
        """
        bounds, went, files = self.rules.bounds, 0, []
        with self.database.writing() as connection:
            free = storage.free_bytes(self.database.root)
            surplus = surplus_bytes(tables.kept_bytes(connection), coming_bytes, free, bounds)
            if surplus.must == 0:
                return 0
            chosen, gained = choose(_in_order(connection), surplus.wanted)
            if gained < surplus.must:
                raise StorageFullError(
                    f"{self.database.root}: {surplus.must - gained} bytes too many, and the samples left may not go "
                    f"(legal hold, never_delete, sealed and labelled); limit {bounds.limit_bytes} bytes, {free} bytes "
                    f"free, floor {bounds.floor_bytes}: raise evidence.limit_bytes, free disk space, or release holds"
                )
            files = tables.remove(connection, [row.id for row in chosen])
            went = len(chosen)
        self._remove_unowned(files)
        log.info("evidence=evicted samples=%d", went)
        return went

    def is_short(self) -> bool:
        """Whether somebody has filled the disk below our floor; `make_room` is what helps.

        Raises:
            TransientError.
        """
        with storage.storage_faults(self.database.root):
            return storage.free_bytes(self.database.root) < self.rules.bounds.floor_bytes

    def hold(self, identities: Iterable[str], *, held: bool, by: str) -> int:
        """Put samples under legal hold, or release them; returns for how many that was news. Each leaves an audit line.

        Raises:
            BadEvidenceError: one of them is not here; nothing was changed.
            TransientError, CorruptStoreError.
        """
        changed = []
        with self.database.writing() as connection:
            for identity in identities:
                sample = tables.by_id(connection, identity)
                if sample is None:
                    raise BadEvidenceError(f"no sample {identity}; `edge-agent evidence list` shows what is kept")
                if sample.legal_hold != held:
                    changed.append(identity)
                    self._settle(connection, dataclasses.replace(sample, legal_hold=held))
        for identity in changed:
            self._audit("legal-hold" if held else "legal-hold-released", {"sample": identity, "by": by})
        return len(changed)

    def wish(self, camera: str, pictures: int) -> None:
        """Ask that the next pictures of a camera are kept; 0 takes the wish back.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self.database.writing() as connection:
            connection.execute("DELETE FROM wish WHERE camera = ?", (camera,))
            if pictures:
                connection.execute("INSERT INTO wish (camera, pictures) VALUES (?, ?)", (camera, pictures))

    def wishes(self) -> dict[str, int]:
        """How many pictures are still asked for, by camera.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self.database.reading() as connection:
            return dict(connection.execute("SELECT camera, pictures FROM wish").fetchall())

    def grant(self, kept: Mapping[str, int]) -> None:
        """So many of the pictures that were asked for are kept.

        Raises:
            TransientError, CorruptStoreError.
        """
        if not kept:
            return
        with self.database.writing() as connection:
            for camera, number in kept.items():
                connection.execute("UPDATE wish SET pictures = pictures - ? WHERE camera = ?", (number, camera))
            connection.execute("DELETE FROM wish WHERE pictures <= 0")

    def count(self, numbers: Mapping[str, int]) -> None:
        """Add to what `Catalogue.stats` tells as the tally.

        Raises:
            TransientError, CorruptStoreError.
        """
        if numbers:
            with self.database.writing() as connection:
                tables.count(connection, numbers)

    def sweep(self, prefix: str) -> Swept:
        """Make files and rows of one prefix (of `PREFIXES`) agree, after a crash or a hand that took files away.

        Raises:
            TransientError, CorruptStoreError.
        """
        lost = 0
        with self.database.writing() as connection:
            there = set(self.database.pictures.names(prefix))
            owned = {
                row["file"]: tables.sample_of(row)
                for tree in ("open", "sealed")
                for row in connection.execute(
                    f"{tables.SELECT} WHERE file > ? AND file < ?", (f"{tree}/{prefix}/", f"{tree}/{prefix}/~")
                )
            }
            strays = there - owned.keys()
            self.database.pictures.remove(strays)
            for file in owned.keys() - there:
                lost += 1
                if owned[file].standing is Standing.UNLABELLED and not owned[file].legal_hold:
                    tables.remove(connection, [owned[file].id])
                else:
                    log.error("evidence=picture-missing sample=%s file=%s", owned[file].id, file)
            tables.count(connection, {"swept-strays": len(strays), "swept-lost": lost})
        return Swept(strays=len(strays), lost=lost)

    def sweep_all(self) -> Swept:
        """Every prefix, each in its own short transaction."""
        return sum((self.sweep(prefix) for prefix in PREFIXES), Swept())

    def settle(self, connection: storage.Connection, identity: str) -> Sample:
        """Work out anew what depends on a sample's labels, inside the transaction that changed them."""
        sample = tables.by_id(connection, identity)
        if sample is None:
            raise BadEvidenceError(f"no sample {identity}")
        said = opinion(tables.events_of(connection, identity), self.rules.people_needed)
        return self._settle(connection, dataclasses.replace(sample, standing=said.standing, truth=said.truth))

    def _settle(self, connection: storage.Connection, sample: Sample) -> Sample:
        tables.settle(connection, sample, usefulness(sample, self.rules.never_delete))
        return sample

    def _take(self, rules: StoreRules | None) -> StoreRules:
        with self.database.reading() as connection:
            known = tables.fact(connection, "rules")
        before = StoreRules() if known is None else StoreRules.from_json(known)
        if rules is None or (rules == before and known is not None):
            return before
        if (rules.people_needed, rules.never_delete) != (before.people_needed, before.never_delete):
            self._settle_all(rules)
        with self.database.writing() as connection:
            tables.set_fact(connection, "rules", rules.as_json())
        return rules

    def _settle_all(self, rules: StoreRules) -> None:
        """Under other rules; in short transactions, done again from the start when it is interrupted."""
        self.rules = rules
        with self.database.reading() as connection:
            identities = [row["id"] for row in connection.execute("SELECT id FROM sample")]
        for start in range(0, len(identities), SETTLE_ROWS):
            with self.database.writing() as connection:
                for identity in identities[start : start + SETTLE_ROWS]:
                    if tables.by_id(connection, identity) is not None:
                        self.settle(connection, identity)

    def _settled(self, connection: storage.Connection, draft: Draft) -> Sample:
        name = file_name(draft.content, draft.suffix)
        same = tables.by_digest(connection, PurePath(name).stem)
        group = draft.sample.group if same is None else same.group
        sealed = tables.seal(connection, group, sealed=is_sealed(group, self.rules.seal))
        return dataclasses.replace(
            draft.sample,
            group=group,
            sealed=sealed,
            file=place_of(name, sealed=sealed),
            size_bytes=len(draft.content),
            standing=Standing.UNLABELLED,
            truth=None,
        )

    def _insert(self, connection: storage.Connection, draft: Draft) -> Sample:
        sample = self._settled(connection, draft)
        tables.insert(connection, sample, Usefulness.ORDINARY)
        if draft.vector is not None:
            tables.keep_vector(connection, sample.id, draft.vector.encoder, draft.vector.scale, draft.vector.value)
        if draft.heat is not None:
            tables.keep_heat(connection, sample.id, draft.heat)
        if draft.label is not None and draft.label.label is not None:
            tables.declare(connection, sample.task, [draft.label.label])
            tables.add_label(connection, draft.label)
        return self.settle(connection, sample.id)

    def _remove_unowned(self, files: Iterable[str]) -> None:
        # Asked again under the lock: another process may have come to keep the same bytes meanwhile.
        with self.database.writing() as connection:
            query = "SELECT 1 FROM sample WHERE file = ? LIMIT 1"
            self.database.pictures.remove(
                file for file in files if connection.execute(query, (file,)).fetchone() is None
            )


def _in_order(connection: storage.Connection) -> Iterable[Dispensable]:
    offset = 0
    while rows := tables.dispensable(connection, offset, EVICT_ROWS):
        yield from rows
        offset += len(rows)
