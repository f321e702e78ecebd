"""The daemon's end of a camera process: starts it, asks it, reads pictures from its memory, ends it.

    Bridge --job on stdin--> python3 -I native/__main__.py --> GStreamer or aravis --> camera
           <--answers------- pictures in a memory file

Native camera stacks hang, leak and crash; a process can be killed, a thread cannot (docs/decisions.md).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edge_agent.capture.native.wire import DECODER, MISSING, receive, send
from edge_agent.config.redact import redact
from edge_agent.errors import CameraError

CHILD = Path(__file__).parent / "native" / "__main__.py"
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = "python3-gi gir1.2-gst-plugins-base-1.0 (GStreamer), python3-gi gir1.2-aravis-0.8 (GenICam)"
# Time to stop the stream and give the camera free; a process that hangs is killed after it.
_CLOSE_S = 1.0
_KILL_S = 1.0
_PROBE_S = 10.0
_MOST_LAST_WORDS_BYTES = 4096

_UNAVAILABLE = (MISSING, DECODER)

_finding = threading.Lock()
_found: list[str] = []


class StackUnavailableError(CameraError):
    """Something is not installed on this machine, or the decoder does not work; the camera is not to blame."""


class BrokenBridgeError(CameraError):
    """The camera process ended, or does not answer."""


def interpreter() -> str:
    """The Python that runs camera processes: ours where it has PyGObject, else the system's. Looked for until found.

    Raises:
        StackUnavailableError: none has it.
    """
    with _finding:
        if not _found:
            if find_spec("gi") is not None:
                _found.append(sys.executable)
            elif _has_gi(SYSTEM_PYTHON):
                _found.append(SYSTEM_PYTHON)
            else:
                raise StackUnavailableError(
                    f"neither {sys.executable} nor {SYSTEM_PYTHON} has PyGObject: apt-get install {PACKAGES}"
                )
        return _found[0]


def _has_gi(python: str) -> bool:
    try:
        done = subprocess.run([python, "-I", "-c", "import gi"], capture_output=True, timeout=_PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class Bridge:
    """One camera process, from `Bridge()` to `close()`. Used by one thread; the process dies with that thread."""

    def __init__(self) -> None:
        python = interpreter()
        self._memory = os.memfd_create("camera", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Sealed against shrinking: reading past the end of a file that became shorter would end the daemon.
        fcntl.fcntl(self._memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self._map: mmap.mmap | None = None
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._words, their_words = os.pipe()
        os.set_blocking(self._words, False)
        os.set_blocking(their_words, False)  # a library that prints without end must not wait for us to read it
        self._last_words = b""
        try:
            self._child = subprocess.Popen(
                [python, "-I", str(CHILD), str(self._memory), str(os.getpid())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=their_words,
                pass_fds=[self._memory],
            )
        except OSError as error:
            self._let_go()
            raise BrokenBridgeError(f"{python}: cannot be started ({error.strerror})") from error
        finally:
            theirs.close()
            os.close(their_words)

    @property
    def pid(self) -> int:
        """Id of the camera process."""
        return self._child.pid

    def ask(self, message: Mapping[str, Any], within_s: float) -> dict[str, Any]:
        """The answer to one message.

        Raises:
            CameraError: what the native stack says is wrong; StackUnavailableError, BrokenBridgeError: see there.
        """
        self._link.settimeout(max(0.001, within_s))
        try:
            send(self._link, message)
            answer = receive(self._link)
        except TimeoutError as error:
            raise BrokenBridgeError(
                f"the camera process does not answer within {within_s:.1f} s{self._said()}"
            ) from error
        except (OSError, ValueError) as error:
            raise BrokenBridgeError(self._ending()) from error
        if answer is None:
            raise BrokenBridgeError(self._ending())
        if "error" in answer:
            words = redact(str(answer["error"]))
            unavailable = answer.get("kind") in _UNAVAILABLE
            raise StackUnavailableError(words) if unavailable else CameraError(words)
        self._listen()
        return answer

    def memory(self, offset: int, size_bytes: int) -> memoryview:
        """A part of the memory file; valid until the next question.

        Raises:
            BrokenBridgeError: the file is not that long.
        """
        if self._map is None or len(self._map) < offset + size_bytes:
            length = os.fstat(self._memory).st_size
            if offset < 0 or size_bytes < 0 or length < offset + size_bytes:
                raise BrokenBridgeError(f"the camera process names bytes {offset} to {offset + size_bytes} of {length}")
            self._map = mmap.mmap(self._memory, length, prot=mmap.PROT_READ)
        return memoryview(self._map)[offset : offset + size_bytes]

    def close(self) -> None:
        """End the process: asked first, so that it gives the camera free, then killed. Also twice."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)
            select.select([self._link], [], [], _CLOSE_S)  # its end closes when it ends
        self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the kernel: it goes when the driver lets it
            self._child.wait(_KILL_S)
        self._let_go()

    def _let_go(self) -> None:
        self._link.close()
        self._map = None
        for file in (self._memory, self._words):
            if file >= 0:
                os.close(file)
        self._memory = self._words = -1

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(_KILL_S)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            return f"the camera process {how}{self._said()}"
        return f"the camera process closed its link{self._said()}"

    def _said(self) -> str:
        self._listen()
        lines = self._last_words.decode("utf-8", "replace").strip().splitlines()
        return f"; its last words: {redact(lines[-1])}" if lines else ""

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while words := os.read(self._words, _MOST_LAST_WORDS_BYTES):
                self._last_words = (self._last_words + words)[-_MOST_LAST_WORDS_BYTES:]
