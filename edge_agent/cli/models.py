"""Build, pack, import, list, verify, activate and roll back model bundles.

A bundle is a directory with a manifest, golden answers, and an encoder with a head or a network of your own: a
classifier, an anomaly model or a detector. The store under the state directory keeps each by its digest; for each model
name one pointer says which is active and which was before.

Examples:
  edge-agent models build --activate             build the default bundle (needs edge-agent[train]) and use it
  edge-agent models build --to DIR               build it here, to copy it to gateways
  edge-agent models pack model.yaml --activate   make a bundle of your own ONNX file, and use it
  edge-agent models example detector --to DIR    write a small network with a declaration that shows how
  edge-agent models import DIR --activate        take a bundle in, check it in a limited child process, use it
  edge-agent models list                         what is there, what is active
  edge-agent models verify                       let the active bundle reproduce its golden answers on this device
  edge-agent models activate DIGEST              use another one; the first digits are enough
  edge-agent models rollback                     back to the previous one

The running daemon picks up a new pointer between two frames; nothing has to be restarted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_OK, BadBundleError, ConfigError, RefusedError

if TYPE_CHECKING:
    from edge_agent.models.encoder import RuntimeOptions
    from edge_agent.models.store import ModelStore, StoredModel

SUMMARY = "build, pack, import, list, verify, activate and roll back model bundles"
DEFAULT_STATE = Path("/var/lib/edge-agent")
DEFAULT_NAME = "surface"
# As models/build/examples.py has them: named here so that --help loads nothing.
EXAMPLES = ("classifier", "anomaly", "detector", "detector-yolov5", "detector-rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the models are and how this device runs them."""

    store: ModelStore
    runtime: RuntimeOptions
    flavour: str


def configure(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="configuration that names the state directory and the device")
    shared.add_argument("--state", metavar="DIR", type=Path, help=f"state directory (default {DEFAULT_STATE})")
    shared.add_argument("--output", choices=("text", "json"), default="text", help="json prints one value for scripts")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    build = actions.add_parser("build", parents=[shared], help="build the default bundle (needs edge-agent[train])")
    build.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")
    build.add_argument("--version", default="1", help="version of the bundle (default %(default)s)")
    build.add_argument("--size", type=int, default=224, metavar="PX", help="input height and width (default 224)")
    build.add_argument(
        "--features",
        choices=("stages", "blocks"),
        default="stages",
        help="784 numbers a picture, or 1,808 (default %(default)s; docs/learning.md says when the latter pay)",
    )
    build.add_argument("--seed", type=int, default=0, help="seed of the synthetic line (default 0)")
    build.add_argument("--pictures", type=Path, metavar="DIR", help="further pictures to calibrate int8 on")
    build.add_argument("--to", type=Path, metavar="DIR", help="write the bundle here instead of into the store")
    build.add_argument("--activate", action="store_true", help="use it at once")

    pack = actions.add_parser("pack", parents=[shared], help="make a bundle of your own ONNX file (docs/models.md)")
    pack.add_argument("declaration", type=Path, metavar="FILE", help="YAML that says what the network takes and gives")
    pack.add_argument("--to", type=Path, metavar="DIR", help="write the bundle here instead of into the store")
    pack.add_argument("--activate", action="store_true", help="use it at once")

    example = actions.add_parser("example", parents=[shared], help="write a small network and its declaration")
    example.add_argument("kind", choices=EXAMPLES, help="what it is")
    example.add_argument("--to", type=Path, metavar="DIR", required=True, help="folder to write into")

    take = actions.add_parser("import", parents=[shared], help="take a bundle directory into the store")
    take.add_argument("directory", type=Path)
    take.add_argument("--activate", action="store_true", help="use it at once")

    actions.add_parser("list", parents=[shared], help="all bundles, and which are active")
    for action, text in (
        ("show", "the manifest of a bundle"),
        ("verify", "check hashes and reproduce the golden vectors on this device"),
    ):
        child = actions.add_parser(action, parents=[shared], help=text)
        child.add_argument("digest", nargs="?", help="its first digits (default: the active one)")
        child.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")
    activate = actions.add_parser("activate", parents=[shared], help="verify a bundle, then use it")
    activate.add_argument("digest", help="its first digits")
    back = actions.add_parser("rollback", parents=[shared], help="use the previous bundle again")
    back.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    action: Callable[[argparse.Namespace], int] = {
        "build": _build,
        "pack": _pack,
        "example": _example,
        "import": _import,
        "list": _list,
        "show": _show,
        "verify": _verify,
        "activate": _activate,
        "rollback": _roll_back,
    }[arguments.action]
    return action(arguments)


