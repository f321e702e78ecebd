"""What a round is about, statistics or deltas: how a contribution is read, added up, and made into a model. Pure.

    payload --read--> item --Running.add--> sums --solve--> Solved(model, state)

The rest of the coordinator knows payloads, weights and models as bytes only. `solve` gives the same bytes for the same
contributions: no time, no number of a round, no order is in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import safetensors.numpy

from edge_agent.coordinator.aggregate import sums
from edge_agent.coordinator.aggregate.layout import Arrays, Layout, Vector, flatten, layout_of
from edge_agent.coordinator.aggregate.method import Method, State, average_of
from edge_agent.coordinator.aggregate.robust import Rows, Rule
from edge_agent.coordinator.aggregate.weights import Weight
from edge_agent.errors import BadContributionError
from edge_agent.federate import delta_code, statistics_code
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.head import LinearHead
from edge_agent.learn.solve import BALANCE, RIDGE, solve_head
from edge_agent.learn.statistics import Statistics, merge, present
from edge_agent.models import arrays as files

# What `Matter.read` gives: `Statistics`, or the delta as a vector [P].
Item = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """`model` is what is published; `state` what the server remembers for the next round, None where nothing."""

    model: bytes = field(repr=False)
    state: bytes | None = field(default=None, repr=False)


class Running(Protocol):
    """The sums of a round so far, of the size of the model."""

    def add(self, item: Item, weight: Weight) -> None:
        """Count one contribution.

        Raises:
            RefusedError: it cannot be summed with what is there; nothing was added.
        """

    def to_bytes(self) -> bytes:
        """The sums, for `Matter.begin`."""


# The model from vectors [P] that have to be looked at together, as rows, their weights, and the population.
SolveRows = Callable[[Rows, Sequence[Weight], int], Solved]


class Matter(Protocol):
    """One kind of contribution, against one base."""

    kind: str
    format: str
    # A gateway that does not answer a round is in it with what it gave before on the same base.
    standing: bool
    equal_weights: bool

    @property
    def by_rows(self) -> SolveRows | None:
        """Where sums are not enough: what solves from rows instead of `solve`, and raises as it does."""

    def read(self, payload: bytes, base: str, samples: int) -> Item:
        """The contribution in `payload`, checked through and through.

        Raises:
            RefusedError: damaged, hostile, of another base or shape, or of other samples than it was said to be.
        """

    def begin(self, stored: bytes | None = None) -> Running:
        """Sums over nothing, or those that `Running.to_bytes` gave."""

    def solve(self, running: Running, *, population: int) -> Solved:
        """The model that these sums make.

        Raises:
            RefusedError: they are not enough for one.
        """


# --- statistics -----------------------------------------------------------------------------------------------------


class _RunningStatistics:
    """Sums of plants; a plant weighs what its samples weigh."""

    def __init__(self, total: Statistics | None) -> None:
        self.total = total

    def add(self, item: Statistics, weight: Weight) -> None:  # noqa: ARG002 - its samples are its weight
        self.total = merge([item] if self.total is None else [self.total, item])

    def to_bytes(self) -> bytes:
        if self.total is None:
            return b""
        classes = np.frombuffer(json.dumps(self.total.classes).encode(), np.uint8)
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "classes": classes,
            "counts": self.total.counts,
            "cross": self.total.cross,
            "gram": self.total.gram,
        }
        return files.save(arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsMatter:
    """A head from the plants' sums, over the `features` of `code` that were asked for (None: all)."""

    code: FeatureCode
    good_classes: tuple[str, ...]
    features: statistics_code.Ranges | None = None
    ridge: float = RIDGE
    balance: float = BALANCE
    kind: str = "statistics"
    format: str = statistics_code.FORMAT
    by_rows: None = None
    standing: bool = True
    equal_weights: bool = False

    def read(self, payload: bytes, base: str, samples: int) -> Statistics:
        share = statistics_code.from_bytes(payload, base=base, encoder_features=self.code.dimension)
        wanted = self.features or ((0, self.code.dimension),)
        if share.features != wanted:
            raise BadContributionError(f"statistics of features {share.features}, expected {wanted}")
        if share.statistics.count != samples:
            raise BadContributionError(f"statistics of {share.statistics.count} samples, announced were {samples}")
        return share.statistics

    def begin(self, stored: bytes | None = None) -> _RunningStatistics:
        if not stored:
            return _RunningStatistics(None)
        arrays = files.load(stored, "sums")
        classes = tuple(json.loads(arrays.pop("classes").tobytes()))
        return _RunningStatistics(Statistics(classes=classes, **arrays))

    def solve(self, running: Running, *, population: int) -> Solved:  # noqa: ARG002 - sums need no share
        total = running.total if isinstance(running, _RunningStatistics) else None
        if total is None:
            raise BadContributionError("a head from no contribution")
        # Without classes that nobody has: a plant that was forgotten leaves no empty column behind.
        total = present(total)
        index = np.concatenate([np.arange(*part) for part in self.features or ((0, self.code.dimension),)])
        code = FeatureCode(offset=self.code.offset[index], step=self.code.step[index])
        good = [name for name in self.good_classes if name in total.classes]
        head = solve_head(total, good, code, ridge=self.ridge, balance=self.balance)
        return Solved(model=files.head_to_bytes(_widened(head, index, self.code.dimension)))


