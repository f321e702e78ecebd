"""What learning costs the line: inference while the gateway trains, and frames lost when its model changes.

The real inspect process as its unit starts it, the default bundle (224 px, int8, one thread), one camera at 10 frames/s
(a folder of uncompressed 640x480 pictures); the real fine-tuning child on a real job of synthetic parts, all layers.
Both run all the time; phases take turns, and what differs is what the child may do:

    idle       it is paused
    training   it trains as on a gateway: it stands still while a part is judged
    plain      it trains at idle priority and nothing else: what the right of way is worth
    busy       it is paused, and a loop of plain Python runs at idle priority: what any work at all costs

`p99_*_ms` is the median over the phases of a kind of the 99th percentile of capture to sinks; `ratio` is training over
idle. `pooled` takes the frames of all phases of a kind together, `quiet` only those of seconds in which no other process
of this machine used more than a tenth of a core (`foreign_cores`: what they used on average). `child_cores` is what the
child got.

Swap: a camera at full rate and then four that bring half as much again as can be judged, while another bundle is
activated by command again and again: another head on the same encoder, and another network. Frames lost are those
between the first and the last that have not exactly one inspection. A swap's gap is the longest time between two
verdicts from the command until half a second after the first verdict of the new model, less the median of that time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.clock import SystemClock
from edge_agent.inspect.counters import quantile
from edge_agent.models.finetune import job
from edge_agent.models.finetune.budget import Act, Permission
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.models.finetune.right_of_way import DEAF_S, WAY_SOCKET
from edge_agent.models.finetune.runner import LOOK_S, RunReport, run
from edge_agent.models.store import ModelStore
from tests.bench.footprint import write_pictures
from tests.bench.gateway import default_store, folder, pause, running, until, write_config
from tests.bench.judged import Judged, judged
from tests.bench.report import Options, Progress, run_bench
from tests.bench.swap import measure_swaps

FPS = 10.0
NOWHERE = "mqtt://127.0.0.1:1"  # sync does not run: measured is what inspects
PICTURES = 96
SEED = 20261124
QUIET_CORES = 0.1
# Until the child has heard that it is paused, or inspect that somebody listens again.
SETTLE_S = max(LOOK_S, DEAF_S) + 0.5
IDLE_LOOP = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=224, metavar="PX", help="input of the training (default 224)")
    parser.add_argument("--phases", help=f"kinds of phases, by turns: {', '.join(PHASES)}")
    parser.add_argument("--rounds", type=int, help="rounds of phases")
    parser.add_argument("--swaps", type=int, help="activations of each kind, at each load")
    parser.add_argument("--phase-s", type=float, help="seconds of a phase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time in which one thing was the case; on the wall clock, as inspections are stamped."""

    kind: str
    begun_utc_s: float
    ended_utc_s: float
    child_cpu_s: float

    def holds(self, utc_s: float) -> bool:
        return self.begun_utc_s <= utc_s < self.ended_utc_s


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    rounds = options.given.rounds or (2 if options.quick else 6)
    phase_s = options.given.phase_s or (3.0 if options.quick else 15.0)
    kinds = options.given.phases.split(",") if options.given.phases else [*PHASES][: 3 if options.quick else None]
    with folder() as place:
        write_pictures(place / "pictures")
        source = f"folder:{place / 'pictures'}?loop=1"
        config = write_config(place, url=NOWHERE, source=source, fps=FPS)
        work = _job(place / "job", options.given.size)
        with contextlib.ExitStack() as stack:
            inspect = stack.enter_context(running(config, "inspect"))
            until((place / "run" / "inspect.json").exists)
            training = Training(work, place / "run" / WAY_SOCKET)
            stack.callback(training.end)
            training.begin()
            watch = _Machine([inspect.pid, training.pid, os.getpid()])
            phases = []
            for number in range(rounds):
                for kind in kinds:
                    phases.append(_phase(kind, training, watch, phase_s))
                    progress("phases", number * len(kinds) + kinds.index(kind) + 1, rounds * len(kinds))
            watch.end()
        rows = judged(place / "state" / "outbox.db")
    swaps = options.given.swaps or (2 if options.quick else 20)
    return {
        **_latency(rows, phases, watch),
        **measure_swaps(swaps, progress),
        "size_px": options.given.size,
        "load_at_end": round(os.getloadavg()[0], 2),
        "runs": rounds,
    }


def _phase(kind: str, training: Training, watch: _Machine, seconds: float) -> Phase:
    with PHASES[kind](training, watch):
        pause(SETTLE_S)
        begun_utc_s, cpu_s = time.time(), training.cpu_s()
        pause(seconds)
        return Phase(
            kind=kind,
            begun_utc_s=begun_utc_s,
            ended_utc_s=time.time(),
            child_cpu_s=(training.cpu_s() - cpu_s) / seconds,
        )


