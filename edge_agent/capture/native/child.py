"""The loop of the camera process: one job, then a question and an answer at a time, until the daemon is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_agent.capture.native.wire import IDLE_S, MISSING, SharedMemory, StackError, receive, send

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Stack(Protocol):
    """A camera behind a native library."""

    def open(self) -> dict[str, Any]:
        """Get ready; what is known of the camera. Raises StackError."""

    def next(self, within_s: float) -> dict[str, Any]:
        """The answer to one question; the picture of the answer before is given back. Raises StackError."""

    def close(self) -> None:
        """Let go of the camera."""


def main(memory_file: int, daemon: int) -> None:
    """Serve the daemon, a process id, on stdin."""
    _die_with(daemon)
    link = socket.socket(fileno=0)
    job = receive(link)
    if job is None:
        return
    stack: Stack | None = None
    try:
        stack = _make(job, SharedMemory(memory_file))
        send(link, {"open": stack.open()})
        while receive(link) is not None:
            send(link, stack.next(IDLE_S))
    except StackError as error:
        send(link, {"error": str(error), "kind": error.kind})
    except (BrokenPipeError, ConnectionResetError):  # the daemon is gone
        pass
    finally:
        if stack is not None:
            stack.close()


def _make(job: Mapping[str, Any], memory: SharedMemory) -> Stack:
    makers: dict[str, Callable[[Mapping[str, Any], SharedMemory], Stack]] = {
        "gstreamer": _gstreamer,
        "genicam": _genicam,
        "genicam-list": _genicam_list,
    }
    return makers[job["stack"]](job, memory)


def _gstreamer(job: Mapping[str, Any], memory: SharedMemory) -> Stack:
    try:
        from edge_agent.capture.native.gstreamer import PipelineStack  # noqa: PLC0415 - each job loads its own library
    except (ImportError, ValueError) as error:  # gi raises ValueError for a namespace that is not there
        raise StackError(
            f"GStreamer's bindings are not installed ({error}): apt-get install gir1.2-gst-plugins-base-1.0", MISSING
        ) from error
    return PipelineStack(job, memory)


def _genicam(job: Mapping[str, Any], memory: SharedMemory) -> Stack:
    try:
        from edge_agent.capture.native.genicam import GenicamStack  # noqa: PLC0415 - each job loads its own library
    except (ImportError, ValueError) as error:
        raise StackError(f"aravis is not installed ({error}): apt-get install gir1.2-aravis-0.8", MISSING) from error
    return GenicamStack(job, memory)


def _genicam_list(job: Mapping[str, Any], memory: SharedMemory) -> Stack:
    try:
        from edge_agent.capture.native.genicam_list import ListStack  # noqa: PLC0415 - each job loads its own library
    except (ImportError, ValueError) as error:
        raise StackError(f"aravis is not installed ({error}): apt-get install gir1.2-aravis-0.8", MISSING) from error
    return ListStack(job, memory)


def _die_with(daemon: int) -> None:
    """Have the kernel end this process with the thread that started it, also where it hangs in a driver."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != daemon:  # it died before we asked
        raise SystemExit("the daemon is gone")
