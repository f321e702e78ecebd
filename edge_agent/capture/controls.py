"""What a camera is asked to hold still: exposure, gain, white balance, focus. A picture that changes by itself between
two parts looks like a defect.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """None: leave it as it is. A number: automatic off, locked at this value.

    `exposure_us` in microseconds, `gain_db` in decibels, `white_balance_k` as a colour temperature in kelvin;
    `gain_raw` (V4L2, which has no decibels) and `focus` in the camera's own steps.
    """

    exposure_us: float | None = None
    gain_db: float | None = None
    gain_raw: float | None = None
    white_balance_k: float | None = None
    focus: float | None = None

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return any(value is not None for value in astuple(self))


AS_IT_IS = Controls()
