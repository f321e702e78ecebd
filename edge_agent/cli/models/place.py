"""Where the models are, how this device runs them, and what every action of `models` says in the same way."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_OK, BadBundleError, BadLabelError

if TYPE_CHECKING:
    from edge_agent.config.settings import Settings
    from edge_agent.models.encoder import RuntimeOptions
    from edge_agent.models.store import ModelStore
    from edge_agent.processes.candidates import Ground
    from edge_agent.processes.runtime_plan import RuntimePlan

DEFAULT_STATE = Path("/var/lib/edge-agent")
DEFAULT_NAME = "surface"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The store below `state_dir`, and this device's plan; `settings` None where no configuration has a say."""

    state_dir: Path
    store: ModelStore
    plan: RuntimePlan
    settings: Settings | None

    @property
    def runtime(self) -> RuntimeOptions:
        return self.plan.runtime

    @property
    def flavour(self) -> str:
        return self.plan.flavour

    def ground(self, by: str) -> Ground:
        """What the gate works with, on behalf of a person."""
        from edge_agent.clock import SystemClock
        from edge_agent.processes.candidates import Ground, ground_of

        if self.settings is not None:
            known = ground_of(self.settings, self.plan, self.store, SystemClock())
            return replace(known, state_dir=self.state_dir, by=by)
        return Ground(
            state_dir=self.state_dir,
            store=self.store,
            runtime=self.runtime,
            flavour=self.flavour,
            clock=SystemClock(),
            by=by,
        )


def place_of(arguments: argparse.Namespace) -> Place:
    """The one look at configuration and device; without a configuration, defaults and what is detected.

    Raises:
        ConfigError: the configuration has faults.
    """
    import math
    import platform

    from edge_agent.config.locate import locate
    from edge_agent.config.sections import DeviceKeys, Models
    from edge_agent.config.settings import load
    from edge_agent.models.store import ModelStore
    from edge_agent.models.vet import vet
    from edge_agent.models.vetting import VetLimits
    from edge_agent.processes.runtime_plan import plan_for

    device, models, state, settings = DeviceKeys(), Models(), DEFAULT_STATE, None
    path = locate(arguments.config)
    # With --state and no --config, a configuration that happens to lie about has no say.
    if arguments.config or (arguments.state is None and path.exists()):
        settings = load(path, secrets_of=())
        device, models, state = settings.device, settings.models, settings.storage.state_dir
    state = arguments.state or state
    limits = VetLimits(wall_s=math.ceil(models.vet_timeout_s))
    store = ModelStore(
        state / "models",
        vetting=lambda content: vet(content, limits),
        limit_bytes=models.bundle_limit_bytes,
    )
    plan = plan_for(device, models, state, Path("/"), platform.machine())
    return Place(state_dir=state, store=store, plan=plan, settings=settings)


def digest_of(store: ModelStore, digits: str | None, name: str) -> str:
    """The bundle that the first digits mean, or the active one of `name` where none are given.

    Raises:
        BadBundleError: none, or several.
    """
    if digits is None:
        active = store.active(name)
        if active is None:
            raise BadBundleError(f"model {name!r} has no active bundle; `edge-agent models list` shows all")
        return active
    found = [model.digest for model in store.list() if model.digest.startswith(digits)]
    if len(found) != 1:
        raise BadBundleError(f"{digits!r} fits {len(found)} bundles; `edge-agent models list` shows all")
    return found[0]


def who(arguments: argparse.Namespace) -> str:
    """Who does this, as the journal names people: the name given, the user, or at least the number of the user."""
    from edge_agent.cli.person import person
    from edge_agent.models.journal import operator

    try:
        return operator(person(arguments.by))
    except BadLabelError:
        return operator(f"uid {os.getuid()}")


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for each thing that is being done: what, done, of how many."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield show


@contextlib.contextmanager
def patience(place: Place, digest: str) -> Iterator[None]:
    """What is being waited for on stderr, with the time it has taken, where an engine is built first."""
    if not place.store.builds_engine(digest, place.runtime, place.flavour):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        provider = place.runtime.providers[0][0]
        progress.add_task(f"building an engine for {provider}: minutes the first time, kept for the next", total=None)
        yield


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """A table of names and what there is to say of each, for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value))
    Console().print(table)


def say(arguments: argparse.Namespace, text: str) -> None:
    """A line for people; scripts asked for one value."""
    if arguments.output == "text":
        print(text)


def done(arguments: argparse.Namespace, text: str, result: dict[str, Any]) -> int:
    """The last line, or the one value."""
    print(json.dumps(result) if arguments.output == "json" else text)
    return EXIT_OK