def _latency(rows: Sequence[Judged], phases: Sequence[Phase], watch: _Machine) -> dict[str, Any]:
    kinds = tuple(dict.fromkeys(phase.kind for phase in phases))
    by_phase: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    quiet: dict[str, list[float]] = {kind: [] for kind in kinds}
    for phase in phases:
        inside = [row for row in rows if phase.holds(row.captured_utc_s) and row.total_ms is not None]
        by_phase[phase.kind].append([row.total_ms for row in inside])
        quiet[phase.kind] += [row.total_ms for row in inside if watch.foreign_cores(row.captured_utc_s) < QUIET_CORES]
    p99 = {kind: statistics.median(_at(took, 0.99) for took in found) for kind, found in by_phase.items()}
    pooled = {kind: [took for found in by_phase[kind] for took in found] for kind in kinds}
    return {
        **{f"p99_{kind}_ms": round(value, 2) for kind, value in p99.items()},
        **({"ratio": round(p99["training"] / p99["idle"], 2)} if {"training", "idle"} <= p99.keys() else {}),
        "ratios": {kind: round(value / p99["idle"], 2) for kind, value in p99.items()} if "idle" in p99 else {},
        "p50_ms": {kind: round(_at(took, 0.50), 2) for kind, took in pooled.items()},
        "pooled": {kind: {"p99_ms": round(_at(took, 0.99), 2), "frames": len(took)} for kind, took in pooled.items()},
        "quiet": {
            kind: {"p99_ms": round(_at(took, 0.99), 2), "p90_ms": round(_at(took, 0.90), 2), "frames": len(took)}
            for kind, took in quiet.items()
        },
        "child_cores": {
            kind: round(statistics.median(phase.child_cpu_s for phase in phases if phase.kind == kind), 2)
            for kind in kinds
        },
        "foreign_cores": round(watch.foreign_mean(), 2),
    }


def _at(took: Sequence[float], share: float) -> float:
    return quantile(sorted(took), share) or 0.0


class Training:
    """The fine-tuning child, as a gateway runs it, in a thread of the bench. It is paused until `runs` is set."""

    def __init__(self, work: job.Job, way: Path) -> None:
        self.runs = False
        self.way = way
        self._stop = threading.Event()
        self._steps = 0
        self._ended: RunReport | None = None
        self._thread = threading.Thread(target=self._run, args=(work,))

    def begin(self) -> None:
        """Wait until the child trains: torch is loaded, and the first step taken."""
        self.runs = True
        self._thread.start()
        until(lambda: self._steps > 0 or self._ended, 120)
        self._must_run()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def pid(self) -> int:
        self._must_run()
        return next(child.pid for child in psutil.Process().children() if "finetune.child" in " ".join(child.cmdline()))

    def cpu_s(self) -> float:
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def _must_run(self) -> None:
        if self._ended is not None:
            raise RuntimeError(f"the training ended: {self._ended}")

    def _run(self, work: job.Job) -> None:
        self._ended = run(
            work.directory,
            clock=SystemClock(),
            stop=self._stop,
            permit=lambda _cpu_s, _paused: Permission(act=Act.RUN if self.runs else Act.PAUSE, reason="not its turn"),
            tell=self._heard,
            way=self.way,
        )

    def _heard(self, report: RunReport) -> None:
        self._steps = max(self._steps, report.step)


class _Machine:
    """Looks once a second what processes that are not ours use, time stolen by other machines included."""

    def __init__(self, ours: Sequence[int]) -> None:
        self.ours = set(ours)
        self._rows: list[tuple[float, float]] = []  # (until when, cores)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def foreign_cores(self, utc_s: float) -> float:
        return next((cores for until_s, cores in self._rows if utc_s < until_s), 0.0)

    def foreign_mean(self) -> float:
        return statistics.fmean(cores for _, cores in self._rows)

    def _look(self) -> None:
        before, before_s = self._foreign_s(), time.monotonic()
        while not self._stop.wait(1.0):
            now, now_s = self._foreign_s(), time.monotonic()
            self._rows.append((time.time(), (now - before) / (now_s - before_s)))
            before, before_s = now, now_s

    def _foreign_s(self) -> float:
        ticks = os.sysconf("SC_CLK_TCK")
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        busy = (sum(fields) - fields[3] - fields[4]) / ticks  # without idle and waiting for a disk
        for pid in tuple(self.ours):
            with contextlib.suppress(OSError):
                own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                busy -= (int(own[11]) + int(own[12])) / ticks
        return busy


@contextlib.contextmanager
def _idle(training: Training, _watch: _Machine) -> Iterator[None]:
    training.runs = False
    yield


@contextlib.contextmanager
def _training(training: Training, _watch: _Machine) -> Iterator[None]:
    training.runs = True
    yield
    training.runs = False


@contextlib.contextmanager
def _plain(training: Training, watch: _Machine) -> Iterator[None]:
    away = training.way.with_suffix(".away")
    training.way.rename(away)
    with _training(training, watch):
        yield
    away.rename(training.way)


@contextlib.contextmanager
def _busy(training: Training, watch: _Machine) -> Iterator[None]:
    training.runs = False
    with subprocess.Popen([sys.executable, "-c", IDLE_LOOP]) as loop:
        watch.ours.add(loop.pid)
        yield
        loop.kill()


PHASES: Mapping[str, Callable[[Training, _Machine], contextlib.AbstractContextManager[None]]] = {
    "idle": _idle,
    "training": _training,
    "plain": _plain,
    "busy": _busy,
}


def _job(directory: Path, size: int) -> job.Job:
    """Parts of the synthetic line and the float encoder of the default bundle; more epochs than anybody waits for."""
    store = ModelStore(default_store())
    digest = store.active("surface")
    assert digest is not None
    base = store.root / "blobs" / store.manifest(digest).networks["fp32"].sha256
    line = SyntheticLine("lyon", SEED, defect_share=0.5)
    parts = [line.part(index) for index in range(PICTURES)]
    return job.write(
        directory,
        plan=FinetunePlan(epochs=1000, batch=16, seed=SEED),  # small steps: the first is waited for
        base=base.read_bytes(),
        labels=[part.label if part.label == "ok" else "defect" for part in parts],
        pictures=(prepare(part.image, (size, size)) for part in parts),
        input_px=(size, size),
    )


if __name__ == "__main__":
    run_bench("interference", measure, configure)
