"""The two ways in for learning: LearnerView cannot see the sealed hold-out, GateView sees nothing else.

learn --LearnerView--> open samples      a sealed one is refused and leaves an audit line
gate  --GateView-----> sealed samples    so that nothing learned from can be tested on either
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_agent import storage
from edge_agent.errors import BadEvidenceError, SealedEvidenceError
from edge_agent.evidence import tables
from edge_agent.evidence.database import Database
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.store import Audit, Vector, log_audit
from edge_agent.records import Sample

# The last word for the truth that stands: who is learned from, and since when.
_LESSONS = f"""
    SELECT sample.*, said.source AS said_source, said.at_utc_s AS said_utc_s, vector.scale AS vector_scale,
        vector.value AS vector_value, vector.encoder AS vector_encoder
    FROM ({tables.SELECT}) AS sample
    JOIN label_event AS said ON said.seq = (SELECT MAX(seq) FROM label_event AS one WHERE one.sample = sample.id
        AND one.label = sample.truth
        AND NOT EXISTS (SELECT 1 FROM label_event AS taken WHERE taken.withdraws = one.id))
    LEFT JOIN vector ON vector.sample = sample.id AND vector.encoder = ?
    WHERE sample.truth IS NOT NULL AND sample.sealed = ? AND sample.task = ?
    ORDER BY sample.id
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One labelled sample: `sample.truth` is the class. `vector` is None until the encoder asked for has seen it."""

    sample: Sample
    source: LabelSource
    labelled_utc_s: float
    vector: Vector | None


class _View:
    """One side of the store, for reading and for the vectors of its own samples."""

    sealed: ClassVar[bool]

    def __init__(self, root: Path, audit: Audit = log_audit) -> None:
        """Open what is there.

        Raises:
            TransientError: there is no store yet.
        """
        self._database = Database(root, read_only=True)
        self._audit = audit
        self._writable: Database | None = None
        self._database.connection()

    def close(self) -> None:
        self._database.close()
        if self._writable is not None:
            self._writable.close()

    def lessons(self, task: str, encoder: str = "") -> list[Lesson]:
        """Every labelled sample of this side, by id, each with its vector by `encoder` where it has one.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_LESSONS, (encoder, int(self.sealed), task)).fetchall()
        return [
            Lesson(
                sample=tables.sample_of(row),
                source=LabelSource(row["said_source"]),
                labelled_utc_s=row["said_utc_s"],
                vector=None
                if row["vector_value"] is None
                else Vector(encoder=row["vector_encoder"], scale=row["vector_scale"], value=bytes(row["vector_value"])),
            )
            for row in rows
        ]

    def unlabelled(self, task: str, limit: int) -> list[Sample]:
        """The newest samples without a settled label: for calibration and for what a model makes of them.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                f"{tables.SELECT} WHERE truth IS NULL AND sealed = ? AND task = ? ORDER BY captured_utc_s DESC LIMIT ?",
                (int(self.sealed), task, limit),
            )
            return [tables.sample_of(row) for row in rows]

    def sample(self, identity: str) -> Sample:
        """One sample of this side.

        Raises:
            SealedEvidenceError: it belongs to the other side.
            BadEvidenceError: there is none.
            TransientError, CorruptStoreError.
        """
        with self._database.reading() as connection:
            return self._mine(connection, identity)

    def picture(self, identity: str) -> bytes:
        """The bytes of one picture of this side, as they were kept.

        Raises:
            SealedEvidenceError: it belongs to the other side.
            BadEvidenceError: there is none, or it is damaged.
            TransientError, CorruptStoreError.
        """
        return self._database.pictures.read(self.sample(identity).file)

    def keep_vectors(self, vectors: Mapping[str, Vector]) -> None:
        """Keep what an encoder made of samples of this side, all or none.

        Raises:
            SealedEvidenceError: one belongs to the other side.
            BadEvidenceError: one is gone.
            TransientError, CorruptStoreError.
        """
        if self._writable is None:
            self._writable = Database(self._database.root)
        with self._writable.writing() as connection:
            for identity, vector in vectors.items():
                self._mine(connection, identity)
                tables.keep_vector(connection, identity, vector.encoder, vector.scale, vector.value)

    def _mine(self, connection: storage.Connection, identity: str) -> Sample:
        sample = tables.by_id(connection, identity)
        if sample is None:
            raise BadEvidenceError(f"no sample {identity}: it had to go, or never was")
        if sample.sealed != self.sealed:
            self._audit(
                "sealed-evidence-refused", {"sample": identity, "group": sample.group, "view": type(self).__name__}
            )
            raise SealedEvidenceError(
                f"sample {identity} (group {sample.group}) cannot be read through {type(self).__name__}: it is "
                + ("sealed, and kept for the gate" if sample.sealed else "open, and may have been learned from")
            )
        return sample


class LearnerView(_View):
    """What learning gets: open samples only."""

    sealed = False


class GateView(_View):
    """What the gate gets: the sealed hold-out only."""

    sealed = True
