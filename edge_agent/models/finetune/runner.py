"""Runs the training child within its budget: started, stopped and continued by signals, ended within a second.

start -> RUNNING <-> PAUSED -> DONE | CANCELLED | ENDED (its budget) | FAILED       a later start resumes from disk

While inspect judges a part the child stands still (right_of_way.py); that is RUNNING too, unless it hardly does
anything else.
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
from edge_agent.models.finetune.right_of_way import RightOfWay

LOOK_S = 1.0
CHECKPOINT_S = 30.0  # a checkpoint of all layers is 41 MB
GRACE_S = 0.8  # from the cancel to the end: a slice of pictures is computed within it, or cut short
CHILD = "edge_agent.models.finetune.child"
EXIT_DONE, EXIT_CANCELLED = 0, 3
# What is freed stays with the child: else every step asks the kernel for its activations anew, by 130,000 page faults a
# second (measured at 224 px: 0.55 s of CPU a step of 16 pictures instead of 0.70, the same peak of memory).
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
NO_ROOM_SHARE = 0.9  # of the time since the last look that the child gave way: from there on a person is told
INSTALL = "pip install 'edge-agent[train]'"
_SHOWN = 500
_TOLD = ("step", "steps", "epoch", "epochs", "loss", "eta_s", "phase")


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
    phase: str = ""  # what is done once the last step is taken: the bundle, in words


def run(
    directory: Path,
    *,
    clock: Clock,
    stop: threading.Event,
    permit: Callable[[float, bool], Permission],
    tell: Callable[[RunReport], None],
    way: Path | None = None,
    python: str = sys.executable,
    checkpoint_s: float = CHECKPOINT_S,
    memory_bytes: int = 0,
) -> RunReport:
    """Train the job in `directory`, until it is done, `stop` is set, or `permit` ends it. Blocks; the last report.

    `permit(cpu_s, paused)` is asked about once a second, `tell` hears each change and each second's progress. `way`:
    where inspect says that it judges a part, RUNTIME/training.way; None where nothing is inspected.

    Where the job names a bundle that it is to become, the child makes that too. `memory_bytes` is the most it may
    allocate, 0 for no limit.

    Raises:
        RefusedError: torch is not installed.
        StorageReadOnlyError, TransientError: nobody can listen at `way`.
    """
    require_torch(python)
    command = [python, "-m", CHILD, str(directory), str(checkpoint_s), str(memory_bytes)]
    environment = {**os.environ, **MALLOC}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        watched = _Child(child)
        try:
            if way is not None:
                watched.heed(RightOfWay(way, clock, watched.give_way))
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
        self._gives_way = False
        self._moving = threading.Lock()  # two threads stop it and let it go on
        self._way: RightOfWay | None = None
        self.last_words: queue.SimpleQueue[str] = queue.SimpleQueue()
        for work in (self._read_progress, self._read_errors):
            threading.Thread(target=work, name="finetune-output", daemon=True).start()

    def pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            with self._moving:
                self.paused = paused
                self._move()

    def give_way(self, judging: bool) -> None:
        """Stand still while a part is judged."""
        with self._moving:
            self._gives_way = judging
            self._move()

    def heed(self, way: RightOfWay) -> None:
        """Give way from now on."""
        self._way = way
        way.stop_at_once(self.process.pid)

    def no_room(self) -> str:
        """Says so when it gave way for nearly all of the time since it was last asked."""
        share = 0.0 if self._way is None else self._way.share()
        return "" if share < NO_ROOM_SHARE else f"no room: parts were being judged {share:.0%} of the time"

    def _move(self) -> None:
        self.process.send_signal(signal.SIGSTOP if self.paused or self._gives_way else signal.SIGCONT)

    def cpu_s(self) -> float:
        """Processor seconds it has used so far."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Ask it to stop; make it, after a moment."""
        if self._way is not None:
            self._way.close()  # from now on nothing stops it again
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
            self.progress = {**self.progress, **json.loads(line)}

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
        reasons = tuple(filter(None, (permission.reason, child.no_room())))
        tell(_report(child, RunState.PAUSED if reasons else RunState.RUNNING, "; ".join(reasons)))
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
    known = {key: child.progress[key] for key in _TOLD if key in child.progress}
    return RunReport(state=state, reason=reason, **known)


def require_torch(python: str = sys.executable) -> None:
    """Look for torch without loading it.

    Raises:
        RefusedError: it is not installed; the message says how to get it.
    """
    find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    if subprocess.run([python, "-c", find], check=False).returncode:
        raise RefusedError(f"fine-tuning needs torch, which is not installed: {INSTALL}; statistics go on without it")
