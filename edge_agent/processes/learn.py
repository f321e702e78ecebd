"""The learn process: a pass over every model in use, another for each label that comes meanwhile, then exit.

    started -> pass -> (asked for meanwhile) -> pass -> ... -> nobody asked for `linger_s` -> exit

Started when labels were given (learn.request), by the nightly timer, or by hand: `edge-agent serve learn`. No network,
no camera, no torch. People label in series: who stays a minute for the next label saves it the start. A pass that is
killed anywhere is made again by the next: the book is written last.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config.settings import Settings
from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_OK, EXIT_TEMPORARY, EdgeAgentError, RefusedError, TransientError
from edge_agent.models.store import ModelStore
from edge_agent.processes.boot import Boot, boot
from edge_agent.processes.candidates import Ground, ground_of, put_forward
from edge_agent.processes.evidence_place import FOLDER
from edge_agent.processes.finetuning.order import Folder
from edge_agent.processes.learn_request import asked_ns
from edge_agent.processes.learning import Pass, Result, learn
from edge_agent.processes.runtime_plan import runtime_plan
from edge_agent.storage import lock_file
from edge_agent.sync.doorbell import ringer

log = logging.getLogger(__name__)


INSPECT_BELL = "inspect.bell"
LOOK_S = 0.1
BUNDLES_KEPT = 8  # staged ones of each name, the newest; what is in force, before that, or on trial stays anyway


def main(config_file: Path, linger_s: float = 0.0) -> int:
    """Passes with this configuration until nobody has asked for `linger_s`; returns the exit code.

    Raises:
        ConfigError: the configuration has faults.
        AlreadyRunningError: a pass is being made.
    """
    started = boot("learn", config_file, secrets_of=())
    notifier = Notifier.from_environment(os.environ, started.clock)
    storage = started.settings.storage
    with lock_file(storage.state_dir / "learn.lock", "learn process"):
        notifier.ready("learning")
        while True:
            asked = asked_ns(storage.state_dir)
            code = run(started.settings, started.clock)
            # Its watch over the models would see it within a second; the bell saves that second.
            ringer(storage.runtime_dir / INSPECT_BELL)()
            if code != EXIT_OK or not _asked_again(started, asked, linger_s):
                return code
            notifier.watchdog()


def _asked_again(started: Boot, asked: int | None, linger_s: float) -> bool:
    """Whether a label came since `asked`; False when none did for `linger_s`, or we are to end or to read anew."""
    clock, state_dir = started.clock, started.settings.storage.state_dir
    until_s = clock.mono_s() + linger_s
    while not started.stop.is_set() and not started.reload.is_set():
        if asked_ns(state_dir) != asked:
            return True
        if clock.mono_s() >= until_s:
            return False
        clock.wait(started.stop, LOOK_S)
    return False


def run(settings: Settings, clock: Clock) -> int:
    """One pass over every model in use; 75 where the disk did not let one of them be finished."""
    state_dir = settings.storage.state_dir
    if not (state_dir / FOLDER).is_dir():
        log.info("pass=learn result=nothing-new reason=no evidence yet")
        return EXIT_OK
    plan = runtime_plan(settings, Path("/"), os.uname().machine)
    ground = ground_of(settings, plan, ModelStore(state_dir / "models"), clock)
    names = sorted({name for camera in settings.cameras.values() for name in camera.model_names})
    finished = [_finished(name, ground) for name in names]
    tidy(ground)
    return EXIT_OK if all(finished) else EXIT_TEMPORARY


def _finished(name: str, ground: Ground) -> bool:
    """One model's pass; False when the disk did not let it end, and a later one must."""
    try:
        _rule_on_handed(name, ground)
        _tell(learn(name, ground))
    except RefusedError as error:
        log.error("model=%s pass=learn result=refused reason=%s", name, error)  # noqa: TRY400 - it says it all
    except TransientError as error:
        log.warning("model=%s pass=learn result=later reason=%s", name, error)
        return False
    return True


def tidy(ground: Ground) -> None:
    """Every pass leaves a bundle: the oldest that nobody uses go."""
    try:
        removed = ground.store.prune(BUNDLES_KEPT)
    except EdgeAgentError as error:
        log.warning("bundles=unpruned reason=%s", error)
        return
    if removed:
        log.info("bundles=pruned count=%d", len(removed))


def _rule_on_handed(name: str, ground: Ground) -> None:
    """What fine-tuning left for the gate: it may not see the sealed parts itself."""
    folder = Folder(ground.state_dir, name)
    digest = folder.handed()
    if digest is None:
        return
    try:
        found = put_forward(name, digest, ground)
        log.info(
            "model=%s pass=learn fine-tuned=%s outcome=%s reason=%s",
            name,
            digest[:12],
            found.outcome.value,
            "; ".join(found.reasons) or "-",
        )
    except RefusedError as error:
        log.error("model=%s pass=learn fine-tuned=%s outcome=refused reason=%s", name, digest[:12], error)  # noqa: TRY400
    folder.taken()


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
