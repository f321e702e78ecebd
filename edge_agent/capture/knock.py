"""Waiting for a camera that is away: knocking is cheap, opening is not.

wait --each second: knock--> it answers again: open at once      it always answered, or cannot be asked: back off
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.capture.addresses import Address
from edge_agent.capture.network import unreachable
from edge_agent.capture.states import CameraEvent
from edge_agent.clock import Clock

# One TCP handshake a second is less than a stream sends in a millisecond; a camera that came back is opened within one.
KNOCK_EVERY_S = 1.0
# A SYN that was lost is sent again after a second (RFC 6298, section 2): the next knock is as good.
KNOCK_TIMEOUT_S = 1.0
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}  # IANA

VISION_PORT = 3956  # GigE Vision Control Protocol
# DISCOVERY_CMD, to be acknowledged, without a payload, request 1 (GigE Vision 1.2, section 14).
WHO_IS_THERE = bytes.fromhex("42 11 0002 0000 0001")
_IP = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")

Knock = Callable[[], str | None]  # None: somebody answers; else why nobody does


def knock_of(address: Address) -> Knock | None:
    """How to ask, without opening it, whether something is at this address; None where only opening tells."""
    if address.scheme == "v4l2":
        return lambda: None if Path(address.target).exists() else f"{address.target} is not there; is it plugged in?"
    if address.scheme == "genicam" and _IP.fullmatch(address.target):  # one that is known by name has to be looked for
        return lambda: _no_vision(address.target)
    if address.scheme not in PORTS:
        return None
    parts = urlsplit(address.target)
    host, port = parts.hostname or "", parts.port or PORTS[address.scheme]
    return lambda: _no_connection(host, port)


def _no_connection(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), KNOCK_TIMEOUT_S).close()
    except OSError as error:
        return unreachable(error, host, port, timeout_s=KNOCK_TIMEOUT_S)
    return None


def _no_vision(host: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
        ask.settimeout(KNOCK_TIMEOUT_S)
        try:
            ask.connect((host, VISION_PORT))
            ask.send(WHO_IS_THERE)
            ask.recv(2048)
        except OSError as error:
            return f"{host} does not answer as a GigE Vision camera (UDP {VISION_PORT}): {error}"
    return None


class Doorstep:
    """Where a reader waits before it opens a camera. `knock` None: the time to wait is all there is.

    `absent` says why nobody answered the last knock, None when somebody did or nobody was asked.
    """

    def __init__(self, knock: Knock | None, clock: Clock, stop: threading.Event) -> None:
        self.absent: str | None = None
        self._knock = knock
        self._clock = clock
        self._stop = stop

    def wait(self, delay_s: float) -> CameraEvent | None:
        """RETRY after the delay; BACK as soon as a camera that was away answers again; None when stopped.

        It knocks each second, and when the delay is over. Without a delay it does not: the source itself says what is
        wrong with a camera that is opened for the first time.
        """
        over_s = self._clock.mono_s() + delay_s
        while (left_s := over_s - self._clock.mono_s()) > 0:
            if self._clock.wait(self._stop, min(left_s, KNOCK_EVERY_S) if self._knock is not None else left_s):
                return None
            if self._knock is not None:
                was_away, self.absent = self.absent is not None, self._knock()
                if was_away and self.absent is None:
                    return CameraEvent.BACK
        return None if self._stop.is_set() else CameraEvent.RETRY
