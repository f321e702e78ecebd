"""Fine-tuning in its child process: seconds an epoch, memory at its peak, and whether a killed run ends with the same bits.

Synthetic parts, all layers, the child as the gateway starts it (idle class, one thread). One run goes through; another is
killed with SIGKILL three times at steps that follow from a seed and resumed; their weights are compared byte by byte.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from edge_agent.clock import SystemClock
from edge_agent.models.build.bundle import synthetic_pictures
from edge_agent.models.build.export import export_core, fp32_encoder
from edge_agent.models.build.network import imagenet_network
from edge_agent.models.finetune import checkpoint, job
from edge_agent.models.finetune.budget import Act, Permission
from edge_agent.models.finetune.plan import FinetunePlan, steps_per_epoch
from edge_agent.models.finetune.runner import RunReport, RunState, run
from tests.bench.report import Options, Progress, run_bench

PICTURES, QUICK_PICTURES = 960, 320
EPOCHS, QUICK_EPOCHS = 2, 1
KILLS = 3
SEED = 20261124
CHECKPOINT_S = 0.5  # so that there is something to go on from in a short run


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=96, metavar="PX", help="input height and width (default 96)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the child (default 1)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    size = (options.given.size, options.given.size)
    count = QUICK_PICTURES if options.quick else PICTURES
    plan = FinetunePlan(
        epochs=QUICK_EPOCHS if options.quick else EPOCHS, batch=32, seed=SEED, threads=options.given.threads
    )
    base = fp32_encoder(export_core(imagenet_network(size))).SerializeToString()
    pictures, labels = synthetic_pictures(count, SEED, size)
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            name: job.write(Path(folder) / name, plan=plan, base=base, labels=labels, pictures=pictures, input_px=size)
            for name in ("whole", "killed")
        }
        steps = plan.epochs * steps_per_epoch(plan, count)
        whole = _Watched(jobs["whole"], lambda report: progress("uninterrupted", report.step, steps))
        assert whole.run().state is RunState.DONE
        kept = _kill_and_resume(jobs["killed"], steps, progress)
        ends = [checkpoint.read(work.checkpoint) for work in jobs.values()]
    return {
        "s_per_epoch": whole.seconds / plan.epochs,
        "pictures": count,
        "size_px": size[0],
        "threads": plan.threads,
        "peak_rss_mib": whole.peak_bytes / 2**20,
        "resumed_from_step": kept,
        "steps": steps,
        "resume_bit_identical": _same(*ends),
        "runs": 1,
    }


class _Watched:
    """A run whose child is timed from its first step on and whose memory is looked at with every report."""

    def __init__(self, work: job.Job, tell: Callable[[RunReport], None], kill_at: int | None = None) -> None:
        self.work = work
        self.seconds = 0.0
        self.peak_bytes = 0
        self._tell, self._kill_at = tell, kill_at
        self._first: tuple[int, float] | None = None
        self._clock = SystemClock()

    def run(self) -> RunReport:
        def permit(_cpu_s: float, _paused: bool) -> Permission:
            self._look()
            return Permission(act=Act.RUN)

        return run(
            self.work.directory,
            clock=self._clock,
            stop=threading.Event(),
            permit=permit,
            tell=self._heard,
            checkpoint_s=CHECKPOINT_S,
        )

    def _heard(self, report: RunReport) -> None:
        self._tell(report)
        now_s = self._clock.mono_s()
        if report.step and self._first is None:
            self._first = (report.step, now_s)
        elif self._first is not None and report.step > self._first[0]:
            step, since_s = self._first
            self.seconds = (now_s - since_s) / (report.step - step) * report.steps
        if self._kill_at is not None and report.step >= self._kill_at:
            for child in _children():
                os.kill(child.pid, signal.SIGKILL)

    def _look(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in _children():
                self.peak_bytes = max(self.peak_bytes, child.memory_info().rss)


def _children() -> list[psutil.Process]:
    return psutil.Process().children()


def _kill_and_resume(work: job.Job, steps: int, progress: Progress) -> list[int]:
    """The steps that were kept when it was killed."""
    rng = np.random.default_rng(SEED)
    kept = []
    for planned in sorted(rng.integers(1, max(2, steps - 1), KILLS)):
        at = max(int(planned), (kept[-1] if kept else 0) + 1)
        report = _Watched(work, lambda report: progress("killed and resumed", report.step, steps), at).run()
        assert report.state in (RunState.FAILED, RunState.DONE), report
        found = checkpoint.read(work.checkpoint)
        kept.append(found.step if found else 0)
    assert (
        _Watched(work, lambda report: progress("killed and resumed", report.step, steps)).run().state is RunState.DONE
    )
    return kept


def _same(one: checkpoint.Checkpoint | None, other: checkpoint.Checkpoint | None) -> bool:
    if one is None or other is None or one.step != other.step:
        return False
    return all(
        a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
        for a, b in ((one.weights, other.weights), (one.first, other.first), (one.second, other.second))
    )


if __name__ == "__main__":
    run_bench("finetune", measure, configure)
