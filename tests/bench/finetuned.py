"""The other half of the learn bench: the encoder itself fine-tuned on a set, then its head as always.

    split=train -> evidence store -> job -> child process (torch) -> finish: export, int8 -> bundle in a model store
                                                                     -> codes -> book -> head -> judged

Here chance plays a part (the order of the pictures, their turns), so there are three seeds. The plan is the product's
own; its one choice, the input size, was made on split=val (docs/learning.md). The store's own hold-out is off: the set
has its split already. A run that was stopped goes on from its checkpoint where `work` is a folder that stays.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import decode, prepare
from edge_agent.clock import SystemClock
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.lists import Entry as Line
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.evidence.views import LearnerView, Lesson
from edge_agent.models.build.bundle import Plan
from edge_agent.models.build.quantise import U8S8
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.finetune import job
from edge_agent.models.finetune.budget import Act, Permission
from edge_agent.models.finetune.finish import finish
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.models.finetune.runner import RunReport, RunState, run
from edge_agent.models.loading import LoadedModel, with_encoder
from edge_agent.models.store import ModelStore
from edge_agent.processes.evidence_place import examine
from tests.bench.report import Progress

CHECKPOINT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pupil:
    """One set to fine-tune on. `rows` and `held` are lines of its manifest: those to learn from, those that calibrate.

    `base` is the float encoder to start from, `size_px` the height and width it is trained and judged at.
    """

    name: str
    folder: Path
    rows: list[dict[str, str]] = field(repr=False)
    held: list[dict[str, str]] = field(repr=False)
    good: str
    base: bytes = field(repr=False)
    size_px: int

    @property
    def input_px(self) -> tuple[int, int]:
        return self.size_px, self.size_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """A fine-tuned model, and the seconds that an epoch took; None where a run of one step left nothing to measure."""

    model: LoadedModel = field(repr=False)
    s_per_epoch: float | None


def fine_tune(pupil: Pupil, plan: FinetunePlan, work: Path, progress: Progress) -> Grown:
    """The model of this plan. `work` holds evidence, job and bundle, and may hold an unfinished run of the same."""
    what = f"{pupil.name}, seed {plan.seed}"
    task = _job(pupil, plan, work, progress)
    report, s_per_epoch = _train(task, lambda report: progress(f"fine-tune {what}", report.step, report.steps))
    if report.state is not RunState.DONE:
        raise SystemExit(f"fine-tuning {what}: {report.state.value} ({report.reason})")
    pace = work / "s_per_epoch"  # for a later start that finds the run finished
    if s_per_epoch is not None:
        pace.write_text(str(s_per_epoch))
    elif pace.exists():
        s_per_epoch = float(pace.read_text())
    held = [prepare(decode((pupil.folder / row["path"]).read_bytes()), pupil.input_px) for row in pupil.held]
    shutil.rmtree(work / "bundle", ignore_errors=True)
    finish(
        task,
        work / "bundle",
        plan=Plan(name=pupil.name, version=f"seed-{plan.seed}", flavours=(U8S8,)),
        held=(held, [row["label"] for row in pupil.held]),
        good_classes=(pupil.good,),
        created_utc_s=SystemClock().utc_s(),
        progress=lambda step, done, total: progress(f"{step}, {what}", done, total),
    )
    store = ModelStore(work / "models")
    return Grown(
        model=with_encoder(store.load(store.stage(work / "bundle"), RuntimeOptions())), s_per_epoch=s_per_epoch
    )


def _job(pupil: Pupil, plan: FinetunePlan, work: Path, progress: Progress) -> job.Job:
    """The job in `work`, from the evidence store; the same pictures and plan give the same one again."""
    directory = work / "job"
    if (directory / job.PLAN).exists() and job.read(directory).plan == plan:
        return job.read(directory)
    view = _imported(pupil, work / "evidence", progress)
    try:
        lessons = view.lessons(pupil.name)
        return job.write(
            directory,
            plan=plan,
            base=pupil.base,
            labels=[str(lesson.sample.truth) for lesson in lessons],
            pictures=_pictures(view, lessons, pupil.input_px),
            input_px=pupil.input_px,
        )
    finally:
        view.close()


def _imported(pupil: Pupil, root: Path, progress: Progress) -> LearnerView:
    clock = SystemClock()
    store = EvidenceStore(root, StoreRules(seal=SealRules(share=0.0)))
    lines = [
        Line(
            path=pupil.folder / row["path"],
            label=row["label"],
            place=f"manifest.csv:{number}",
            plant=row["plant"],
            group=row["group"],
        )
        for number, row in enumerate(pupil.rows, start=2)
    ]
    try:
        importer = Importer(store, clock, examine, ImportTerms(by="bench", task=pupil.name))
        importer.take(lines, lambda done: progress(f"import {pupil.name}", done, len(lines)))
    finally:
        store.close()
    return LearnerView(root)


def _pictures(view: LearnerView, lessons: list[Lesson], input_px: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    for lesson in lessons:
        yield prepare(decode(view.picture(lesson.sample.id)), input_px)


def _train(task: job.Job, tell: Callable[[RunReport], None]) -> tuple[RunReport, float | None]:
    """The last report, and the seconds an epoch took from the first step that was seen on."""
    first: tuple[int, float] | None = None
    s_per_epoch: float | None = None

    def heard(report: RunReport) -> None:
        nonlocal first, s_per_epoch
        tell(report)
        now_s = time.monotonic()
        if report.step and first is None:
            first = report.step, now_s
        elif first is not None and report.step > first[0]:
            s_per_epoch = (now_s - first[1]) / (report.step - first[0]) * report.steps / report.epochs

    ended = run(
        task.directory,
        clock=SystemClock(),
        stop=threading.Event(),
        permit=lambda _cpu_s, _paused: Permission(act=Act.RUN),
        tell=heard,
        checkpoint_s=CHECKPOINT_S,
    )
    return ended, s_per_epoch
