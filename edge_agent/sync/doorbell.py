"""A doorbell between two processes: an empty datagram on a unix socket in the runtime directory.

It carries nothing. Who is rung looks into the database, who misses a ring looks there a second later anyway.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_agent.errors import ConfigError
from edge_agent.storage import storage_faults

# sun_path in sys/un.h, less the closing NUL.
MAX_PATH_BYTES = 107


class Doorbell:
    """The one who is rung. Its `fileno` takes part in a select."""

    def __init__(self, path: Path) -> None:
        """Put a bell at `path`, in place of one that an earlier process left behind.

        Raises:
            ConfigError: the path is too long for a unix socket.
            StorageReadOnlyError, TransientError: the runtime directory is missing or cannot be written.
        """
        _check_length(path)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            with storage_faults(path):
                path.unlink(missing_ok=True)
                self._socket.bind(str(path))
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def clear(self) -> bool:
        """Take all rings that came; True when there was one."""
        rung = False
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1)
                rung = True
        return rung

    def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, for at most `timeout_s`; True when it rang."""
        select.select([self], [], [], timeout_s)
        return self.clear()

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def ringer(path: Path) -> Callable[[], None]:
    """A function that rings the bell at `path`, from any thread; nobody there, or a full house, is no fault.

    Raises:
        ConfigError: the path is too long for a unix socket.
    """
    _check_length(path)
    address = str(path)

    def ring() -> None:
        # Not started yet, gone, or rung already: nothing to do about any of them.
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as caller,
            contextlib.suppress(OSError),
        ):
            caller.sendto(b"\0", address)

    return ring


@contextlib.contextmanager
def rung_by_signals(path: Path) -> Iterator[None]:
    """While inside, every signal that Python handles rings the bell at `path`: a select does not end by itself.

    Does nothing off the main thread, where no signals arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as caller:
        caller.connect(str(path))
        before = signal.set_wakeup_fd(caller.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)


def _check_length(path: Path) -> None:
    size_bytes = len(str(path).encode())
    if size_bytes > MAX_PATH_BYTES:
        raise ConfigError(
            f"runtime directory {path.parent}: {path.name} would be a socket path of {size_bytes} bytes, "
            f"at most {MAX_PATH_BYTES} are possible; set storage.runtime_dir to a shorter one"
        )
