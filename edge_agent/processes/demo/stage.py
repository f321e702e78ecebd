"""The demo from beginning to end: broker, bundle, gateway, verdicts heard over MQTT, results.

look at the pictures -> broker -> default bundle -> (own head) -> agent.yaml -> supervisor: inspect + sync
                                                        watcher <-- broker <-- sync <-- outbox <-- inspect
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.clock import Clock
from edge_agent.errors import EXIT_OK, TransientError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import with_encoder
from edge_agent.models.store import ModelStore
from edge_agent.processes.demo.broker import RunningBroker, demo_broker
from edge_agent.processes.demo.fitting import Parts, divide, fit
from edge_agent.processes.demo.pictures import Item, PictureSet, read_folder
from edge_agent.processes.demo.watcher import Heard, Watcher
from edge_agent.processes.demo.workshop import (
    FLAVOUR,
    MODEL,
    Workshop,
    close_workshop,
    default_bundle,
    lay_out,
    open_workshop,
    write_config,
)
from edge_agent.processes.live import InspectLive, fresh_inspect, fresh_json
from edge_agent.processes.supervisor import Supervisor, gateway_children

PLANTS = ("lyon", "osaka", "puebla")
LINE_FPS = 10
PICTURES_FPS = 240
CAMERA = "pictures"
# A third of the pictures at most is taken as good, so that there is something left to judge.
GOOD_PARTS_MIN, GOOD_PARTS_MAX = 10, 50
QUIET_S = 3.0
STEP_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo is asked for. `images` None: the synthetic line. `once` None: until Ctrl-C, or all pictures."""

    work: Path
    images: Path | None = None
    once: int | None = None
    cameras: int = len(PLANTS)
    embedded_broker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What runs: for the screen and the results. `items` maps a part's name to its picture."""

    workshop: Workshop
    broker: RunningBroker
    items: Mapping[str, Item] = field(default_factory=dict)
    pictures: PictureSet | None = None
    parts: Parts | None = None
    good_parts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the running demo."""

    live: InspectLive | None
    sync: Mapping[str, Any] | None
    heard: Sequence[Heard]


Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@contextmanager
def stage(options: DemoOptions, clock: Clock, say: Say, progress: Progress) -> Iterator[Scene]:
    """Set everything up; the broker runs while the block runs.

    Raises:
        BadPictureError: the folder of pictures cannot be used.
        BrokerError, BadBundleError: the broker or the model could not be had.
    """
    pictures = read_folder(options.images) if options.images is not None else None
    workshop = open_workshop(options.work)
    try:
        say("default model (EfficientNet-Lite0, int8; built once, about a minute)")
        base = default_bundle(workshop)
        with demo_broker(workshop.root / "broker", clock, embedded=options.embedded_broker) as broker:
            say(f"broker: {broker.kind} on {broker.url}")
            scene = Scene(workshop=workshop, broker=broker)
            if pictures is None:
                write_config(workshop, broker.url, _lines(options.cameras))
            else:
                scene = _with_pictures(scene, pictures, base, progress)
            yield scene
    finally:
        close_workshop(workshop)


def _lines(count: int) -> dict[str, dict[str, Any]]:
    names = [PLANTS[number] if number < len(PLANTS) else f"line-{number + 1}" for number in range(count)]
    return {name: {"source": f"synthetic:{name}", "fps": LINE_FPS} for name in names}


def _with_pictures(scene: Scene, pictures: PictureSet, base: str, progress: Progress) -> Scene:
    workshop, parts, good_parts = scene.workshop, None, 0
    camera: dict[str, Any] = {"source": f"folder:{workshop.judge}", "fps": PICTURES_FPS, "queue": 8}
    if pictures.labelled:
        parts = divide(pictures)
        store = ModelStore(workshop.state / "models")
        digest = fit(store, with_encoder(store.load(base, RuntimeOptions(), FLAVOUR)), parts, pictures.good, progress)
        store.activate(MODEL, digest, RuntimeOptions(), FLAVOUR)
        # In the order of their names, which says nothing of their labels.
        judged = sorted(parts.judge, key=lambda item: (item.path.name, str(item.path)))
        camera["mode"] = "trained"
    else:
        judged = list(pictures.items)
        good_parts = max(GOOD_PARTS_MIN, min(GOOD_PARTS_MAX, len(judged) // 3))
        camera |= {"mode": "good-only", "good_only_parts": good_parts}
    items = lay_out(workshop, judged)
    write_config(workshop, scene.broker.url, {CAMERA: camera})
    return Scene(
        workshop=workshop,
        broker=scene.broker,
        items=items,
        pictures=pictures,
        parts=parts,
        good_parts=good_parts,
    )


def play(
    scene: Scene, options: DemoOptions, clock: Clock, stop: threading.Event, show: Callable[[View], None]
) -> list[Heard]:
    """Run the gateway and hear its verdicts until enough came, all pictures are judged, or `stop` is set.

    Raises:
        TransientError: the gateway ended by itself; its log is named.
    """
    watcher = Watcher(scene.broker.url, clock)
    children = gateway_children(str(scene.workshop.config), scene.workshop.state, scene.workshop.log)
    supervisor = Supervisor(children, clock)
    ended: list[int] = []
    halt = threading.Event()
    thread = threading.Thread(
        target=lambda: ended.append(supervisor.run(halt, threading.Event())), name="supervisor", daemon=True
    )
    thread.start()
    try:
        wanted = _wanted(scene, options)
        quiet_since_s = clock.mono_s()
        while not stop.is_set() and thread.is_alive():
            before = len(watcher.verdicts.heard)
            watcher.step(STEP_S)
            heard = list(watcher.verdicts.heard.values())
            view = _look(scene, clock, heard)
            show(view)
            if len(heard) != before:
                quiet_since_s = clock.mono_s()
            if wanted is not None and len(heard) >= wanted:
                break
            if scene.items and _through(view) and clock.mono_s() - quiet_since_s >= QUIET_S:
                break
        if ended and ended[0] != EXIT_OK:
            raise TransientError(f"the gateway ended with code {ended[0]}; the end of {scene.workshop.log} says why")
        heard = list(watcher.verdicts.heard.values())
        return heard[:wanted] if wanted is not None else heard
    finally:
        halt.set()
        thread.join()
        watcher.close()


def _wanted(scene: Scene, options: DemoOptions) -> int | None:
    counts = [count for count in (options.once, len(scene.items) or None) if count is not None]
    return min(counts) if counts else None


def _look(scene: Scene, clock: Clock, heard: Sequence[Heard]) -> View:
    runtime, now_s = scene.workshop.runtime, clock.utc_s()
    return View(
        live=fresh_inspect(runtime / "inspect.json", now_s),
        sync=fresh_json(runtime / "sync.json", now_s),
        heard=heard,
    )


def _through(view: View) -> bool:
    """Every camera came to the end of its pictures, and nothing waits."""
    if view.live is None or not view.live.cameras:
        return False
    return all(camera.state == "ended" and camera.in_flight == 0 for camera in view.live.cameras.values())
