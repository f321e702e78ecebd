"""What of a camera may be locked, and which kinds of camera can lock it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edge_agent.config.keys import Apply, Section, key

# V4L2 has no decibels: drivers count gain in steps of their own, as some GenICam cameras do. nvarguscamerasrc knows no
# focus, GenICam's standard features no colour temperature. A pipeline of one's own sets its properties itself.
LOCKABLE: Mapping[str, tuple[str, ...]] = {
    "v4l2": ("exposure_us", "gain_raw", "white_balance_k", "focus"),
    "csi": ("exposure_us", "gain_db", "white_balance_k"),
    "genicam": ("exposure_us", "gain_db", "gain_raw"),
}


class ControlKeys(Section):
    """What is locked, so that a picture does not change by itself between two parts; null leaves it as it is."""

    exposure_us: float | None = key(
        None,
        "Exposure time in microseconds; automatic exposure is switched off.",
        apply=Apply.CAMERA,
        ge=1,
        le=10_000_000,
    )
    gain_db: float | None = key(
        None, "Gain in decibels (csi, genicam); automatic gain is switched off.", apply=Apply.CAMERA, ge=-24, le=60
    )
    gain_raw: float | None = key(
        None, "Gain in the camera's own steps (v4l2, genicam without decibels).", apply=Apply.CAMERA, ge=0, le=65_535
    )
    white_balance_k: float | None = key(
        None,
        "White balance as a colour temperature in kelvin; automatic white balance is switched off.",
        apply=Apply.CAMERA,
        ge=1500,
        le=15_000,
    )
    focus: float | None = key(
        None, "Focus in the camera's own steps; autofocus is switched off.", apply=Apply.CAMERA, ge=0, le=65_535
    )


def unlockable(source: str, controls: ControlKeys) -> tuple[str, str] | None:
    """The first control that cameras of this source cannot lock, and what they can; None when all is well."""
    scheme = re.split("[:?]", source, maxsplit=1)[0]
    known = LOCKABLE.get(scheme, ())
    asked = [name for name, value in controls.model_dump().items() if value is not None]
    wrong = next((name for name in asked if name not in known), None)
    if wrong is None:
        return None
    return wrong, f"a {scheme} source can lock {', '.join(known)}" if known else f"a {scheme} source locks nothing"
