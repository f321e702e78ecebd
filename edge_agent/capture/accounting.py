"""Where every captured frame went: captured = judged + dropped (by reason) + in flight, at every instant."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.records import HoldReason


class Skip(str, enum.Enum):
    """Why a picture was let go before it became a part."""

    RATE = "rate"  # above the fps limit
    NTH = "nth"  # only every n-th is judged
    UNTRIGGERED = "untriggered"  # no trigger asked for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """One camera's counts since the process started, all read at one instant.

    `captured` counts numbered frames, bad pictures and triggers without a picture among them. `skipped` counts pictures
    that were never asked for, by reason; they are not parts. `in_flight` is queued or being judged. `last_frame_age_s`
    is None before the first picture. `fps` is the rate of captured frames over the last few seconds; it falls while
    nothing comes.
    """

    captured: int
    judged: int
    dropped: Mapping[HoldReason, int]
    in_flight: int
    skipped: Mapping[Skip, int]
    reconnects: int
    last_frame_age_s: float | None
    fps: float

    @property
    def balanced(self) -> bool:
        """Whether every captured frame is accounted for."""
        return self.captured == self.judged + sum(self.dropped.values()) + self.in_flight
