"""`models build | pack | example | import`: how bundles come about and come in."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from edge_agent.cli.models.place import bars, done, patience, place_of, say, who
from edge_agent.errors import ConfigError, RefusedError


def build(arguments: argparse.Namespace) -> int:
    try:
        from edge_agent.models.build.bundle import Plan
        from edge_agent.models.build.bundle import build as make
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
        with bars() as show:
            built = make(directory, plan, SystemClock().utc_s(), show)
        accuracy = ", ".join(f"{flavour} {share:.3f}" for flavour, share in built.accuracy.items())
        say(arguments, f"built {plan.name} {plan.version}, names unseen synthetic parts rightly: {accuracy}")
        if arguments.to is not None and not arguments.activate:
            return done(arguments, f"written to {directory}", {"digest": built.digest, "accuracy": built.accuracy})
        return _take(arguments, directory)


def pack(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.models.build.declaration import load
    from edge_agent.models.build.pack import pack as make
    from edge_agent.models.manifests import kind_of

    declared = load(arguments.declaration)
    with tempfile.TemporaryDirectory(prefix="edge-agent-pack-") as temporary:
        directory = arguments.to or Path(temporary)
        packed = make(declared, directory, SystemClock().utc_s())
        manifest = packed.manifest
        golden = ", ".join(f"{label} {score:.2f}" for label, score in packed.golden)
        size = f"{manifest.input_px[0]} x {manifest.input_px[1]} px"
        say(arguments, f"packed {manifest.name} {manifest.version}, {kind_of(manifest)} of {size}; golden: {golden}")
        if arguments.to is not None and not arguments.activate:
            return done(arguments, f"written to {directory}", {"digest": packed.digest, "golden": packed.golden})
        return _take(arguments, directory)


def example(arguments: argparse.Namespace) -> int:
    from edge_agent.models.build.examples import write

    write(arguments.kind, arguments.to)
    text = f"written to {arguments.to}: next, edge-agent models pack {arguments.to / 'model.yaml'} --activate"
    return done(arguments, text, {"directory": str(arguments.to)})


def _pictures(directory: Path | None) -> list[Any]:
    from edge_agent.capture.picture import read_picture

    if directory is None:
        return []
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
    found = [read_picture(path) for path in sorted(directory.rglob("*")) if path.suffix.lower() in suffixes]
    if not found:
        raise RefusedError(f"{directory}: no pictures found ({', '.join(sorted(suffixes))})")
    return found


def import_(arguments: argparse.Namespace) -> int:
    return _take(arguments, arguments.directory)


def _take(arguments: argparse.Namespace, directory: Path) -> int:
    by = who(arguments)
    place = place_of(arguments)
    digest = place.store.stage(directory, by=by)
    manifest = place.store.manifest(digest)
    result = {"digest": digest, "name": manifest.name, "active": arguments.activate}
    if not arguments.activate:
        return done(arguments, f"staged {manifest.name} {manifest.version} as {digest}", result)
    with patience(place, digest):
        place.store.activate(manifest.name, digest, place.runtime, place.flavour, by=by)
    return done(arguments, f"{manifest.name} {manifest.version} ({digest[:12]}) is active", result)
