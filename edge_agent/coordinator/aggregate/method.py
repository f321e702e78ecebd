"""A method is a pair of pure functions: what the server remembers at first, and how a mean changes the model. Pure.

    init(model) -> state            apply(model, state, average) -> (model, state)

All arithmetic is float64; the model keeps the types it has, since it is what the plants get: their next deltas are
against those bytes (the form follows fedjax, arXiv 2108.02117).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.coordinator.aggregate.layout import Arrays, Layout, unflatten

Change = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """The mean of a round: float64 by name; `count` contributions of the `population` gateways that may take part."""

    arrays: Change = field(repr=False)
    count: int
    population: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a server remembers from round to round: `step` rounds, and arrays by slot and name (float64)."""

    step: int = 0
    slots: Mapping[str, Arrays] = field(default_factory=dict, repr=False)


Init = Callable[[Arrays], State]
Apply = Callable[[Arrays, State, Average], tuple[dict[str, NDArray[Any]], State]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A server's step, and what it asks of the rounds around it.

    `client` goes to the trainers with the offer, by name. `equal`: every gateway weighs the same, else by samples.
    `staleness_max`: how many models old the base of a contribution may be. `local`: patterns (fnmatch) of names that
    stay at the plant and are not sent. `slots`: what else a contribution holds beside its deltas, each array as
    SLOT/NAME.
    """

    name: str
    init: Init
    apply: Apply
    client: Mapping[str, float] = field(default_factory=dict)
    equal: bool = False
    staleness_max: int = 0
    local: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()


def average_of(layout: Layout, mean: NDArray[np.float64], *, count: int, population: int | None = None) -> Average:
    """The mean vector [P] under its names."""
    return Average(arrays=unflatten(layout, mean), count=count, population=population or count)


def moved(model: Arrays, change: Change, rate: float = 1.0) -> dict[str, NDArray[Any]]:
    """The model with `rate` times the change added, in its own types; names without a change stay as they are."""
    return {
        name: (array + rate * change[name]).astype(array.dtype) if name in change else array
        for name, array in model.items()
    }


def zeros(model: Arrays) -> dict[str, NDArray[np.float64]]:
    """float64 zeros in the shapes of the model."""
    return {name: np.zeros(array.shape) for name, array in model.items()}
