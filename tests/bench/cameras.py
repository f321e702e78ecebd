"""How many frames a second one gateway judges with 1, 4 and 8 cameras, and what becomes of a camera that breaks.

The real inspect process, as its unit starts it, with cameras of 640x480 that give a picture whenever one is taken (a
folder of uncompressed pictures, so that no decoder is measured), the default bundle, one thread. `efficiency` is the
worst, over the numbers of cameras, of all cameras' fps together beside bare inference: one thread that runs the same
encoder over prepared pictures in memory, in blocks before and after each run of the process. `built_in_line` is the
same with cameras that draw each part first, in Python's own threads. `recovery_s`: an RTSP server is killed and comes back; from the moment it accepts connections to the
first committed verdict, the worst of the outages. `rss_slope_kib_per_reconnect` is that of the HTTP camera, which was opened
most often; reconnects.py says how, `reconnects` holds the others.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.errors import TransientError
from edge_agent.models.loading import LoadedModel
from edge_agent.processes.live import InspectLive, read_inspect
from edge_agent.sync.outbox_file import inspect_outbox
from tests.bench.footprint import write_pictures
from tests.bench.gateway import default_model, folder, pause, running, until, write_cameras
from tests.bench.reconnects import KINDS
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.rtsp_server import RtspServer

COUNTS = (1, 4, 8)
NOWHERE = "mqtt://127.0.0.1:1"  # sync does not run: measured is what inspects
MOST_FPS = 1000.0
WARM_UP = 30  # frames of each camera
OVERLOAD = 1.5  # pictures come so many times faster than bare inference could judge them


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long each part is measured."""

    rounds: int
    bare_s: float
    run_s: float
    overload_s: float
    reconnects: Mapping[str, int]
    outages_s: tuple[float, ...]


FULL = Scale(
    rounds=5, bare_s=1.0, run_s=4.0, overload_s=6.0, reconnects={"http": 1000, "rtsp": 200}, outages_s=(5.0, 60.0)
)
QUICK = Scale(rounds=1, bare_s=1.0, run_s=2.5, overload_s=2.0, reconnects={"http": 500, "rtsp": 20}, outages_s=(5.0,))


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    scale = QUICK if options.quick else FULL
    model = default_model()
    runs: dict[int, list[dict[str, float]]] = {count: [] for count in COUNTS}
    line: list[dict[str, float]] = []
    with folder() as place:
        write_pictures(place / "pictures")
        source = f"folder:{place / 'pictures'}?loop=1"
        for number in range(scale.rounds):
            for count in COUNTS:
                runs[count].append(_beside_bare(model, [source] * count, scale))
            line.append(_beside_bare(model, [f"synthetic:mixed?seed={seed}" for seed in range(max(COUNTS))], scale))
            progress("rounds", number + 1, scale.rounds)
        bare = statistics.median(run["bare_fps"] for found in runs.values() for run in found)
        overload = {}
        for count in COUNTS:
            overload[str(count)] = _overload([source] * count, OVERLOAD * bare / count, scale.overload_s)
            progress("overload", len(overload), len(COUNTS))
    reconnects = {}
    for kind, count in scale.reconnects.items():
        reconnects[kind] = KINDS[kind](count)
        progress("reconnects", len(reconnects), len(scale.reconnects))
    recovery = {}
    for outage_s in scale.outages_s:
        recovery[f"{outage_s:g}"] = round(_recovery_s(outage_s), 2)
        progress("outages", len(recovery), len(scale.outages_s))
    medians = {count: _medians(found) for count, found in runs.items()}
    return {
        **{f"fps_{count}": found["fps"] for count, found in medians.items()},
        "bare_fps": round(bare, 1),
        "efficiency": min(found["efficiency"] for found in medians.values()),
        "cameras": {str(count): found for count, found in medians.items()},
        "built_in_line": _medians(line),
        "overload": overload,
        "recovery_s": max(recovery.values()),
        "recovery_s_after_outage_s": recovery,
        "rss_slope_kib_per_reconnect": reconnects["http"]["rss_slope_kib"],
        "reconnects": reconnects,
        "runs": scale.rounds,
    }


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def _beside_bare(model: LoadedModel, sources: Sequence[str], scale: Scale) -> dict[str, float]:
    """One run of the process between two blocks of bare inference; every picture is judged."""
    before = bare_fps(model, scale.bare_s)
    found = _run(_cameras(sources, fps=MOST_FPS), scale.run_s)
    bare = (before + bare_fps(model, scale.bare_s)) / 2
    return {
        "fps": found["fps"],
        "bare_fps": bare,
        "efficiency": found["fps"] / bare,
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "dropped_share": found["dropped_share"],
        "cpu_cores": found["cpu_cores"],
    }


