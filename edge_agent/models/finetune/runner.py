"""Runs the training child within its budget: started, stopped and continued by signals, ended within a second.

start -> RUNNING <-> PAUSED -> DONE | CANCELLED | ENDED (its budget) | FAILED       a later start resumes from disk
"""

from __future__ import annotations

import enum
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.clock import Clock
from edge_agent.errors import RefusedError
from edge_agent.models.finetune.budget import Act, Permission

LOOK_S = 1.0
CHECKPOINT_S = 30.0  # a checkpoint of all layers is 41 MB
GRACE_S = 0.8  # from the cancel to the end: a slice of pictures is computed within it, or cut short
CHILD = "edge_agent.models.finetune.child"
EXIT_DONE, EXIT_CANCELLED = 0, 3
INSTALL = "pip install 'edge-agent[train]'"
_SHOWN = 500


class RunState(str, enum.Enum):
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    ENDED = "ended"  # its budget is used up; the checkpoint waits for the next window
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The run as it stands. Figures are those of the last step that was told."""

    state: RunState
    reason: str = ""
    step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    eta_s: float | None = None


def run(
    directory: Path,
    *,
    clock: Clock,
    stop: threading.Event,
    permit: Callable[[float, bool], Permission],
    tell: Callable[[RunReport], None],
    python: str = sys.executable,
    checkpoint_s: float = CHECKPOINT_S,
) -> RunReport:
    """Train the job in `directory`, until it is done, `stop` is set, or `permit` ends it. Blocks; the last report.

    `permit(cpu_s, paused)` is asked about once a second, `tell` hears each change and each second's progress.

    Raises:
        RefusedError: torch is not installed.
    """
    _require_torch(python)
    command = [python, "-m", CHILD, str(directory), str(checkpoint_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        watched = _Child(child)
        try:
            report = _watch(watched, clock, stop, permit, tell)
        finally:
            watched.end()
    tell(report)
    return report


class _Child:
    """The process, its last words, and the newest line of its progress."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.progress: dict[str, Any] = {}
        self.paused = False
        self.last_words: queue.SimpleQueue[str] = queue.SimpleQueue()
        for work in (self._read_progress, self._read_errors):
            threading.Thread(target=work, name="finetune-output", daemon=True).start()

    def pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)
            self.paused = paused

    def cpu_s(self) -> float:
        """Processor seconds it has used so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Ask it to stop; make it, after a moment."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.pause(paused=False)  # a stopped process hears SIGTERM only when it goes on
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def _read_progress(self) -> None:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        for line in self.process.stdout:
            self.progress = json.loads(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None  # noqa: S101 - for the type checker
        self.last_words.put(self.process.stderr.read().decode(errors="replace").strip()[-_SHOWN:])


def _watch(
    child: _Child,
    clock: Clock,
    stop: threading.Event,
    permit: Callable[[float, bool], Permission],
    tell: Callable[[RunReport], None],
) -> RunReport:
    while True:
        permission = permit(child.cpu_s(), child.paused)
        if permission.act is Act.END:
            return _report(child, RunState.ENDED, permission.reason)
        child.pause(paused=permission.act is Act.PAUSE)
        tell(_report(child, RunState.PAUSED if child.paused else RunState.RUNNING, permission.reason))
        if _gone(child, clock, stop):
            return _verdict(child)
        if stop.is_set():
            return _report(child, RunState.CANCELLED, "stopped on request")


def _gone(child: _Child, clock: Clock, stop: threading.Event) -> bool:
    """Wait for the next look; True when the child has ended meanwhile."""
    until_s = clock.mono_s() + LOOK_S
    while clock.mono_s() < until_s and not stop.is_set():
        if child.process.poll() is not None:
            return True
        clock.wait(stop, LOOK_S / 20)
    return child.process.poll() is not None


def _verdict(child: _Child) -> RunReport:
    code = child.process.returncode
    if code == EXIT_DONE:
        return _report(child, RunState.DONE)
    if code == EXIT_CANCELLED:
        return _report(child, RunState.CANCELLED, "cancelled")
    words = child.last_words.get(timeout=LOOK_S)
    if code == -signal.SIGKILL:
        words = "it was killed, most likely because memory was short; a smaller `slice` or input needs less"
    return _report(child, RunState.FAILED, words or f"it ended with status {code} and no words")


def _report(child: _Child, state: RunState, reason: str = "") -> RunReport:
    known = {
        key: child.progress[key] for key in ("step", "steps", "epoch", "epochs", "loss", "eta_s") if child.progress
    }
    return RunReport(state=state, reason=reason, **known)


def _require_torch(python: str) -> None:
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    if subprocess.run([python, "-c", find], check=False).returncode:
        raise RefusedError(f"fine-tuning needs torch, which is not installed: {INSTALL}; statistics go on without it")
