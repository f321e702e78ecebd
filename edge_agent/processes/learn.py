"""The learn process: one pass over every model in use, then exit. No network, no camera, no torch.

Started when labels were given (learn.request), by the nightly timer, or by hand: `edge-agent serve learn`. A pass that
is killed anywhere is made again by the next: the book is written last.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config.settings import Settings
from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_OK, EXIT_TEMPORARY, RefusedError, TransientError
from edge_agent.models.store import ModelStore
from edge_agent.processes.boot import boot
from edge_agent.processes.candidates import Ground, ground_of
from edge_agent.processes.evidence_place import FOLDER
from edge_agent.processes.learning import Pass, Result, learn
from edge_agent.processes.runtime_plan import runtime_plan
from edge_agent.storage import lock_file

log = logging.getLogger(__name__)


def main(config_file: Path) -> int:
    """One pass with this configuration; returns the exit code.

    Raises:
        ConfigError: the configuration has faults.
        AlreadyRunningError: a pass is being made.
    """
    started = boot("learn", config_file, secrets_of=())
    notifier = Notifier.from_environment(os.environ, started.clock)
    with lock_file(started.settings.storage.state_dir / "learn.lock", "learn process"):
        return run(started.settings, started.clock, ready=lambda: notifier.ready("one pass"))


def run(settings: Settings, clock: Clock, *, ready: Callable[[], object]) -> int:
    """One pass over every model in use; 75 where the disk did not let one of them be finished."""
    ready()
    state_dir = settings.storage.state_dir
    if not (state_dir / FOLDER).is_dir():
        log.info("pass=learn result=nothing-new reason=no evidence yet")
        return EXIT_OK
    plan = runtime_plan(settings, Path("/"), os.uname().machine)
    ground = ground_of(settings, plan, ModelStore(state_dir / "models"), clock)
    names = sorted({name for camera in settings.cameras.values() for name in camera.model_names})
    finished = [_finished(name, ground) for name in names]
    return EXIT_OK if all(finished) else EXIT_TEMPORARY


def _finished(name: str, ground: Ground) -> bool:
    """One model's pass; False when the disk did not let it end, and a later one must."""
    try:
        _tell(learn(name, ground))
    except RefusedError as error:
        log.error("model=%s pass=learn result=refused reason=%s", name, error)  # noqa: TRY400 - it says it all
    except TransientError as error:
        log.warning("model=%s pass=learn result=later reason=%s", name, error)
        return False
    return True


def _tell(found: Pass) -> None:
    level = logging.WARNING if found.result is Result.REFUSED else logging.INFO
    digest = found.digest[:12] if found.digest else "-"
    log.log(
        level,
        "model=%s pass=learn result=%s samples=%d digest=%s reason=%s took_ms=%s",
        found.model,
        found.result.value,
        found.samples,
        digest,
        found.reason or "-",
        ",".join(f"{stretch}:{ms:.0f}" for stretch, ms in found.took_ms.items()) or "-",
    )
