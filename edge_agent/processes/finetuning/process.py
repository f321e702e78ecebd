"""The finetune process: looks whether a run is due, works at it, exits. No network, no camera, no torch, no hold-out.

Started every ten minutes (edge-agent-finetune.timer, or the supervisor) and when somebody asks. It asks for nothing
itself: idle scheduling class, the first to be killed when memory is short. Killed anywhere, the next start goes on.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config.learning import FineTuning
from edge_agent.config.settings import Settings
from edge_agent.device.notify import Notifier
from edge_agent.device.profile import Profile
from edge_agent.errors import EXIT_OK, EdgeAgentError, TransientError
from edge_agent.models.finetune.budget import Budget, Window
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.models.store import ModelStore
from edge_agent.processes.boot import Boot, boot
from edge_agent.processes.finetuning.cancel import CancelWatch
from edge_agent.processes.finetuning.candidate import Place
from edge_agent.processes.finetuning.due import Rules
from edge_agent.processes.finetuning.jobs import Terms
from edge_agent.processes.finetuning.news import ModelNews, Teller
from edge_agent.processes.finetuning.night import GATEWAY, Night, Site
from edge_agent.processes.finetuning.readings import Readings
from edge_agent.processes.finetuning.request import serve, unserved
from edge_agent.processes.runtime_plan import runtime_plan
from edge_agent.storage import lock_file

log = logging.getLogger(__name__)

LOCK = "finetune.lock"
KILLED_FIRST = 800  # oom_score_adj, as in the unit


def main(config_file: Path) -> int:
    """Look at every model in use, and train the one that is due; returns the exit code.

    Raises:
        ConfigError: the configuration has faults.
        AlreadyRunningError: another one trains.
    """
    started = boot("finetune", config_file, secrets_of=())
    _yield_to_everyone()
    settings = started.settings
    notifier = Notifier.from_environment(os.environ, started.clock)
    with lock_file(settings.storage.state_dir / LOCK, "finetune process"):
        notifier.ready("looking")
        teller = Teller(settings.storage.runtime_dir, started.clock)
        site = site_of(settings, started.clock)
        look = True
        while look:
            _look(started, site, teller, notifier.watchdog)
            # A request that came meanwhile, unless we are to end.
            look = not started.stop.is_set() and unserved(settings.storage.state_dir) is not None
        teller.end()
    return EXIT_OK


def site_of(settings: Settings, clock: Clock) -> Site:
    """What runs are made by on this machine.

    Raises:
        InvalidConfigError: the profiles of this installation are damaged.
    """
    plan = runtime_plan(settings, Path("/"), os.uname().machine)
    keys, profile = settings.learning.fine_tuning, plan.choice.profile
    state_dir, runtime_dir = settings.storage.state_dir, settings.storage.runtime_dir
    budget = budget_of(keys, profile)
    return Site(
        place=Place(
            state_dir=state_dir,
            store=ModelStore(state_dir / "models"),
            runtime=plan.runtime,
            flavour=plan.flavour,
        ),
        rules=Rules(
            enabled=keys.enabled,
            window=budget.window,
            every_days=keys.every_days,
            min_labels=keys.min_labels,
            min_new_labels=keys.min_new_labels,
            cpu_s=budget.cpu_s or float("inf"),
        ),
        budget=budget,
        terms=Terms(
            plan=plan_of(keys, profile),
            pictures_max=keys.pictures_max,
            floor_bytes=settings.storage.min_free_bytes,
        ),
        readings=Readings(runtime_dir, profile.thermal.zones, clock),
        runtime_dir=runtime_dir,
        memory_bytes=profile.memory.training_bytes,
        clock=clock,
    )


def budget_of(keys: FineTuning, profile: Profile) -> Budget:
    """What a run may cost: the keys, and the device's profile where they say nothing."""
    own = keys.budgets
    threads = keys.threads or profile.training.threads
    minutes = profile.training.minutes * threads if own.cpu_minutes is None else own.cpu_minutes
    available = profile.memory.training_needs_available_bytes
    return Budget(
        window=None if keys.window is None else window_of(keys.window),
        cpu_s=minutes * 60.0,
        pause_c=profile.thermal.pause_training_c if own.pause_c is None else own.pause_c,
        available_bytes=available if own.available_bytes is None else own.available_bytes,
        power_w=own.power_w,
        frames_share=own.frames_share,
    )


def plan_of(keys: FineTuning, profile: Profile) -> FinetunePlan:
    """How a run trains."""
    return FinetunePlan(
        epochs=keys.epochs,
        stages=keys.stages,
        turns=keys.turns,
        light=keys.light,
        seed=keys.seed,
        threads=keys.threads or profile.training.threads,
    )


def window_of(text: str) -> Window:
    """The window of `22:00-05:00`, a text that the configuration has checked."""
    begin, end = (datetime.time.fromisoformat(part) for part in text.split("-"))
    return Window(begin=begin, end=end)


def _look(started: Boot, site: Site, teller: Teller, alive: Callable[[], object]) -> None:
    """Every model in use once."""
    state_dir = site.place.state_dir
    names = sorted({name for camera in started.settings.cameras.values() for name in camera.model_names})
    worked = False
    with CancelWatch(state_dir, started.stop, started.clock) as watch:
        request = unserved(state_dir)
        for name in names:
            night = Night(name, site, teller, stop=watch.stop, cancelled=watch.is_cancelled, alive=alive)
            mine = request is not None and request.model in (None, name)
            with _told(name, teller):
                if request is not None and mine and request.action == "cancel":
                    night.cancel(request.by)
                else:
                    worked |= night.look(asked=mine, by=GATEWAY if request is None else request.by)
    newest = unserved(state_dir)
    # Killed before this, the next start goes on by the order on disk, asked for or not. Who asks for a start while a
    # run goes on has got it; who cancels what goes on has, too.
    if newest is not None and (newest in (request, watch.request) or (worked and newest.action == "start")):
        serve(state_dir, newest)


@contextlib.contextmanager
def _told(name: str, teller: Teller) -> Iterator[None]:
    """A fault of one model is told and does not keep the others from their turn."""
    try:
        yield
    except EdgeAgentError as error:
        log.error("model=%s finetune=failed reason=%s", name, error)  # noqa: TRY400 - it says it all
        with contextlib.suppress(TransientError):
            teller.tell(ModelNews(model=name, state="failed", reason=str(error)))


def _yield_to_everyone() -> None:
    # Each of these is a courtesy: where it is not allowed (or the unit has done it), we go on without it.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(KILLED_FIRST), encoding="ascii")
