"""The child that trains, the only process that loads torch: `python -m ...finetune.child JOB SECONDS [BYTES]`.

It asks for nothing: idle scheduling class, lowest priority, first to be killed when memory is short; it dies with its
parent. A line of JSON on stdout after each step, a durable checkpoint every SECONDS and at the end. SIGTERM: stop
within a slice, keep what was written. SIGKILL at any moment costs the steps since the last checkpoint and nothing else.
BYTES is the most it may allocate, 0 for no limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.errors import EXIT_FAULT, EXIT_OK, CorruptStoreError, EdgeAgentError, RefusedError
from edge_agent.models.finetune import checkpoint, job

EXIT_CANCELLED = 3
# torch says so as a RuntimeError: "DefaultCPUAllocator: can't allocate memory", "std::bad_alloc".
NO_MEMORY = ("allocate memory", "bad_alloc", "bad alloc", "Failed to allocate")
NO_MEMORY_WORDS = "not enough memory for this plan; fewer threads, a smaller `slice` or input needs less"
KILLED_FIRST = 800  # oom_score_adj
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Train the job of the directory; 0 when it is done, 3 when it was cancelled, 1 with a reason on stderr."""
    _yield_to_everyone()
    _limit_memory(int(arguments[2]) if len(arguments) > 2 else 0)
    cancelled = False

    def cancel(_signal: int, _frame: object) -> None:
        nonlocal cancelled
        cancelled = True

    signal.signal(signal.SIGTERM, cancel)
    try:
        work = job.read(Path(arguments[0]))
        code = _train(work, float(arguments[1]), lambda: cancelled)
        return code if code != EXIT_OK or work.wish is None else _finish(work, work.wish, lambda: cancelled)
    except MemoryError:
        print(NO_MEMORY_WORDS, file=sys.stderr)
    except RuntimeError as error:
        if not any(word in str(error) for word in NO_MEMORY):
            raise
        print(NO_MEMORY_WORDS, file=sys.stderr)
    except EdgeAgentError as error:
        print(error, file=sys.stderr)
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


class _CancelledError(Exception):
    """Heard while the bundle was being made."""


def _finish(work: job.Job, wish: job.Wish, cancelled: Callable[[], bool]) -> int:
    from edge_agent.models.build.bundle import Plan  # noqa: PLC0415 - torch
    from edge_agent.models.finetune.finish import finish  # noqa: PLC0415 - torch

    def progress(what: str, done: int, total: int) -> None:
        if cancelled():
            raise _CancelledError
        print(json.dumps({"phase": f"{what}, {done} of {total}"}), flush=True)

    try:
        finish(
            work,
            work.bundle,
            plan=Plan(name=wish.name, version=wish.version, flavours=wish.flavours, seed=work.plan.seed),
            held=(work.held(), work.held_labels),  # type: ignore[arg-type]  # an array of pictures is a sequence of them
            good_classes=wish.good_classes,
            created_utc_s=SystemClock().utc_s(),
            progress=progress,
        )
    except _CancelledError:
        return EXIT_CANCELLED
    return EXIT_OK


def _limit_memory(limit_bytes: int) -> None:
    # What it allocates, not what it maps: torch's libraries alone map gigabytes that are never touched.
    # Where a sandbox does not allow it (systemd), that sandbox has a limit of its own.
    with contextlib.suppress(OSError, ValueError):
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


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
