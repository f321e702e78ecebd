"""The directory that a fine-tuning child is given: everything it needs, fixed before it starts. It reads nothing else.

plan.json      the plan, the classes, how many pictures, digests
pictures.npy   uint8 [n, h, w, 3] BGR, prepared; read through a memory map
labels.npy     int64 [n], index of the class
base.onnx      the float encoder to start from, whose constants are the weights
held.npy       pictures that are not trained on: they calibrate the head of the bundle (where one is wished for)
checkpoint.safetensors   made by the child
bundle/        made by the child from the finished weights, where the plan names what it is to become
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edge_agent.errors import CorruptStoreError, RefusedError
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.storage import replace_file, storage_faults

PLAN, PICTURES, LABELS, BASE = "plan.json", "pictures.npy", "labels.npy", "base.onnx"
HELD = "held.npy"
CHECKPOINT, BUNDLE = "checkpoint.safetensors", "bundle"
FORMAT = 1
PER_CLASS_MIN = 2

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The bundle that a run is to become: name, version and flavours of its encoder, and which classes are good."""

    name: str
    version: str
    flavours: tuple[str, ...]
    good_classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Prepared pictures that are not trained on, as those that are, with their labels. None: it cannot be had."""

    pictures: Iterable[Picture | None]
    labels: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job directory as it was written. `digest` covers pictures, labels and base weights; checkpoints name it.

    `wish` None: the run ends with its weights, and whoever wanted them makes of them what they like.
    """

    directory: Path
    plan: FinetunePlan
    classes: tuple[str, ...]
    count: int
    input_px: tuple[int, int]
    digest: str
    wish: Wish | None = None
    held_labels: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path:
        return self.directory / CHECKPOINT

    @property
    def bundle(self) -> Path:
        """Where the child puts the bundle."""
        return self.directory / BUNDLE

    def pictures(self) -> NDArray[np.uint8]:
        """The pictures, mapped, not loaded: uint8 [n, h, w, 3]."""
        mapped: NDArray[np.uint8] = np.load(self.directory / PICTURES, mmap_mode="r", allow_pickle=False)
        return mapped

    def held(self) -> NDArray[np.uint8]:
        """The pictures that were held back, mapped: uint8 [n, h, w, 3], one for each of `held_labels`."""
        mapped: NDArray[np.uint8] = np.load(self.directory / HELD, mmap_mode="r", allow_pickle=False)
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
    pictures: Iterable[Picture | None],
    input_px: tuple[int, int],
    wish: Wish | None = None,
    held: Held | None = None,
) -> Job:
    """Write a job. `pictures` come one by one, prepared, uint8 [h, w, 3] with (h, w) = `input_px`, one for each label;
    None is one that cannot be had any more: it is left out with its label.

    Raises:
        RefusedError: nothing to learn from: one class only, too few of a class, or a picture of another size.
        StorageFullError, StorageReadOnlyError, TransientError: not written.
    """
    _require_learnable(labels)
    with storage_faults(directory):
        directory.mkdir(parents=True, exist_ok=True)
    seen = hashlib.sha256(base)
    there = _write_pictures(directory / PICTURES, pictures, labels, input_px, seen.update)
    _require_learnable(there)
    classes = tuple(sorted(set(there)))
    numbers = np.array([classes.index(label) for label in there], np.int64)
    seen.update(numbers.tobytes())
    with storage_faults(directory):
        np.save(directory / LABELS, numbers, allow_pickle=False)
    replace_file(directory / BASE, base)
    held_labels: Sequence[str] = ()
    if held is not None:
        held_labels = _write_pictures(directory / HELD, held.pictures, held.labels, input_px, lambda _: None)
    about = {
        "format": FORMAT,
        "plan": asdict(plan),
        "classes": list(classes),
        "count": len(there),
        "input_px": list(input_px),
        "digest": seen.hexdigest(),
        "wish": None if wish is None else asdict(wish),
        "held_labels": list(held_labels),
    }
    # Last: a directory with a plan in it is complete.
    replace_file(directory / PLAN, json.dumps(about, indent=1, sort_keys=True).encode())
    return read(directory)


def _write_pictures(
    path: Path,
    pictures: Iterable[Picture | None],
    labels: Sequence[str],
    input_px: tuple[int, int],
    see: Callable[[bytes], object],
) -> list[str]:
    """Write those that are there as one array; their labels."""
    there, count = [], 0
    with storage_faults(path), path.open("wb") as file:
        file.write(_header(len(labels), input_px))
        for count, picture in enumerate(pictures, start=1):
            if picture is None:
                continue
            if picture.dtype != np.uint8 or picture.shape != (*input_px, 3):
                raise RefusedError(
                    f"picture {count - 1}: {picture.dtype} {picture.shape}, expected uint8 {(*input_px, 3)}"
                )
            content = picture.tobytes()
            see(content)
            file.write(content)
            there.append(labels[count - 1])
        # How many there are is known only now. numpy leaves room for a longer number, so the length is the same.
        file.seek(0)
        file.write(_header(len(there), input_px))
    if count != len(labels):
        raise RefusedError(f"{count} pictures for {len(labels)} labels")
    return there


def _header(count: int, input_px: tuple[int, int]) -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (count, *input_px, 3)})
    return header.getvalue()


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
        wish = about.get("wish")
        return Job(
            directory=directory,
            plan=FinetunePlan(**about["plan"]),
            classes=tuple(about["classes"]),
            count=int(about["count"]),
            input_px=(int(height), int(width)),
            digest=str(about["digest"]),
            wish=None if wish is None else _wish(wish),
            held_labels=tuple(about.get("held_labels", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(f"{directory / PLAN}: no job is there, or a damaged one ({error})") from error


def _wish(about: Mapping[str, Any]) -> Wish:
    return Wish(
        name=about["name"],
        version=about["version"],
        flavours=tuple(about["flavours"]),
        good_classes=tuple(about["good_classes"]),
    )


def _require_learnable(labels: Sequence[str]) -> None:
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise RefusedError(f"fine-tuning needs two classes or more, the labels name {', '.join(classes) or 'none'}")
    few = {name: labels.count(name) for name in classes if labels.count(name) < PER_CLASS_MIN}
    if few:
        raise RefusedError(f"fine-tuning needs {PER_CLASS_MIN} pictures of each class or more, found {few}")
