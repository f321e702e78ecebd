"""The inspections of a gateway whose outbox nobody empties: what was judged, when, by which model, how long it took."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

from edge_agent.sync.outbox_file import inspect_outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One inspection. `total_ms` is capture to sinks, None where no model judged."""

    camera: str
    sequence: int
    model: str | None
    verdict: str
    reason: str | None
    captured_utc_s: float
    total_ms: float | None

    @property
    def verdict_utc_s(self) -> float:
        """When it had its verdict, as far as that was measured."""
        return self.captured_utc_s + (self.total_ms or 0.0) / 1e3


def judged(outbox: Path) -> list[Judged]:
    """Every inspection in the outbox, in the order in which they were committed."""
    with inspect_outbox(outbox) as connection:
        rows = connection.execute("SELECT payload FROM message WHERE topic LIKE 'insp/%' ORDER BY seq").fetchall()
    return [_read(json.loads(row[0])) for row in rows]


def _read(payload: dict) -> Judged:
    latency = payload["latency_ms"]
    return Judged(
        camera=payload["camera"],
        sequence=payload["sequence"],
        model=payload["model"],
        verdict=payload["verdict"],
        reason=payload["reason"],
        captured_utc_s=dt.datetime.fromisoformat(payload["ts"].replace("Z", "+00:00")).timestamp(),
        total_ms=latency["total"] if latency else None,
    )
