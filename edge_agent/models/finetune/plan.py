"""What a fine-tuning run does, step by step, as a function of its plan and the step's number alone. Pure.

Nothing is drawn from a generator that lives on: the order of the pictures, their turns and the learning rate follow
from seed, epoch and step. So a run that was killed and resumed takes exactly the steps that it would have taken.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError

# One-cycle (Smith and Topin, arXiv 1708.07120), with the shape and the two divisors of torch's OneCycleLR.
START_DIVISOR, END_DIVISOR = 25.0, 1e4
TURNS = 8  # the symmetries of a square
_ORDER, _TURN, _LIGHT = range(3)  # another stream of chance for each use


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetunePlan:
    """How to train. `stages` None: every stage of the network; n: the last n, the others stay as they are.

    `batch` pictures make a step, computed `slice` at a time, which bounds memory and the time until a cancel is heard.
    `turns` says which of the eight symmetries of a square a picture may appear in: 8 where up and down mean nothing, 2
    for left-right only, 1 for none. `light` is the largest relative change of brightness. `threads` is part of the
    plan because sums depend on it: another number gives other last bits.
    """

    epochs: int = 6
    batch: int = 64
    slice: int = 16
    peak_rate: float = 1e-3
    warm_share: float = 0.3
    weight_decay: float = 0.05
    clip: float = 1.0
    stages: int | None = None
    head_frozen: bool = False
    turns: int = TURNS
    light: float = 0.0
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        bounds = {
            "epochs": (1, 1000, self.epochs),
            "batch": (1, 4096, self.batch),
            "slice": (1, self.batch, self.slice),
            "peak_rate": (1e-7, 1.0, self.peak_rate),
            "warm_share": (0.01, 0.99, self.warm_share),
            "weight_decay": (0.0, 1.0, self.weight_decay),
            "clip": (1e-6, 1e6, self.clip),
            "stages": (1, 7, 7 if self.stages is None else self.stages),
            "light": (0.0, 0.5, self.light),
            "threads": (1, 64, self.threads),
        }
        for name, (low, high, value) in bounds.items():
            if not low <= value <= high:
                raise RefusedError(f"fine-tuning plan: {name} is {value}, expected {low} to {high}")
        if self.turns not in (1, 2, 4, TURNS):
            raise RefusedError(f"fine-tuning plan: turns is {self.turns}, expected 1, 2, 4 or {TURNS}")

    @property
    def digest(self) -> str:
        """sha256 (hex) of the plan: a checkpoint belongs to one."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def steps_per_epoch(plan: FinetunePlan, pictures: int) -> int:
    """Steps that see each picture once; a last one that is not full is taken too."""
    return -(-pictures // plan.batch)


def learning_rate(plan: FinetunePlan, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: a cosine up to the peak, a cosine down to almost nothing."""
    warm = max(1.0, plan.warm_share * steps - 1)
    if step <= warm:
        return _cosine(plan.peak_rate / START_DIVISOR, plan.peak_rate, step / warm)
    return _cosine(plan.peak_rate, plan.peak_rate / START_DIVISOR / END_DIVISOR, (step - warm) / (steps - 1 - warm))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * min(1.0, share)))


def batch_of(plan: FinetunePlan, pictures: int, step: int) -> NDArray[np.int64]:
    """Indices of the pictures of a step, in order: each picture once an epoch, in another order each time."""
    per_epoch = steps_per_epoch(plan, pictures)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([plan.seed, _ORDER, epoch]).permutation(pictures)
    return order[place * plan.batch : (place + 1) * plan.batch]


def varied(plan: FinetunePlan, picture: NDArray[np.uint8], step: int, place: int) -> NDArray[np.uint8]:
    """The picture as this step sees it: turned, mirrored, lighter or darker. uint8 [h, w, 3], same shape.

    `place` is its place in the batch. A picture that is not square is only ever turned by half.
    """
    rng = np.random.default_rng([plan.seed, _TURN, step, place])
    turn = int(rng.integers(plan.turns))
    if turn % 2 and plan.turns > 1:
        picture = picture[:, ::-1]
    quarters = turn // 2
    square = picture.shape[0] == picture.shape[1]
    picture = np.rot90(picture, quarters if square else 2 * (quarters % 2))
    if plan.light:
        gain = 1 + plan.light * float(np.random.default_rng([plan.seed, _LIGHT, step, place]).uniform(-1, 1))
        picture = (picture.astype(np.float32) * gain).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture)
