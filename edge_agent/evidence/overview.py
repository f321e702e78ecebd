"""The store as people look at it: by camera, and who has spoken."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.evidence.database import Database

# What the model said is held against what people say; of a PASS and a FAIL only the class counts, not the verdict.
_COUNTS = """
    SELECT camera, COUNT(*) AS samples, MAX(captured_utc_s) AS newest,
        SUM(standing = 'unlabelled') AS unlabelled, SUM(standing = 'waiting') AS waiting,
        SUM(standing = 'disputed') AS disputed, SUM(standing = 'labelled') AS labelled,
        SUM(standing = 'labelled' AND label IS NOT NULL AND label = truth) AS agreed,
        SUM(standing = 'labelled' AND label IS NOT NULL AND label != truth) AS differed
    FROM sample GROUP BY camera ORDER BY camera
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCounts:
    """One camera, None for what was imported. `agreed` and `differed` are labelled ones that a model named."""

    camera: str | None
    samples: int
    newest_utc_s: float
    unlabelled: int
    waiting: int
    disputed: int
    labelled: int
    agreed: int
    differed: int


def by_camera(database: Database) -> list[CameraCounts]:
    """Every camera that pictures are kept of.

    Raises:
        TransientError, CorruptStoreError.
    """
    with database.reading() as connection:
        return [
            CameraCounts(
                camera=row["camera"],
                samples=row["samples"],
                newest_utc_s=row["newest"],
                unlabelled=row["unlabelled"],
                waiting=row["waiting"],
                disputed=row["disputed"],
                labelled=row["labelled"],
                agreed=row["agreed"],
                differed=row["differed"],
            )
            for row in connection.execute(_COUNTS)
        ]


def speakers(database: Database) -> list[str]:
    """Everybody who ever gave a label, by name.

    Raises:
        TransientError, CorruptStoreError.
    """
    with database.reading() as connection:
        return [row["by"] for row in connection.execute("SELECT DISTINCT by FROM label_event ORDER BY by")]
