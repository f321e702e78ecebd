"""What the benches of the whole gateway share: a default bundle, real processes, their figures, a real broker."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from edge_agent.clock import SystemClock
from edge_agent.errors import BadBundleError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import LoadedModel
from edge_agent.models.store import ModelStore

CACHE = Path(".cache/bench")
POLL_S = 0.005
# As in systemd/edge-agent-inspect.service.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "67108864",
    "MALLOC_TRIM_THRESHOLD_": "134217728",
    "MALLOC_ARENA_MAX": "2",
}


def default_store() -> Path:
    """The model store with the default bundle active; built by `edge-agent models build` where there is none yet, or
    one that this version does not read."""
    store = CACHE / "state" / "models"
    if not _has_default(store):
        shutil.rmtree(store, ignore_errors=True)
        command = [sys.executable, "-m", "edge_agent", "models", "build", "--state", str(CACHE / "state"), "--activate"]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return store


def _has_default(store: Path) -> bool:
    with contextlib.suppress(BadBundleError):
        digest = ModelStore(store).active("surface") if store.is_dir() else None
        return digest is not None and ModelStore(store).manifest(digest) is not None
    return False


def default_model(flavour: str = "u8s8") -> LoadedModel:
    """The default bundle, loaded as a gateway with one thread loads it."""
    store = ModelStore(default_store())
    digest = store.active("surface")
    assert digest is not None
    return store.load(digest, RuntimeOptions(), flavour)


def write_config(folder: Path, *, url: str, source: str, fps: float) -> Path:
    """A gateway with one camera `cam` in `folder`, with the default bundle in its store."""
    return write_cameras(folder, {"cam": {"source": source, "fps": fps}}, url=url)


def write_cameras(folder: Path, cameras: Mapping[str, Mapping[str, object]], *, url: str) -> Path:
    """A gateway with these cameras, their keys by name, judged by the trained head of the default bundle."""
    state = folder / "state"
    shutil.copytree(default_store(), state / "models")
    file = folder / "agent.yaml"
    file.write_text(
        "version: 1\n"
        "site: {enterprise: bench, plant: here, gateway: gw}\n"
        f"cameras: {json.dumps({name: {'mode': 'trained', **keys} for name, keys in cameras.items()})}\n"
        f"mqtt: {{url: '{url}'}}\n"
        f"storage: {{state_dir: '{state}', runtime_dir: '{folder / 'run'}', min_free_bytes: 0}}\n"
    )
    return file


@contextlib.contextmanager
def running(config: Path, process: str) -> Iterator[psutil.Process]:
    """One process of the gateway, as its unit starts it."""
    log = (config.parent / f"{process}.log").open("wb")
    command = [sys.executable, "-m", "edge_agent", "serve", process, "--config", str(config)]
    with log, subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **MALLOC}) as child:
        try:
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(20)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A short path: sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="ea-bench-") as name:
        yield Path(name)


def until(condition: Callable[[], object], deadline_s: float = 60.0) -> float:
    """Seconds until `condition` was true."""
    never, clock = threading.Event(), SystemClock()
    started_s = time.perf_counter()
    while not condition():
        if time.perf_counter() - started_s > deadline_s:
            raise TimeoutError(f"not true within {deadline_s} s")
        clock.wait(never, POLL_S)
    return time.perf_counter() - started_s


def loads(process: psutil.Process, library: str) -> bool:
    """Whether a process has a shared library mapped."""
    return any(library in entry.path for entry in process.memory_maps())


def pause(seconds: float) -> None:
    """Let the processes run."""
    SystemClock().wait(threading.Event(), seconds)
