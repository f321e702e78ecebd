"""Keys of learning: when the encoder itself is trained on this gateway, and what that may cost."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import field_validator

from edge_agent.config.keys import Apply, Section, key, refuse

MIB = 1024 * 1024
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
WINDOW = "HH:MM-HH:MM such as 22:00-05:00, or null for always"


class Budgets(Section):
    """What a fine-tuning run may cost. Beyond a limit it pauses, and goes on when the reading is clearly better."""

    pause_c: float | None = key(
        None, "Pauses from so many °C on; null takes the device profile's.", apply=Apply.LIVE, ge=30, le=110
    )
    power_w: float | None = key(
        None,
        "Pauses while the board draws as much, where it says so (Jetson); null sets no limit.",
        apply=Apply.LIVE,
        gt=0,
        le=2000,
    )
    available_bytes: int | None = key(
        None,
        "Runs only with so much memory available; null takes the device profile's.",
        apply=Apply.LIVE,
        ge=0,
        le=1024 * 1024 * MIB,
    )
    cpu_minutes: float | None = key(
        None,
        "Processor time a night, all threads together; null takes the device profile's minutes times its threads.",
        apply=Apply.LIVE,
        gt=0,
        le=100_000,
    )
    frames_share: float = key(
        0.99,
        "Pauses while inspection judges a smaller share of the frames of the last seconds.",
        apply=Apply.LIVE,
        ge=0,
        le=1,
    )


class FineTuning(Section):
    """Training the encoder's own layers on this gateway's labelled pictures (docs/learning.md)."""

    enabled: bool = key(
        False,
        "Whether it runs by itself at night. Off, it runs only when a person starts it.",
        apply=Apply.RESTART,
    )
    window: str | None = key(
        "22:00-05:00",
        "Hours, local time, in which it may run; an unfinished run goes on in the next ones. null: always.",
        apply=Apply.LIVE,
        expected=WINDOW,
    )
    every_days: float = key(7.0, "From one run to the next at least so many days.", apply=Apply.LIVE, ge=0, le=365)
    min_labels: int = key(
        200,
        "With fewer labelled pictures nothing is trained: statistics do better.",
        apply=Apply.LIVE,
        ge=8,
        le=1_000_000,
    )
    min_new_labels: int = key(
        50, "So many labels must be new or changed since the last run began.", apply=Apply.LIVE, ge=1, le=1_000_000
    )
    pictures_max: int = key(
        4000,
        "Pictures of a run at most, rare classes first; each takes height x width x 3 bytes of disk while it lasts.",
        apply=Apply.LIVE,
        ge=8,
        le=100_000,
    )
    epochs: int = key(6, "How often each picture is seen.", apply=Apply.LIVE, ge=1, le=1000)
    stages: int | None = key(
        None,
        "Only the last so many of the encoder's seven stages are trained; null trains all.",
        apply=Apply.LIVE,
        ge=1,
        le=7,
    )
    turns: Literal[1, 2, 4, 8] = key(
        8,
        "In how many of the eight positions of a square a part may appear: 8 where up and down mean nothing, 2 for "
        "left-right only, 1 for none.",
        apply=Apply.LIVE,
    )
    light: float = key(0.1, "Brightness is varied by this share.", apply=Apply.LIVE, ge=0, le=0.5)
    seed: int = key(
        0,
        "Of all that is drawn by chance: the same seed, labels and threads give the same bits.",
        apply=Apply.LIVE,
        ge=0,
        le=2**31,
    )
    threads: int | None = key(
        None, "Threads that train; null takes the device profile's.", apply=Apply.LIVE, ge=1, le=64
    )
    budgets: Budgets = key(Budgets(), "What a run may cost.", apply=Apply.LIVE)

    @field_validator("window")
    @classmethod
    def _the_window_has_a_beginning_and_an_end(cls, value: str | None) -> str | None:
        if value is not None:
            match = _WINDOW.fullmatch(value)
            if match is None:
                raise refuse(WINDOW)
            if match.group(1, 2) == match.group(3, 4):
                raise refuse(WINDOW, "it begins when it ends; null means always")
        return value


class Learning(Section):
    """What this gateway learns by itself beside the head (docs/learning.md)."""

    fine_tuning: FineTuning = key(
        FineTuning(),
        "Training the encoder's own layers on this gateway's labelled pictures; needs edge-agent[train].",
        apply=Apply.LIVE,
    )
