"""The child that trains, the only process that loads torch: `python -m edge_agent.models.finetune.child JOB SECONDS`.

It asks for nothing: idle scheduling class, lowest priority, first to be killed when memory is short; it dies with its
parent. A line of JSON on stdout after each step, a durable checkpoint every SECONDS and at the end. SIGTERM: stop
within a slice, keep what was written. SIGKILL at any moment costs the steps since the last checkpoint and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.errors import EXIT_FAULT, EXIT_OK, CorruptStoreError, EdgeAgentError, RefusedError
from edge_agent.models.finetune import checkpoint, job

EXIT_CANCELLED = 3
KILLED_FIRST = 800  # oom_score_adj
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Train the job of the directory; 0 when it is done, 3 when it was cancelled, 1 with a reason on stderr."""
    _yield_to_everyone()
    cancelled = False

    def cancel(_signal: int, _frame: object) -> None:
        nonlocal cancelled
        cancelled = True

    signal.signal(signal.SIGTERM, cancel)
    try:
        return _train(job.read(Path(arguments[0])), float(arguments[1]), lambda: cancelled)
    except (EdgeAgentError, MemoryError) as error:
        print(str(error) or "not enough memory for this plan", file=sys.stderr)
        return EXIT_FAULT


def _train(work: job.Job, checkpoint_s: float, cancelled: Callable[[], bool]) -> int:
    from edge_agent.models.finetune.train import Progress, Trainer  # noqa: PLC0415 - torch takes seconds to load

    clock, trainer = SystemClock(), Trainer(work)
    # One of another job, or damaged: the run begins again, and the first checkpoint of its own takes its place.
    with contextlib.suppress(RefusedError, CorruptStoreError):
        kept = checkpoint.read(work.checkpoint)
        if kept is not None:
            trainer.resume(kept)
    written_s = clock.mono_s()

    def after(progress: Progress) -> None:
        nonlocal written_s
        print(json.dumps(asdict(progress)), flush=True)
        if clock.mono_s() - written_s >= checkpoint_s:
            checkpoint.write(work.checkpoint, trainer.checkpoint())
            written_s = clock.mono_s()

    if not trainer.run(clock, cancelled, after):
        return EXIT_CANCELLED
    checkpoint.write(work.checkpoint, trainer.checkpoint())
    return EXIT_OK


def _yield_to_everyone() -> None:
    # Each of these is a courtesy: where it is not allowed, the run goes on without it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(KILLED_FIRST), encoding="ascii")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
