"""How long to wait before the line is tried again. Pure."""

from __future__ import annotations

# A cable that was touched is back at once; a PLC that restarts takes half a minute, and must find us within seconds.
FIRST_BACKOFF_S = 0.1
MOST_BACKOFF_S = 2.0


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row (1 or more)."""
    return float(min(MOST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 16)))
