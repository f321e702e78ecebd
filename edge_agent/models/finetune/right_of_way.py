"""While a part is being judged, the training child stands still: inspect has the right of way.

    a frame comes        inspect --"judging"--> socket      the kernel stops the child there and then; the listener too
    the last has its verdict     --"free"-----> socket      the listener lets it go on

The lowest priority alone is not enough: the child on the other core takes its share of caches, of memory and, where
both are threads of one physical core, of its arithmetic units (docs/learning.md, "What training costs the line").

The learner owns the socket and the child, inspect only says what it is doing: it sends a datagram, which never waits,
and does not mind when nobody listens. A word is believed for `BELIEVED_S`, so an inspect process that died or hangs in
the middle of a part does not leave the child standing for ever; one that judges without a pause says so again.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.storage import storage_faults

WAY_SOCKET = "training.way"  # in the runtime directory
JUDGING, FREE = b"1", b"0"
# Longer than a part takes, and short beside the second in which a cancel is heard.
BELIEVED_S = 0.5
SAID_AGAIN_S = 0.1
# Where nobody listens inspect asks again after so long: a word that reaches nobody costs some microseconds too.
DEAF_S = 1.0


class RightOfWay:
    """The learner's end: calls `give_way(True)` while parts are judged, `give_way(False)` when none is.

    The calls come from a thread of its own; the last of them, False, from `close`.
    """

    def __init__(self, path: Path, clock: Clock, give_way: Callable[[bool], None]) -> None:
        """Listen at `path`, in place of a socket that an earlier run left behind.

        Raises:
            StorageReadOnlyError, TransientError: the runtime directory is missing or cannot be written.
        """
        self._path = path
        self._clock = clock
        self._give_way = give_way
        self._stood_s = 0.0
        self._since_s: float | None = None  # it stands since then
        self._asked = (clock.mono_s(), 0.0)  # when `share` was asked last, and how long it had stood by then
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with storage_faults(path):
                path.unlink(missing_ok=True)
                self._socket.bind(str(path))
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._listen, name="right-of-way", daemon=True)
        self._thread.start()

    def stop_at_once(self, pid: int) -> None:
        """Let the kernel itself send SIGSTOP to our child `pid` when a word comes (fcntl(2), F_SETSIG).

        It does so while the sender is still in its call, whatever the scheduler thinks of this process.
        """
        fcntl.fcntl(self._socket, fcntl.F_SETOWN, pid)
        fcntl.fcntl(self._socket, fcntl.F_SETSIG, signal.SIGSTOP)
        fcntl.fcntl(self._socket, fcntl.F_SETFL, fcntl.fcntl(self._socket, fcntl.F_GETFL) | os.O_ASYNC)

    def share(self) -> float:
        """The share of the time since this was last asked in which the way was not free."""
        now_s, since_s = self._clock.mono_s(), self._since_s
        stood_s = self._stood_s + (0.0 if since_s is None else now_s - since_s)
        (before_s, before_stood_s), self._asked = self._asked, (now_s, stood_s)
        return (stood_s - before_stood_s) / max(now_s - before_s, 1e-9)

    def close(self) -> None:
        """Hear no more: when this returns, the way is free and nothing will stop the child again."""
        self._closed = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller:
            caller.sendto(FREE, str(self._path))  # ends the wait; where the path is gone, BELIEVED_S does
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        self._go(judging=False)

    def _listen(self) -> None:
        while not self._closed:
            select.select([self._socket], [], [], BELIEVED_S)
            self._go(judging=self._newest() == JUDGING)

    def _newest(self) -> bytes:
        """The newest word; "free" when there was none for so long that the last is not believed any more."""
        word = FREE
        with contextlib.suppress(BlockingIOError):
            while True:
                word = self._socket.recv(1)
        return word

    def _go(self, *, judging: bool) -> None:
        now_s = self._clock.mono_s()
        if judging and self._since_s is None:
            self._since_s = now_s
        elif not judging and self._since_s is not None:
            self._stood_s += now_s - self._since_s
            self._since_s = None
        # Also when it is no news: the kernel stops the child at every word, whatever it says.
        self._give_way(judging)


class Judging:
    """Inspect's end: says whether a part is being judged. It never waits and never raises. One caller at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._address = str(path)
        self._clock = clock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._said: bytes | None = None  # what the listener believes, as far as we know
        self._again_s = -math.inf  # from then on it may doubt that a part is being judged
        self._deaf_until_s = -math.inf

    def __call__(self, judging: bool) -> None:
        """Say it, where it is news or may be forgotten."""
        now_s = self._clock.mono_s()
        word = JUDGING if judging else FREE
        if now_s < self._deaf_until_s or (word == self._said and (word == FREE or now_s < self._again_s)):
            return
        try:
            self._socket.sendto(word, self._address)
        except BlockingIOError:  # the listener is behind with what it was told
            self._said = None
        except OSError:
            self._said, self._deaf_until_s = None, now_s + DEAF_S
        else:
            self._said, self._again_s = word, now_s + SAID_AGAIN_S

    def close(self) -> None:
        self._socket.close()