def _widened(head: LinearHead, index: np.ndarray[Any, np.dtype[np.intp]], dimension: int) -> LinearHead:
    """The head for the encoder's whole vector: what was not asked for counts nothing."""
    weights = np.zeros((dimension, len(head.classes)), np.float32)
    mean, scale = np.zeros(dimension, np.float32), np.ones(dimension, np.float32)
    weights[index], mean[index], scale[index] = head.weights, head.mean, head.scale
    return replace(head, weights=weights, mean=mean, scale=scale)


# --- deltas ---------------------------------------------------------------------------------------------------------


class _RunningSums:
    def __init__(self, held: sums.Sums) -> None:
        self.sums = held

    def add(self, item: Vector, weight: Weight) -> None:
        self.sums.add(item, weight)

    def to_bytes(self) -> bytes:
        held = self.sums
        numbers = np.array([held.count, held.weight, held.nominal], np.int64)
        return files.save({"numbers": numbers, "totals": held.totals})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaMatter:
    """The next model from deltas against `model`, by a method and, where `rule` is given, a robust mean."""

    method: Method
    model: bytes = field(repr=False)
    state: bytes | None = field(default=None, repr=False)
    rule: Rule | None = None
    layout: Layout = field(init=False, repr=False)
    kind: str = "delta"
    format: str = delta_code.FORMAT
    standing: bool = False

    def __post_init__(self) -> None:
        local = (*delta_code.LOCAL, *self.method.local)
        held = files.load(self.model, "model")
        shared = {name: array for name, array in held.items() if delta_code.is_shared(name, array, local)}
        beside = {f"{slot}/{name}": array for slot in self.method.slots for name, array in shared.items()}
        object.__setattr__(self, "layout", layout_of(shared | beside))

    @property
    def by_rows(self) -> SolveRows | None:
        rule = self.rule
        if rule is None:
            return None
        return lambda rows, weights, population: self._step(rule(rows, weights), rows.count, population)

    @property
    def equal_weights(self) -> bool:
        return self.method.equal

    def read(self, payload: bytes, base: str, samples: int) -> Vector:  # noqa: ARG002 - a delta does not say
        shapes = dict(zip(self.layout.names, self.layout.shapes, strict=True))
        sent = delta_code.from_bytes(payload, shapes, base=base)
        # What a delta leaves out has not moved.
        still = {name: np.zeros(shape, np.float32) for name, shape in shapes.items() if name not in sent}
        vector = flatten(self.layout, sent | still)
        sums.check_vector(vector, self.layout.size)
        return vector

    def begin(self, stored: bytes | None = None) -> _RunningSums:
        if not stored:
            # Rows are read from their payloads at the end: nothing is summed before.
            return _RunningSums(sums.empty(self.layout.size))
        arrays = files.load(stored, "sums")
        count, weight, nominal = arrays["numbers"].tolist()
        return _RunningSums(sums.Sums(arrays["totals"].copy(), count=count, weight=weight, nominal=nominal))

    def solve(self, running: Running, *, population: int) -> Solved:
        held = running.sums if isinstance(running, _RunningSums) else sums.empty(0)
        return self._step(held.mean(), held.count, population)

    def _step(self, mean: Vector, count: int, population: int) -> Solved:
        model = files.load(self.model, "model")
        trained = {name: model[name] for name in self.layout.names if name in model}
        state = self.method.init(trained) if self.state is None else state_from_bytes(self.state)
        average = average_of(self.layout, mean, count=count, population=max(population, count))
        after, state = self.method.apply(trained, state, average)
        return Solved(model=model_to_bytes(model | after), state=state_to_bytes(state))


def model_to_bytes(model: Arrays) -> bytes:
    """A model as a safetensors file: the same bytes for the same arrays, and scalars stay scalars."""
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in model.items()})


def state_to_bytes(state: State) -> bytes:
    """What a server remembers, as a file: the same bytes for the same state."""
    arrays = {f"{slot}:{name}": array for slot in sorted(state.slots) for name, array in state.slots[slot].items()}
    return model_to_bytes({"step": np.array([state.step], np.int64), **arrays})


def state_from_bytes(content: bytes) -> State:
    """The state in a file of ours.

    Raises:
        BadBundleError: it is none.
    """
    arrays = files.load(content, "server state")
    slots: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        slot, colon, inside = name.partition(":")
        if colon:
            slots.setdefault(slot, {})[inside] = array
    return State(step=int(arrays["step"][0]), slots=slots)


# The matter of a round: made from its base's model and state, None for a task's first.
Maker = Callable[["bytes | None", "bytes | None"], Matter]