def _overload(sources: Sequence[str], fps: float, seconds: float) -> dict[str, float]:
    """Cameras that do not wait, each at `fps`, more than can be judged: what is judged, what is dropped, how evenly."""
    found = _run(_cameras(sources, fps=fps, load="latest"), seconds)
    return {name: round(value, 3) for name, value in found.items()}


def _cameras(sources: Sequence[str], **keys: object) -> dict[str, dict[str, object]]:
    return {f"cam-{number}": {"source": source, **keys} for number, source in enumerate(sources)}


def bare_fps(model: LoadedModel, seconds: float) -> float:
    """Frames a second of nothing but the session, over prepared pictures."""
    line = SyntheticLine("lyon", 1, defect_share=0.15)
    feeds = [{"picture": prepare(line.part(index).image, model.encoder.input_px)} for index in range(32)]
    session = model.encoder.bare_session
    done, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < seconds:
        session.run(None, feeds[done % len(feeds)])
        done += 1
    return done / (time.perf_counter() - started_s)


def _run(cameras: Mapping[str, Mapping[str, object]], seconds: float) -> dict[str, float]:
    """The inspect process with these cameras, by its own snapshots."""
    with folder() as place:
        config = write_cameras(place, cameras, url=NOWHERE)
        with running(config, "inspect") as inspect:
            until(lambda: _judged(_live(place)) > WARM_UP * len(cameras))
            first, first_cpu_s = _live(place), _cpu_s(inspect)
            assert first is not None
            pause(seconds)
            last, cpu_s = _live(place), _cpu_s(inspect) - first_cpu_s
            assert last is not None
    passed_s = last.written_utc_s - first.written_utc_s
    judged = {name: last.cameras[name].judged - first.cameras[name].judged for name in cameras}
    captured = sum(last.cameras[name].captured - first.cameras[name].captured for name in cameras)
    dropped = sum(_dropped(last, name) - _dropped(first, name) for name in cameras)
    total = sum(judged.values())
    return {
        "fps": total / passed_s,
        "p50_ms": statistics.median(camera.latency_p50_ms or 0.0 for camera in last.cameras.values()),
        "p99_ms": max(camera.latency_p99_ms or 0.0 for camera in last.cameras.values()),
        "captured_fps": captured / passed_s,
        "dropped_share": dropped / captured,
        "least_over_most_judged": min(judged.values()) / max(judged.values()),
        "cpu_cores": cpu_s / seconds,
    }


def _live(place: Path) -> InspectLive | None:
    return read_inspect(place / "run" / "inspect.json")


def _judged(live: InspectLive | None) -> int:
    return sum(camera.judged for camera in live.cameras.values()) if live is not None else 0


def _dropped(live: InspectLive, camera: str) -> int:
    return sum(live.cameras[camera].dropped.values())


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _recovery_s(outage_s: float) -> float:
    """Seconds from an RTSP server that accepts again to the first verdict that is on disk."""
    with folder() as place, RtspServer(fps=20) as server:
        config = write_cameras(place, {"cam": {"source": server.url}}, url=NOWHERE)
        outbox = place / "state" / "outbox.db"
        with running(config, "inspect"):
            until(lambda: _verdicts(outbox) > 20)
            server.kill()
            pause(outage_s)
            seen = _verdicts(outbox)
            with RtspServer(fps=20, port=server.port):
                return until(lambda: _verdicts(outbox) > seen)


def _verdicts(outbox: Path) -> int:
    with contextlib.suppress(TransientError), inspect_outbox(outbox) as connection:
        row = connection.execute("SELECT COUNT(*) FROM message WHERE topic LIKE 'insp/%'").fetchone()
        return int(row[0])
    return 0  # there is no outbox yet


if __name__ == "__main__":
    run_bench("cameras", measure)
