"""The life of a camera as one table, and the wait before it is opened again. Pure.

opening --up--> streaming --silence--> stalled --retry or back--> opening ...
   |                `-------fault----> waiting --retry or back--> opening ...
   `--> stalled or waiting likewise;  a finite source ends: ended;  stop from anywhere: stopped
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class CameraState(str, enum.Enum):
    OPENING = "opening"
    STREAMING = "streaming"
    STALLED = "stalled"  # silent for too long; its reader was given up and another will be started
    WAITING = "waiting"  # it failed with a reason; backing off
    ENDED = "ended"  # a folder or file is through
    STOPPED = "stopped"


class CameraEvent(str, enum.Enum):
    UP = "up"  # the first picture of a live camera; a folder or file is open
    SILENCE = "silence"  # no picture for too long while opening or reading hangs
    FAULT = "fault"  # opening or reading failed
    RETRY = "retry"  # the time to wait is over
    BACK = "back"  # a camera that was away answers again
    END = "end"
    STOP = "stop"


TABLE: Mapping[CameraState, Mapping[CameraEvent, CameraState]] = {
    CameraState.OPENING: {
        CameraEvent.UP: CameraState.STREAMING,
        CameraEvent.SILENCE: CameraState.STALLED,
        CameraEvent.FAULT: CameraState.WAITING,
        CameraEvent.STOP: CameraState.STOPPED,
    },
    CameraState.STREAMING: {
        CameraEvent.SILENCE: CameraState.STALLED,
        CameraEvent.FAULT: CameraState.WAITING,
        CameraEvent.END: CameraState.ENDED,
        CameraEvent.STOP: CameraState.STOPPED,
    },
    CameraState.STALLED: {
        CameraEvent.RETRY: CameraState.OPENING,
        CameraEvent.BACK: CameraState.OPENING,
        CameraEvent.STOP: CameraState.STOPPED,
    },
    CameraState.WAITING: {
        CameraEvent.RETRY: CameraState.OPENING,
        CameraEvent.BACK: CameraState.OPENING,
        CameraEvent.STOP: CameraState.STOPPED,
    },
    CameraState.ENDED: {CameraEvent.STOP: CameraState.STOPPED},
    CameraState.STOPPED: {},
}

# The first retry comes quickly (a cable touched), the last ones gently. A camera that was away and answers again is not
# waited for (knock.py); these are for one that answers and does not work, or cannot be asked.
FIRST_BACKOFF_S = 0.5
MOST_BACKOFF_S = 10.0
# A camera that streamed for this long starts over with the first backoff; one that fails at once does not.
HEALTHY_S = 10.0


def backoff_s(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (1 or more). `chance` 0 to 1 spreads it over the upper half, so
    that the cameras of one switch do not all come back in the same instant.
    """
    return float(min(MOST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16)) * (0.5 + 0.5 * chance))
