"""`models list | show | verify`: what is there, what it is, and whether it still computes the same."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge_agent.cli.models.place import digest_of, done, facts, patience, place_of
from edge_agent.errors import EXIT_OK

if TYPE_CHECKING:
    from edge_agent.models.journal import Step
    from edge_agent.models.manifests import AnyManifest
    from edge_agent.models.store import ModelStore, StoredModel
    from edge_agent.models.trial import Trial

_MIB = 1024 * 1024


def list_(arguments: argparse.Namespace) -> int:
    """All bundles, what each is for, and how a trial stands."""
    store = place_of(arguments).store
    models = store.list()
    trials = {name: store.trial(name) for name in {model.manifest.name for model in models}}
    for digest, reason in store.unreadable().items():
        print(f"{digest[:12]} cannot be read: {reason}; build or import it again", file=sys.stderr)
    if arguments.output == "json":
        print(json.dumps([_summary(model, trials[model.manifest.name]) for model in models], indent=2))
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
            _state(model, trials[manifest.name]),
            model.digest[:12],
            f"{manifest.threshold:.2f}",
            _classes(manifest),
        )
    Console().print(table)
    return EXIT_OK


def _state(model: StoredModel, trial: Trial | None) -> str:
    """What it is for; a candidate's stage in place of "staged" or beside "active"."""
    if trial is None or not trial.stage.open or trial.candidate != model.digest:
        return model.state
    return f"active, {trial.stage.value}" if model.state == "active" else trial.stage.value


def _classes(manifest: AnyManifest) -> str:
    return ", ".join(name if name not in manifest.good_classes else f"{name} (good)" for name in manifest.classes)


def _summary(model: StoredModel, trial: Trial | None) -> dict[str, Any]:
    from edge_agent.models.manifests import kind_of

    manifest = model.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "kind": kind_of(manifest),
        "threshold": manifest.threshold,
        "state": model.state,
        "trial": trial.stage.value if trial is not None and trial.candidate == model.digest else None,
        "digest": model.digest,
        "created": manifest.created,
        "flavours": sorted(manifest.networks),
        "classes": list(manifest.classes),
    }


def show(arguments: argparse.Namespace) -> int:
    """One bundle: what it is, where it comes from, and what has happened to it."""
    from dataclasses import asdict

    store = place_of(arguments).store
    digest = digest_of(store, arguments.digest, arguments.name)
    manifest = store.manifest(digest)
    steps = [step for step in store.journal.read().steps if digest in (step.digest, step.from_digest)]
    if arguments.output == "json":
        told = [{**asdict(step), "event": step.event.value} for step in steps]
        print(json.dumps({"digest": digest, **asdict(manifest), "journal": told}, indent=2))
        return EXIT_OK
    facts(_facts(store, digest, manifest, steps))
    return EXIT_OK


def _facts(store: ModelStore, digest: str, manifest: AnyManifest, steps: list[Step]) -> Iterator[tuple[str, str]]:
    from edge_agent.cli.models.history import sentence
    from edge_agent.models.manifests import kind_of
    from edge_agent.models.network_manifest import NetworkManifest

    yield "model", f"{manifest.name} {manifest.version}, {kind_of(manifest)}"
    yield "digest", digest
    state = next((model for model in store.list() if model.digest == digest), None)
    if state is not None:
        yield "state", _state(state, store.trial(manifest.name))
    yield "created", manifest.created
    yield "takes", f"{manifest.input_px[1]} x {manifest.input_px[0]} px"
    yield "classes", _classes(manifest)
    yield "fails from", f"{manifest.threshold:.3f}, held from {manifest.hold_below:.3f}"
    sizes = (f"{flavour} {file.size / _MIB:.1f} MiB" for flavour, file in sorted(manifest.networks.items()))
    yield "networks", ", ".join(sizes)
    if not isinstance(manifest, NetworkManifest):
        yield "features", f"{manifest.features.dimension}, means of {len(manifest.features.blocks)} blocks"
        yield "head from", manifest.trained_on
        yield "seeds", ", ".join(f"{name} {seed}" for name, seed in sorted(manifest.provenance.seeds.items())) or "-"
        yield "made with", ", ".join(f"{name} {found}" for name, found in sorted(manifest.provenance.packages.items()))
    yield "licences", ", ".join(manifest.licences) or "-"
    for step in steps:
        yield "history", sentence(step, digest)


def verify(arguments: argparse.Namespace) -> int:
    """Let a bundle reproduce its golden answers here."""
    place = place_of(arguments)
    digest = digest_of(place.store, arguments.digest, arguments.name)
    with patience(place, digest):
        model = place.store.verify(digest, place.runtime, place.flavour)
    provider = model.providers_in_use[0]
    text = f"{model.manifest.name} {model.manifest.version} ({digest[:12]}): golden vectors reproduced by {provider}"
    return done(arguments, text, {"digest": digest, "flavour": model.flavour, "provider": provider})
