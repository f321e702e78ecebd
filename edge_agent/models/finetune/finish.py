"""From a finished run to a bundle: export, int8 with ranges of local pictures, a head solved anew on the new features.

Local pictures set the ranges and teach the head; none of them, and nothing they could be made from, is in the bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from edge_agent.errors import RefusedError
from edge_agent.models.build.bundle import Built, Lesson, Picture, Plan, Progress, Weights, assemble
from edge_agent.models.build.export import pools_of
from edge_agent.models.build.network import WEIGHTS_LICENCE, WEIGHTS_PACKAGE
from edge_agent.models.finetune import checkpoint
from edge_agent.models.finetune.checkpoint import Checkpoint
from edge_agent.models.finetune.job import Job
from edge_agent.models.finetune.plan import steps_per_epoch
from edge_agent.models.finetune.train import network_from

# MinMax ranges hardly move after some tens of pictures, and quantising takes time for each.
CALIBRATION_PICTURES = 60
SITE = "site"


def finish(
    job: Job,
    directory: Path,
    *,
    plan: Plan,
    held: tuple[Sequence[Picture], Sequence[str]],
    good_classes: tuple[str, ...],
    created_utc_s: float,
    progress: Progress = lambda *_: None,
) -> Built:
    """Write the bundle of a finished job into `directory`. `held` are prepared pictures that were not trained on, with
    their labels: they calibrate the head. Of `plan`, name, version, flavours and seed are used.

    Raises:
        RefusedError: the run is not finished, or the pictures teach nothing.
        BadBundleError: the result breaks a rule of bundles.
        CorruptStoreError, StorageFullError, StorageReadOnlyError, TransientError: disk.
    """
    kept = checkpoint.read(job.checkpoint)
    steps = job.plan.epochs * steps_per_epoch(job.plan, job.count)
    if kept is None or kept.step != steps or (kept.plan, kept.job) != (job.plan.digest, job.digest):
        done = 0 if kept is None else kept.step
        raise RefusedError(f"{job.directory}: {done} of {steps} steps were taken; the run is not finished")
    pictures = job.pictures()
    lesson = Lesson(
        pictures=pictures,  # type: ignore[arg-type]  # an array of pictures is a sequence of them
        labels=[job.classes[number] for number in job.labels()],
        held=held[0],
        held_labels=held[1],
        good_classes=good_classes,
        trained_on=SITE,
    )
    chosen = np.linspace(0, job.count - 1, min(CALIBRATION_PICTURES, job.count)).astype(int)
    pools = pools_of(onnx.load_from_string(job.base()))
    local = replace(
        plan,
        input_px=job.input_px,
        features=pools,
        calibration=0,
        pictures=[np.array(pictures[i]) for i in chosen],
    )
    licence = f"encoder weights: fine-tuned from {WEIGHTS_LICENCE} ({WEIGHTS_PACKAGE})"
    weights = Weights(
        network=network_from(kept.weights, job.input_px, pools),
        sha256=_sha256(kept),
        licences=(licence, "head: Apache-2.0"),
    )
    return assemble(directory, local, weights, lesson, created_utc_s, progress)


def _sha256(kept: Checkpoint) -> str:
    content = hashlib.sha256()
    for name in sorted(kept.weights):
        content.update(name.encode())
        content.update(kept.weights[name].tobytes())
    return content.hexdigest()