def _place(arguments: argparse.Namespace) -> Place:
    """The one look at configuration and device; without a configuration, defaults and what is detected."""
    import math
    import platform

    from edge_agent.config.locate import locate
    from edge_agent.config.sections import DeviceKeys, Models
    from edge_agent.config.settings import load
    from edge_agent.models.store import ModelStore
    from edge_agent.models.vet import vet
    from edge_agent.models.vetting import VetLimits
    from edge_agent.processes.runtime_plan import plan_for

    device, models, state = DeviceKeys(), Models(), DEFAULT_STATE
    path = locate(arguments.config)
    # With --state and no --config, a configuration that happens to lie about has no say.
    if arguments.config or (arguments.state is None and path.exists()):
        settings = load(path, secrets_of=())
        device, models, state = settings.device, settings.models, settings.storage.state_dir
    state = arguments.state or state
    plan = plan_for(device, models, state, Path("/"), platform.machine())
    limits = VetLimits(wall_s=math.ceil(models.vet_timeout_s))
    store = ModelStore(
        state / "models",
        vetting=lambda content: vet(content, limits),
        limit_bytes=models.bundle_limit_bytes,
    )
    return Place(store=store, runtime=plan.runtime, flavour=plan.flavour)


def _build(arguments: argparse.Namespace) -> int:
    try:
        from edge_agent.models.build.bundle import Plan, build
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"building a bundle needs {error.name}, which is not installed: pip install 'edge-agent[train]' "
            "(a gateway runs bundles without it: build elsewhere, then `edge-agent models import DIR`)"
        ) from error
    from edge_agent.clock import SystemClock

    plan = Plan(
        name=arguments.name,
        version=arguments.version,
        input_px=(arguments.size, arguments.size),
        features=arguments.features,
        seed=arguments.seed,
        pictures=_pictures(arguments.pictures),
    )
    with tempfile.TemporaryDirectory(prefix="edge-agent-build-") as temporary:
        directory = arguments.to or Path(temporary)
        with _bars() as show:
            built = build(directory, plan, SystemClock().utc_s(), show)
        accuracy = ", ".join(f"{flavour} {share:.3f}" for flavour, share in built.accuracy.items())
        _say(arguments, f"built {plan.name} {plan.version}, names unseen synthetic parts rightly: {accuracy}")
        if arguments.to is not None and not arguments.activate:
            return _done(arguments, f"written to {directory}", {"digest": built.digest, "accuracy": built.accuracy})
        return _take(arguments, directory)


