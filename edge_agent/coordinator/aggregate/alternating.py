"""Alternating: encoder deltas against a frozen statistics head, then the head solved anew from statistics. Pure.

    delta round --mean moves the encoder--> statistics round on the new encoder --solve--> head --> delta round ...

With the head frozen no plant can push down the classes it lacks; with the head solved after each move of the encoder
it is exact again (docs/learning.md has the figures beside plain FedAvg).
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from numpy.typing import NDArray

from edge_agent.coordinator.aggregate.averaging import fed_avg_m
from edge_agent.coordinator.aggregate.layout import Arrays
from edge_agent.coordinator.aggregate.method import Average, Method, State

HEAD = ("head/*",)


def alternating(*, rate: float = 1.0, momentum: float = 0.0, head: tuple[str, ...] = HEAD) -> Method:
    """The encoder's step; what is named as `head` stays, whoever sends deltas for it."""
    inner = fed_avg_m(rate=rate, momentum=momentum)

    def encoder(arrays: Arrays) -> Arrays:
        return {name: array for name, array in arrays.items() if not _any(head, name)}

    def init(model: Arrays) -> State:
        return inner.init(encoder(model))

    def apply(model: Arrays, state: State, average: Average) -> tuple[dict[str, NDArray[Any]], State]:
        return inner.apply(model, state, replace(average, arrays=encoder(average.arrays)))

    return Method(name="alternating", init=init, apply=apply, local=head)


def next_kind(done: str | None) -> str:
    """What follows a finished round: the head first, for an encoder that has none yet; then by turns."""
    return "delta" if done == "statistics" else "statistics"


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
