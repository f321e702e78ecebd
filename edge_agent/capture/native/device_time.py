"""When a camera took a picture, by our clock; and which pictures never came. Pure.

arrival - device time = clock difference + the time it took here       never less than the clock difference,
                                                                       and close to it for the quickest picture
"""

from __future__ import annotations

from collections import deque

# Crystals differ by up to 100 ppm: 3 ms in this time.
WINDOW_S = 30.0
# GigE Vision 1.x counts blocks in 16 bits and leaves out 0 (GigE Vision 1.2, section 24).
_LAST_SHORT_ID = 65_535
# A jump beyond this is a counter that was set anew, not a thousand lost pictures.
MOST_MISSING = 1000


class DeviceClock:
    """Maps device time to ours by the quickest picture of the last half minute."""

    def __init__(self) -> None:
        self._offsets: deque[tuple[float, float]] = deque()  # arrival, arrival minus device time

    def moment_s(self, device_s: float, arrived_s: float) -> float:
        """When the picture was taken, by the clock of `arrived_s`; never later than it arrived."""
        while self._offsets and self._offsets[0][0] < arrived_s - WINDOW_S:
            self._offsets.popleft()
        offset = arrived_s - device_s
        while self._offsets and self._offsets[-1][1] >= offset:  # slower than this one and older: never the least again
            self._offsets.pop()
        self._offsets.append((arrived_s, offset))
        return device_s + self._offsets[0][1]


def missing_between(last_id: int, this_id: int) -> int:
    """How many pictures were left out between two that came one after the other."""
    gap = this_id - last_id
    if gap < 0 and last_id <= _LAST_SHORT_ID:
        gap += _LAST_SHORT_ID
    return gap - 1 if 1 <= gap <= MOST_MISSING else 0
