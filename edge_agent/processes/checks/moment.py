"""Clock: verdicts carry its time, and certificates are checked against it."""

from __future__ import annotations

import ctypes
import datetime
import os
from pathlib import Path

from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning

TIMESYNC = "run/systemd/timesync/synchronized"
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # struct timex has 208 on 64-bit Linux
# No release of ours is older: a clock before it has started from nothing.
EARLIEST = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def synchronised(context: Context) -> tuple[Finding, ...]:
    now = datetime.datetime.fromtimestamp(context.clock.utc_s(), tz=datetime.timezone.utc)
    if now < EARLIEST:
        return (
            error(f"it is {now:%Y-%m-%d %H:%M} UTC here", "set the clock, and enable NTP (timedatectl set-ntp true)"),
        )
    if _says_timesync(context.root) or kernel_synchronised():
        return (ok(f"synchronised, {now:%Y-%m-%d %H:%M:%S} UTC"),)
    advice = "enable NTP (timedatectl set-ntp true, or chrony with a server of the plant)"
    return (warning(f"not synchronised, {now:%Y-%m-%d %H:%M:%S} UTC", advice),)


def _says_timesync(root: Path) -> bool:
    return (root / TIMESYNC).exists()


def kernel_synchronised() -> bool:
    """What the kernel says, whoever disciplines it (chrony, ntpd, PTP). A question only: nothing is adjusted."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "adjtimex") or os.name != "posix":
        return False
    # All zero: `modes` = 0 asks and changes nothing.
    answer = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = int(library.adjtimex(answer))
    return 0 <= state < _TIME_ERROR


CHECKS = (Check(id="clock-synchronised", group="clock", title="clock", run=synchronised),)
