"""A head for the user's own labelled pictures: one part solves it, another calibrates it, the rest is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import prepare, read_picture
from edge_agent.errors import BadPictureError
from edge_agent.inspect.scoring import split_labelled
from edge_agent.learn.solve import fit_head
from edge_agent.models.loading import LoadedModel
from edge_agent.models.store import ModelStore
from edge_agent.processes.demo.pictures import Item, PictureSet

Progress = Callable[[str, int, int], None]
SEED = 0
CALIBRATE_SHARE = 0.25
JUDGE_SHARE = 0.4
CLASSES_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Three parts that share no group."""

    solve: tuple[Item, ...]
    calibrate: tuple[Item, ...]
    judge: tuple[Item, ...]


def divide(pictures: PictureSet) -> Parts:
    """As the manifest's splits say (train, val, test), else by group: 45 % solve, 15 % calibrate, 40 % are judged.

    Raises:
        BadPictureError: a part would be empty, or there are fewer than two classes to tell apart.
    """
    items = [item for item in pictures.items if item.label]
    by_split = {name: [item for item in items if item.split == name] for name in ("train", "val", "test")}
    if by_split["train"] and by_split["test"]:
        learn, judge, calibrate = by_split["train"], by_split["test"], by_split["val"]
    else:
        learn, judge = split_labelled(items, SEED, JUDGE_SHARE)
        calibrate = []
    if not calibrate:
        learn, calibrate = split_labelled(learn, SEED + 1, CALIBRATE_SHARE)
    if not (learn and calibrate and judge) or len({item.label for item in learn}) < CLASSES_MIN:
        raise BadPictureError(
            f"{len(items)} labelled pictures of {len(pictures.classes)} classes are too few to learn from one part and "
            "judge another; expected two classes or more with at least three pictures each"
        )
    return Parts(solve=tuple(learn), calibrate=tuple(calibrate), judge=tuple(judge))


def fit(store: ModelStore, model: LoadedModel, parts: Parts, good: frozenset[str], progress: Progress) -> str:
    """Solve a head on the model's encoder and stage it; returns the digest of the new bundle.

    Raises:
        RefusedError: the pictures do not suffice, or the head does not fit.
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    solve_x, solve_y = _encode(model, parts.solve, "read pictures to learn from", progress)
    held_x, held_y = _encode(model, parts.calibrate, "read pictures to calibrate on", progress)
    head = fit_head(model.code, solve_x, solve_y, held_x, held_y, sorted(good))
    return store.with_head(model.digest, head, "own-pictures")


def _encode(
    model: LoadedModel, items: Sequence[Item], what: str, progress: Progress
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], list[str]]:
    vectors, labels = [], []
    for number, item in enumerate(items, start=1):
        progress(what, number, len(items))
        try:
            picture = prepare(read_picture(Path(item.path)), model.encoder.input_px)
        except BadPictureError:
            continue  # one that cannot be read teaches nothing; among those judged it would be a HOLD
        vectors.append(model.encoder.encode(picture).vector)
        labels.append(item.label)
    if not vectors:
        raise BadPictureError(f"none of {len(items)} pictures could be read; the first is {items[0].path}")
    return np.stack(vectors), labels
