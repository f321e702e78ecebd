"""The directory that a fine-tuning child is given: everything it needs, fixed before it starts. It reads nothing else.

plan.json      the plan, the classes, how many pictures, digests
pictures.npy   uint8 [n, h, w, 3] BGR, prepared; read through a memory map
labels.npy     int64 [n], index of the class
base.onnx      the float encoder to start from, whose constants are the weights
checkpoint.safetensors   made by the child
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edge_agent.errors import CorruptStoreError, RefusedError
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.storage import replace_file, storage_faults

PLAN, PICTURES, LABELS, BASE = "plan.json", "pictures.npy", "labels.npy", "base.onnx"
CHECKPOINT = "checkpoint.safetensors"
FORMAT = 1
PER_CLASS_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job directory as it was written. `digest` covers pictures, labels and base weights; checkpoints name it."""

    directory: Path
    plan: FinetunePlan
    classes: tuple[str, ...]
    count: int
    input_px: tuple[int, int]
    digest: str

    @property
    def checkpoint(self) -> Path:
        return self.directory / CHECKPOINT

    def pictures(self) -> NDArray[np.uint8]:
        """The pictures, mapped, not loaded: uint8 [n, h, w, 3]."""
        mapped: NDArray[np.uint8] = np.load(self.directory / PICTURES, mmap_mode="r", allow_pickle=False)
        return mapped

    def labels(self) -> NDArray[np.int64]:
        """The class of each picture, int64 [n]."""
        labels: NDArray[np.int64] = np.load(self.directory / LABELS, allow_pickle=False)
        return labels

    def base(self) -> bytes:
        """The float encoder to start from."""
        return (self.directory / BASE).read_bytes()


def write(
    directory: Path,
    *,
    plan: FinetunePlan,
    base: bytes,
    labels: Sequence[str],
    pictures: Iterable[NDArray[np.uint8]],
    input_px: tuple[int, int],
) -> Job:
    """Write a job. `pictures` come one by one, prepared, uint8 [h, w, 3] with (h, w) = `input_px`, one for each label.

    Raises:
        RefusedError: nothing to learn from: one class only, too few of a class, or a picture of another size.
        StorageFullError, StorageReadOnlyError, TransientError: not written.
    """
    classes = tuple(sorted(set(labels)))
    _require_learnable(labels, classes)
    directory.mkdir(parents=True, exist_ok=True)
    seen = hashlib.sha256(base)
    with storage_faults(directory), (directory / PICTURES).open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *input_px, 3)}
        npy.write_array_header_1_0(file, header)
        count = 0
        for picture in pictures:
            if picture.dtype != np.uint8 or picture.shape != (*input_px, 3):
                raise RefusedError(f"picture {count}: {picture.dtype} {picture.shape}, expected uint8 {(*input_px, 3)}")
            content = picture.tobytes()
            seen.update(content)
            file.write(content)
            count += 1
    if count != len(labels):
        raise RefusedError(f"{count} pictures for {len(labels)} labels")
    numbers = np.array([classes.index(label) for label in labels], np.int64)
    seen.update(numbers.tobytes())
    with storage_faults(directory):
        np.save(directory / LABELS, numbers, allow_pickle=False)
    replace_file(directory / BASE, base)
    about = {
        "format": FORMAT,
        "plan": asdict(plan),
        "classes": list(classes),
        "count": count,
        "input_px": list(input_px),
        "digest": seen.hexdigest(),
    }
    # Last: a directory with a plan in it is complete.
    replace_file(directory / PLAN, json.dumps(about, indent=1, sort_keys=True).encode())
    return read(directory)


def read(directory: Path) -> Job:
    """The job in a directory.

    Raises:
        CorruptStoreError: none is there, or its plan is damaged.
        RefusedError: its plan is out of bounds.
    """
    try:
        about = json.loads((directory / PLAN).read_bytes())
        if about["format"] != FORMAT:
            raise CorruptStoreError(f"{directory / PLAN}: format {about['format']}, expected {FORMAT}")
        height, width = about["input_px"]
        return Job(
            directory=directory,
            plan=FinetunePlan(**about["plan"]),
            classes=tuple(about["classes"]),
            count=int(about["count"]),
            input_px=(int(height), int(width)),
            digest=str(about["digest"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{directory / PLAN}: no job is there, or a damaged one ({error})") from error


def _require_learnable(labels: Sequence[str], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise RefusedError(f"fine-tuning needs two classes or more, the labels name {', '.join(classes) or 'none'}")
    few = {name: labels.count(name) for name in classes if labels.count(name) < PER_CLASS_MIN}
    if few:
        raise RefusedError(f"fine-tuning needs {PER_CLASS_MIN} pictures of each class or more, found {few}")
