"""Talking to systemd: a datagram to $NOTIFY_SOCKET for each state (sd_notify(3)); silent where there is no systemd."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping

from edge_agent.clock import Clock

VARIABLE = "NOTIFY_SOCKET"
STATUS_LIMIT_CHARACTERS = 200  # one line of `systemctl status`


class Notifier:
    """The messages of one process. Nothing is ever raised: a lost datagram is noticed by systemd's own time-outs."""

    def __init__(self, address: str | None, clock: Clock, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._clock = clock
        # systemd kills after WatchdogSec; half of it is what sd_watchdog_enabled(3) recommends for the interval.
        self.watchdog_interval_s = None if watchdog_s is None else watchdog_s / 2

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], clock: Clock) -> Notifier:
        """The notifier of this process: $NOTIFY_SOCKET, and $WATCHDOG_USEC where it is meant for us ($WATCHDOG_PID)."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and mine else None
        return cls(environment.get(VARIABLE), clock, watchdog_s)

    def ready(self, status: str = "") -> bool:
        """The start, or a reload, is complete."""
        return self._send("READY=1", _status(status))

    def status(self, status: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(_status(status))

    def watchdog(self) -> bool:
        """Progress was made; to be sent at least every `watchdog_interval_s`."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """The configuration is being read again; `ready` ends it."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.mono_s() * 1e6)}")

    def stopping(self, status: str = "") -> bool:
        """The end has begun."""
        return self._send("STOPPING=1", _status(status))

    def extend_timeout(self, seconds: float) -> bool:
        """The present start, reload or stop may take this much longer from now (building an engine)."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, *lines: str) -> bool:
        """True when the datagram was handed to the kernel."""
        if not self._address:
            return False
        message = "\n".join(line for line in lines if line).encode()
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.setblocking(False)
            sock.sendto(message, self._address)
            return True
        return False


def _status(text: str) -> str:
    line = " ".join(text.split())[:STATUS_LIMIT_CHARACTERS]
    return f"STATUS={line}" if line else ""
