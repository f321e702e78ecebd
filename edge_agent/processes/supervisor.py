"""A small supervisor for containers, development and the demo: the same processes that systemd runs as units.

    starting -> running -> (exit) -> waiting -> starting ...   backoff doubles to a minute, starts over after a good one
                        -> (exit 78 or 69) -> refused          not started again: a person has to change something
    idle -> (asked for) -> running -> (exit 0) -> idle         learn: a pass when somebody asks, as its path unit does

A child that dies never takes the others along. When inspect is refused the gateway has no purpose and the supervisor
ends with the child's exit code; when sync is refused, inspection goes on and the log says what to do.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNAVAILABLE
from edge_agent.processes.finetuning.request import asked_ns as finetune_asked_ns
from edge_agent.processes.learn_request import asked_ns

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.5
BACKOFF_LAST_S = 60.0
GOOD_RUN_S = 60.0
FINETUNE_LOOK_S = 600.0  # as edge-agent-finetune.timer
POLL_S = 0.2
STOP_GRACE_S = 10.0
LEARN_LINGER_S = 60.0  # as in systemd/edge-agent-learn.service
REFUSALS = (EXIT_CONFIG, EXIT_UNAVAILABLE)


class ChildState(str, enum.Enum):
    IDLE = "idle"
    RUNNING = "running"
    WAITING = "waiting"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process: its name, its command, and whether the gateway is pointless without it.

    `log_file` takes what it says; None leaves it on our own stderr. `asked` tells when it was last asked for: such a
    process runs when that changes and is idle otherwise; None: it always runs.
    """

    name: str
    command: tuple[str, ...]
    essential: bool
    log_file: Path | None = None
    asked: Callable[[], int | None] | None = None


def backoff_s(previous_s: float, lived_s: float) -> float:
    """Seconds to wait before the next start: doubles from half a second to a minute, starts over after a good run."""
    if lived_s >= GOOD_RUN_S or previous_s == 0.0:
        return BACKOFF_FIRST_S
    return min(BACKOFF_LAST_S, previous_s * 2)


class _Child:
    """One child process and when it may start again."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state = ChildState.WAITING if spec.asked is None else ChildState.IDLE
        self.served: int | None = None  # what was asked for when it last started
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.start_after_s = 0.0
        self.wait_s = 0.0
        self.exit_code: int | None = None

    def start(self, now_s: float) -> None:
        with contextlib.ExitStack() as stack:
            log_to = stack.enter_context(self.spec.log_file.open("ab")) if self.spec.log_file else None
            # Its own session: a Ctrl-C in the terminal reaches us alone, and we end the children in order.
            self.process = subprocess.Popen(self.spec.command, start_new_session=True, stdout=log_to, stderr=log_to)
        self.state, self.started_s = ChildState.RUNNING, now_s
        log.info("child=%s pid=%d event=started", self.spec.name, self.process.pid)

    def look(self, now_s: float) -> None:
        """Notice an exit, decide what it means, start again when the wait is over."""
        asked = self.spec.asked() if self.spec.asked is not None else None
        if self.state is ChildState.IDLE and asked != self.served:
            self.served = asked
            self.start(now_s)
        elif self.state is ChildState.WAITING and now_s >= self.start_after_s:
            self.start(now_s)
        elif self.state is ChildState.RUNNING and self.process is not None and self.process.poll() is not None:
            self.exit_code = self.process.returncode
            if self.exit_code in REFUSALS:
                self.state = ChildState.REFUSED
                log.error("child=%s exit=%d event=refused: not started again", self.spec.name, self.exit_code)
                return
            if self.spec.asked is not None and self.exit_code == EXIT_OK:
                self.state, self.wait_s = ChildState.IDLE, 0.0
                return
            self.wait_s = backoff_s(self.wait_s, now_s - self.started_s)
            self.start_after_s = now_s + self.wait_s
            self.state = ChildState.WAITING
            log.warning("child=%s exit=%d event=ended restart_in_s=%.1f", self.spec.name, self.exit_code, self.wait_s)

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Starts the children, keeps them running, forwards reloads, and ends them when it is told to stop."""

    def __init__(self, specs: Sequence[ChildSpec], clock: Clock) -> None:
        self._children = [_Child(spec) for spec in specs]
        self._clock = clock

    def run(self, stop: threading.Event, reload: threading.Event) -> int:
        """Supervise until `stop` is set or an essential child is refused; returns the exit code."""
        try:
            while not self._clock.wait(stop, POLL_S):
                if reload.is_set():
                    reload.clear()
                    self._send(signal.SIGHUP)
                now_s = self._clock.mono_s()
                for child in self._children:
                    child.look(now_s)
                refused = next((c for c in self._children if c.spec.essential and c.state is ChildState.REFUSED), None)
                if refused is not None:
                    return refused.exit_code or EXIT_CONFIG
            return EXIT_OK
        finally:
            self._end()

    def states(self) -> dict[str, ChildState]:
        return {child.spec.name: child.state for child in self._children}

    def pids(self) -> dict[str, int]:
        """The pids of the children that run now."""
        return {
            child.spec.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def _send(self, number: int) -> None:
        for child in self._children:
            child.send(number)

    def _end(self) -> None:
        # Inspect first: what it still commits is sent by sync before that one ends.
        for child in self._children:
            child.send(signal.SIGTERM)
            if child.process is None:
                continue
            try:
                child.process.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                log.warning("child=%s event=killed after_s=%.0f", child.spec.name, STOP_GRACE_S)
                child.process.kill()
                child.process.wait()


def gateway_children(
    config_file: str,
    state_dir: Path,
    log_file: Path | None = None,
    finetune_looks: Callable[[], int] = lambda: 0,
) -> tuple[ChildSpec, ...]:
    """The processes as `edge-agent run` starts them; learn runs when a label was given, finetune when somebody asks
    and whenever `finetune_looks` gives another number, as its timer would.
    """

    def finetune_asked() -> int | None:
        looks, asked = finetune_looks(), finetune_asked_ns(state_dir)
        return None if asked is None and not looks else looks + (asked or 0)

    def command(process: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "edge_agent", "serve", process, "--config", config_file)

    return (
        ChildSpec(name="inspect", command=command("inspect"), essential=True, log_file=log_file),
        ChildSpec(name="sync", command=command("sync"), essential=False, log_file=log_file),
        ChildSpec(
            name="learn",
            command=(*command("learn"), "--linger", str(LEARN_LINGER_S)),
            essential=False,
            log_file=log_file,
            asked=lambda: asked_ns(state_dir),
        ),
        ChildSpec(
            name="finetune", command=command("finetune"), essential=False, log_file=log_file, asked=finetune_asked
        ),
    )
