"""What a change of models costs: frames without exactly one inspection, and the gap between verdicts. See interference.py."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx

from edge_agent.clock import SystemClock
from edge_agent.models import bundle
from edge_agent.models.bundle import Manifest
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import LoadedModel
from edge_agent.models.store import ModelStore
from edge_agent.records import HoldReason
from edge_agent.sync.commands import Command
from edge_agent.sync.doorbell import ringer
from edge_agent.sync.inbox import Inbox
from tests.bench.cameras import bare_fps as bare
from tests.bench.footprint import write_pictures
from tests.bench.gateway import default_model, folder, pause, running, until, write_cameras
from tests.bench.judged import Judged, judged
from tests.bench.report import Progress

MODEL = "surface"
NOWHERE = "mqtt://127.0.0.1:1"
AFTER_S = 0.5  # the first verdicts of a new model belong to its swap
BETWEEN_S = 0.5
FAST_FPS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """One activation: what came into force, when it was commanded and when it was told to be done, wall clock."""

    kind: str
    digest: str
    begun_utc_s: float
    done_utc_s: float


def measure_swaps(swaps: int, progress: Progress) -> dict[str, Any]:
    """`swaps` activations of each kind, at full rate and at 1.5 times what can be judged."""
    bare_fps = bare(default_model(), 1.0)
    cameras = {
        "full_rate": {"cam": {"fps": FAST_FPS}},
        "overload": {f"cam-{number}": {"fps": 1.5 * bare_fps / 4, "load": "latest"} for number in range(4)},
    }
    found = {}
    for name, kinds in cameras.items():
        found[name] = _run(kinds, swaps, lambda done, total, name=name: progress(f"swaps, {name}", done, total))
    return {
        "frames_lost_at_swap": sum(one["lost"] + one["twice"] for one in found.values()),
        "swap_gap_ms": max(gap["median_ms"] for one in found.values() for gap in one["gap"].values()),
        "swaps": found,
    }


def _run(
    cameras: Mapping[str, Mapping[str, object]], swaps: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    with folder() as place:
        write_pictures(place / "pictures")
        source = f"folder:{place / 'pictures'}?loop=1"
        config = write_cameras(place, {name: {"source": source, **keys} for name, keys in cameras.items()}, url=NOWHERE)
        store = ModelStore(place / "state" / "models")
        first = store.active(MODEL)
        assert first is not None
        others = {"head": _another_head(store, first), "network": _another_network(store, first, place / "network")}
        with running(config, "inspect"):
            until((place / "run" / "inspect.json").exists)
            pause(2.0)
            still = [(time.time(), pause(BETWEEN_S), time.time()) for _ in range(swaps)]
            done = _swap(place, first, others, swaps, progress)
            pause(AFTER_S + BETWEEN_S)
        rows = judged(place / "state" / "outbox.db")
    return {
        **_lost(rows),
        "unjudged": sum(row.reason == HoldReason.MODEL.value for row in rows),
        "frames": len(rows),
        "gap": {
            "none": _gaps(rows, [(begun_s, ended_s) for begun_s, _, ended_s in still]),
            **{kind: _gaps(rows, [_around(rows, swap) for swap in done if swap.kind == kind]) for kind in others},
        },
        "command_to_verdict_ms": {
            kind: round(statistics.median(_took_ms(rows, swap) for swap in done if swap.kind == kind), 1)
            for kind in others
        },
    }


def _swap(
    place: Path, first: str, others: Mapping[str, str], swaps: int, progress: Callable[[int, int], None]
) -> list[Swap]:
    """Command each activation, there and back again, and wait until it is told to be done."""
    inbox = Inbox(place / "state" / "inbox.db", SystemClock())
    ring = ringer(place / "run" / "inspect.bell")
    done = []
    with contextlib.closing(inbox):
        for number in range(swaps * len(others)):
            kind = tuple(others)[number // swaps]
            digest = others[kind] if number % 2 == 0 else first
            begun_utc_s = time.time()
            name, arguments = f"swap-{number}", {"action": "activate", "name": MODEL, "digest": digest}
            inbox.accept(Command(id=name, type="model", by="bench", args=arguments, expires_utc_s=None))
            ring()
            until(lambda name=name: _ended(inbox, name))
            done.append(Swap(kind=kind, digest=digest, begun_utc_s=begun_utc_s, done_utc_s=time.time()))
            progress(number + 1, swaps * len(others))
            pause(BETWEEN_S)
    return done


def _ended(inbox: Inbox, name: str) -> bool:
    told = next((step for step in inbox.untold() if step.id == name), None)
    if told is None or told.state in ("accepted", "executing"):
        return False
    assert told.state == "successful", told
    inbox.told(told)
    return True


def _lost(rows: Sequence[Judged]) -> dict[str, int]:
    """Numbers between a camera's first and last that have no inspection, and those that have two."""
    seen: dict[str, Counter[int]] = {}
    for row in rows:
        seen.setdefault(row.camera, Counter())[row.sequence] += 1
    missing = sum(max(found) - min(found) + 1 - len(found) for found in seen.values())
    return {"lost": missing, "twice": sum(count > 1 for found in seen.values() for count in found.values())}


def _first_of(rows: Sequence[Judged], swap: Swap) -> float:
    """When the first verdict of the new model was given."""
    return min(row.verdict_utc_s for row in rows if row.model == swap.digest and row.verdict_utc_s > swap.begun_utc_s)


def _around(rows: Sequence[Judged], swap: Swap) -> tuple[float, float]:
    return swap.begun_utc_s, _first_of(rows, swap) + AFTER_S


def _took_ms(rows: Sequence[Judged], swap: Swap) -> float:
    return (_first_of(rows, swap) - swap.begun_utc_s) * 1e3


def _gaps(rows: Sequence[Judged], spans: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The gap of each span of time, in ms: the median over the spans, and the worst."""
    found = []
    times = sorted(row.verdict_utc_s for row in rows if row.total_ms is not None)
    for begun_s, ended_s in spans:
        inside = [moment for moment in times if begun_s <= moment <= ended_s]
        between = [(later - sooner) * 1e3 for sooner, later in pairwise(inside)]
        found.append(max(between) - statistics.median(between))
    return {"median_ms": round(statistics.median(found), 1), "worst_ms": round(max(found), 1)}


def _another_head(store: ModelStore, digest: str) -> str:
    """The same encoder with the same head under another version: two small files are new."""
    model = store.load(digest, RuntimeOptions())
    assert isinstance(model, LoadedModel)
    return store.with_head(digest, model.head, "another-head")


def _another_network(store: ModelStore, digest: str, directory: Path) -> str:
    """The same network in files of another content: nothing of the one in force can be used for it."""
    manifest = store.manifest(digest)
    assert isinstance(manifest, Manifest)
    contents = {file.name: (store.root / "blobs" / file.sha256).read_bytes() for file in manifest.files}
    for file in manifest.encoders.values():
        model = onnx.load_from_string(contents[file.name])
        model.doc_string = "another network"
        contents[file.name] = model.SerializeToString()
    encoders = {flavour: bundle.describe(contents[file.name], file.name) for flavour, file in manifest.encoders.items()}
    directory.mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    changed = replace(manifest, encoders=encoders, version="another-network")
    (directory / bundle.MANIFEST_NAME).write_bytes(bundle.to_bytes(changed))
    return store.stage(directory)
