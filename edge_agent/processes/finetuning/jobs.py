"""From the open side of the evidence store to a job: which pictures are trained on, which are held back for the head.

The job has copies of its own, prepared and bounded in number, so what the store evicts meanwhile does not matter to it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import decode, prepare_for
from edge_agent.errors import BadEvidenceError, BadPictureError, StorageFullError
from edge_agent.evidence.views import LearnerView, Lesson
from edge_agent.learn.teach import HELD_MIN, is_held
from edge_agent.models.bundle import Manifest
from edge_agent.models.finetune import job
from edge_agent.models.finetune.job import Held, Job, Wish
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.records import Canvas
from edge_agent.storage import free_bytes

log = logging.getLogger(__name__)

# Beside its pictures a job has the base, two checkpoints while one replaces the other (weights and two moments), and
# the bundle: some eight times the weights in all.
WEIGHTS_TIMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a job is made by. `floor_bytes` of the disk stay free."""

    plan: FinetunePlan
    pictures_max: int
    floor_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The bundle that a run starts from: its float encoder, its manifest; and the version of what it becomes."""

    base: bytes
    manifest: Manifest
    version: str


def write_job(directory: Path, view: LearnerView, model: str, origin: Origin, terms: Terms) -> Job:
    """Write the job of this model's labelled pictures.

    Raises:
        RefusedError: nothing can be learned from what is left.
        StorageFullError: the disk has no room for it, and nothing was written.
        StorageReadOnlyError, TransientError, CorruptStoreError: not written.
    """
    trained, held = divided(view.lessons(model), terms.pictures_max)
    manifest, base = origin.manifest, origin.base
    height, width = manifest.input_px
    need = (len(trained) + len(held)) * height * width * 3 + WEIGHTS_TIMES * len(base)
    free = free_bytes(directory.parent)
    if free - need < terms.floor_bytes:
        raise StorageFullError(
            f"{directory}: a job of {len(trained) + len(held)} pictures needs {need >> 20} MiB, {free >> 20} MiB are "
            f"free and {terms.floor_bytes >> 20} MiB stay free; lower learning.fine_tuning.pictures_max or free space"
        )
    return job.write(
        directory,
        plan=terms.plan,
        base=base,
        labels=[str(lesson.sample.truth) for lesson in trained],
        pictures=_pictures(view, trained, manifest.canvas),
        input_px=manifest.input_px,
        wish=Wish(
            name=manifest.name,
            version=origin.version,
            flavours=tuple(manifest.encoders),
            good_classes=manifest.good_classes,
        ),
        held=Held(
            pictures=_pictures(view, held, manifest.canvas), labels=[str(lesson.sample.truth) for lesson in held]
        ),
    )


def divided(lessons: Sequence[Lesson], limit: int) -> tuple[list[Lesson], list[Lesson]]:
    """Those to train on and those that calibrate the head, at most `limit` together.

    The held-back groups are those of `learn.teach`. Classes with too few pictures to train on are left to the head,
    which knows them by its statistics. With too few held back, or none of a class, all do both.
    """
    trained = [lesson for lesson in lessons if not is_held(lesson.sample.group)]
    held = [lesson for lesson in lessons if is_held(lesson.sample.group)]
    if len(held) < HELD_MIN or _classes(trained) < _classes(lessons):
        trained, held = list(lessons), list(lessons)
    trained = [lesson for lesson in trained if lesson.sample.truth in _classes(trained)]
    held = [lesson for lesson in held if lesson.sample.truth in _classes(trained)]
    share = len(held) / max(1, len(held) + len(trained))
    return chosen(trained, limit - int(limit * share)), chosen(held, int(limit * share))


def chosen(lessons: Sequence[Lesson], limit: int) -> list[Lesson]:
    """At most `limit` of them, rare classes whole first; of a frequent class those whose ids hash lowest, so that they
    are spread over time and the same are chosen again. In the order of the ids.
    """
    by_class: dict[str, list[Lesson]] = {}
    for lesson in lessons:
        by_class.setdefault(str(lesson.sample.truth), []).append(lesson)
    left, kept = limit, []
    for place, (_, members) in enumerate(sorted(by_class.items(), key=lambda item: (len(item[1]), item[0]))):
        share = left // (len(by_class) - place)
        taken = sorted(members, key=lambda lesson: hashlib.sha256(lesson.sample.id.encode()).digest())[:share]
        kept += taken
        left -= len(taken)
    return sorted(kept, key=lambda lesson: lesson.sample.id)


def _classes(lessons: Sequence[Lesson]) -> set[str]:
    """Classes with enough pictures to train on."""
    labels = [str(lesson.sample.truth) for lesson in lessons]
    return {label for label in set(labels) if labels.count(label) >= job.PER_CLASS_MIN}


def _pictures(view: LearnerView, lessons: Sequence[Lesson], canvas: Canvas) -> Iterator[NDArray[np.uint8] | None]:
    return (_picture(view, lesson, canvas) for lesson in lessons)


def _picture(view: LearnerView, lesson: Lesson, canvas: Canvas) -> NDArray[np.uint8] | None:
    try:
        return prepare_for(decode(view.picture(lesson.sample.id)), canvas)
    except (BadPictureError, BadEvidenceError) as error:
        log.warning("sample=%s skipped reason=%s", lesson.sample.id, error)
        return None
