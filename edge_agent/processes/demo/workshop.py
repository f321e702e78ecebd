"""The demo's folder: a configuration, a state directory with the default bundle, and where its pictures lie.

WORK/state      models (built once, kept), outbox, ...      WORK/judge      links to the pictures that are judged
WORK/agent.yaml, WORK/gateway.log                           WORK/flagged    what was flagged, drawn on
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import BadBundleError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.demo.pictures import Item

MODEL, FLAVOUR = "surface", "u8s8"
GATEWAY = "demo"
# Kept from run to run: building takes a minute. Everything else starts fresh.
KEPT = ("models",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """The paths of one demo. `runtime` is short: unix sockets take 107 bytes."""

    root: Path
    runtime: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def config(self) -> Path:
        return self.root / "agent.yaml"

    @property
    def log(self) -> Path:
        return self.root / "gateway.log"

    @property
    def judge(self) -> Path:
        return self.root / "judge"

    @property
    def flagged(self) -> Path:
        return self.root / "flagged"


def open_workshop(root: Path) -> Workshop:
    """Make the folder ready: models of an earlier run stay, the rest of it goes."""
    root.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(root=root.resolve(), runtime=Path(tempfile.mkdtemp(prefix="edge-agent-")))
    workshop.state.mkdir(exist_ok=True)
    for entry in workshop.state.iterdir():
        if entry.name not in KEPT:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for folder in (workshop.judge, workshop.flagged):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    workshop.log.write_bytes(b"")
    return workshop


def close_workshop(workshop: Workshop) -> None:
    """Remove what lay outside the demo's folder."""
    shutil.rmtree(workshop.runtime, ignore_errors=True)


def default_bundle(workshop: Workshop) -> str:
    """The digest of the default bundle, built if this folder has none yet, and active.

    Raises:
        BadBundleError: it could not be built; the lines above say why.
    """
    store = ModelStore(workshop.state / "models")
    for model in store.list():
        if model.manifest.name == MODEL and model.manifest.trained_on == "synthetic-line":
            if store.active(MODEL) != model.digest:
                store.activate(MODEL, model.digest, RuntimeOptions(), FLAVOUR)
            return model.digest
    # A process of its own: it needs torch, which nothing that stays in memory here may load.
    command = [sys.executable, "-m", "edge_agent", "models", "build", "--activate", "--state", str(workshop.state)]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise BadBundleError(f"edge-agent models build ended with code {done.returncode}; see the lines above")
    digest = ModelStore(workshop.state / "models").active(MODEL)
    if digest is None:
        raise BadBundleError(f"no active bundle in {workshop.state} after the build")
    return digest


def write_config(workshop: Workshop, url: str, cameras: Mapping[str, Mapping[str, Any]]) -> None:
    """The configuration of the demo's gateway; JSON is YAML."""
    settings = {
        "version": 1,
        "site": {"enterprise": "demo", "plant": "here", "gateway": GATEWAY},
        "cameras": cameras,
        "mqtt": {"url": url},
        "telemetry": {"interval_s": 2, "summary_interval_s": 2},
        "storage": {
            "state_dir": str(workshop.state),
            "runtime_dir": str(workshop.runtime),
            "min_free_bytes": 0,
        },
    }
    workshop.config.write_text(json.dumps(settings, indent=2))


def lay_out(workshop: Workshop, items: Sequence[Item]) -> dict[str, Item]:
    """Links to the pictures in the order they are to be judged; returns which name stands for which item."""
    names = {}
    for number, item in enumerate(items, start=1):
        name = f"{number:05}-{item.path.name}"
        (workshop.judge / name).symlink_to(item.path.resolve())
        names[name] = item
    return names