def _pack(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.models.build.declaration import load
    from edge_agent.models.build.pack import pack
    from edge_agent.models.manifests import kind_of

    declared = load(arguments.declaration)
    with tempfile.TemporaryDirectory(prefix="edge-agent-pack-") as temporary:
        directory = arguments.to or Path(temporary)
        packed = pack(declared, directory, SystemClock().utc_s())
        manifest = packed.manifest
        golden = ", ".join(f"{label} {score:.2f}" for label, score in packed.golden)
        size = f"{manifest.input_px[0]} x {manifest.input_px[1]} px"
        _say(arguments, f"packed {manifest.name} {manifest.version}, {kind_of(manifest)} of {size}; golden: {golden}")
        if arguments.to is not None and not arguments.activate:
            return _done(arguments, f"written to {directory}", {"digest": packed.digest, "golden": packed.golden})
        return _take(arguments, directory)


def _example(arguments: argparse.Namespace) -> int:
    from edge_agent.models.build.examples import write

    write(arguments.kind, arguments.to)
    text = f"written to {arguments.to}: next, edge-agent models pack {arguments.to / 'model.yaml'} --activate"
    return _done(arguments, text, {"directory": str(arguments.to)})


def _pictures(directory: Path | None) -> list[Any]:
    from edge_agent.capture.picture import read_picture

    if directory is None:
        return []
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
    found = [read_picture(path) for path in sorted(directory.rglob("*")) if path.suffix.lower() in suffixes]
    if not found:
        raise RefusedError(f"{directory}: no pictures found ({', '.join(sorted(suffixes))})")
    return found


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for each thing that is being done: what, done, of how many."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    tasks: dict[str, TaskID] = {}
    with Progress(console=Console(stderr=True)) as progress:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        yield show


@contextlib.contextmanager
def _patience(place: Place, digest: str) -> Iterator[None]:
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


def _import(arguments: argparse.Namespace) -> int:
    return _take(arguments, arguments.directory)


def _take(arguments: argparse.Namespace, directory: Path) -> int:
    place = _place(arguments)
    digest = place.store.stage(directory)
    manifest = place.store.manifest(digest)
    result = {"digest": digest, "name": manifest.name, "active": arguments.activate}
    if not arguments.activate:
        return _done(arguments, f"staged {manifest.name} {manifest.version} as {digest}", result)
    with _patience(place, digest):
        place.store.activate(manifest.name, digest, place.runtime, place.flavour)
    return _done(arguments, f"{manifest.name} {manifest.version} ({digest[:12]}) is active", result)


def _list(arguments: argparse.Namespace) -> int:
    store = _place(arguments).store
    models = store.list()
    for digest, reason in store.unreadable().items():
        print(f"{digest[:12]} cannot be read: {reason}; build or import it again", file=sys.stderr)
    if arguments.output == "json":
        print(json.dumps([_summary(model) for model in models], indent=2))
        return EXIT_OK
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from edge_agent.models.manifests import kind_of

    if not models:
        print("no models yet: `edge-agent models build --activate`, or `edge-agent models import DIR`")
        return EXIT_OK
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("version", overflow="fold", min_width=7)
    for heading in ("kind", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("digest", no_wrap=True, min_width=12)  # what the other verbs are given
    table.add_column("fails from", justify="right")
    table.add_column("classes", overflow="fold")
    for model in models:
        manifest = model.manifest
        table.add_row(
            manifest.name,
            manifest.version,
            kind_of(manifest),
            model.state,
            model.digest[:12],
            f"{manifest.threshold:.2f}",
            ", ".join(name if name not in manifest.good_classes else f"{name} (good)" for name in manifest.classes),
        )
    Console().print(table)
    return EXIT_OK


def _summary(model: StoredModel) -> dict[str, Any]:
    from edge_agent.models.manifests import kind_of

    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": kind_of(manifest),
        "threshold": manifest.threshold,
        "state": model.state,
        "digest": model.digest,
        "created": manifest.created,
        "flavours": sorted(manifest.networks),
        "classes": list(manifest.classes),
    }


def _show(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    store = _place(arguments).store
    digest = _digest(store, arguments)
    print(json.dumps({"digest": digest, **asdict(store.manifest(digest))}, indent=2))
    return EXIT_OK


def _verify(arguments: argparse.Namespace) -> int:
    place = _place(arguments)
    digest = _digest(place.store, arguments)
    with _patience(place, digest):
        model = place.store.verify(digest, place.runtime, place.flavour)
    provider = model.providers_in_use[0]
    text = f"{model.manifest.name} {model.manifest.version} ({digest[:12]}): golden vectors reproduced by {provider}"
    return _done(arguments, text, {"digest": digest, "flavour": model.flavour, "provider": provider})


def _activate(arguments: argparse.Namespace) -> int:
    place = _place(arguments)
    digest = _digest(place.store, arguments)
    name = place.store.manifest(digest).name
    with _patience(place, digest):
        place.store.activate(name, digest, place.runtime, place.flavour)
    return _done(arguments, f"{name} ({digest[:12]}) is active", {"name": name, "digest": digest})


def _roll_back(arguments: argparse.Namespace) -> int:
    digest = _place(arguments).store.roll_back(arguments.name)
    text = f"{arguments.name} ({digest[:12]}) is active again"
    return _done(arguments, text, {"name": arguments.name, "digest": digest})


def _digest(store: ModelStore, arguments: argparse.Namespace) -> str:
    """The bundle that the first digits mean, or the active one where none are given."""
    if arguments.digest is None:
        active = store.active(arguments.name)
        if active is None:
            raise BadBundleError(f"model {arguments.name!r} has no active bundle; `edge-agent models list` shows all")
        return active
    found = [model.digest for model in store.list() if model.digest.startswith(arguments.digest)]
    if len(found) != 1:
        raise BadBundleError(f"{arguments.digest!r} fits {len(found)} bundles; `edge-agent models list` shows all")
    return found[0]


def _say(arguments: argparse.Namespace, text: str) -> None:
    if arguments.output == "text":
        print(text)


def _done(arguments: argparse.Namespace, text: str, result: dict[str, Any]) -> int:
    print(json.dumps(result) if arguments.output == "json" else text)
    return EXIT_OK
