"""Where every captured frame went: captured = judged + dropped (by reason) + in flight, at every instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.records import HoldReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """One camera's counts since the process started, all read at one instant.

    `captured` counts numbered frames, bad pictures among them. `skipped` counts pictures above the fps limit: they were
    never asked for and are not parts. `in_flight` is queued or being judged. `last_frame_age_s` is None before the
    first picture. `fps` is the rate of captured frames over the last few seconds; it falls while nothing comes.
    """

    captured: int
    judged: int
    dropped: Mapping[HoldReason, int]
    in_flight: int
    skipped: int
    reconnects: int
    last_frame_age_s: float | None
    fps: float

    @property
    def balanced(self) -> bool:
        """Whether every captured frame is accounted for."""
        return self.captured == self.judged + sum(self.dropped.values()) + self.in_flight
