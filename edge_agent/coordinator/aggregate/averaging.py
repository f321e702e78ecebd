"""Averaging and its relatives: FedAvg, FedProx, server momentum, local norms, the asynchronous buffer. Pure.

FedAvg   McMahan et al., AISTATS 2017, arXiv 1602.05629      FedBN    Li et al., ICLR 2021, arXiv 2102.07623
FedProx  Li et al., MLSys 2020, arXiv 1812.06127             FedBuff  Nguyen et al., AISTATS 2022, arXiv 2106.06639
FedAvgM  Hsu et al., 2019, arXiv 1909.06335
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from edge_agent.coordinator.aggregate.layout import Arrays
from edge_agent.coordinator.aggregate.method import Average, Method, State, moved, zeros


def fed_avg(*, rate: float = 1.0) -> Method:
    """The model moves by the mean of the deltas."""

    def apply(model: Arrays, state: State, average: Average) -> tuple[dict[str, NDArray[Any]], State]:
        return moved(model, average.arrays, rate), State(step=state.step + 1)

    return Method(name="fedavg", init=lambda _model: State(), apply=apply)


def fed_prox(*, rate: float = 1.0, mu: float = 0.01) -> Method:
    """FedAvg whose trainers add mu / 2 |w - base|^2 to their loss; the server only tells them mu."""
    return replace(fed_avg(rate=rate), name="fedprox", client={"proximal_mu": mu})


def fed_avg_m(*, rate: float = 1.0, momentum: float = 0.9) -> Method:
    """A velocity v <- momentum * v + mean, by which the model moves."""

    def init(model: Arrays) -> State:
        return State(slots={"velocity": zeros(model)})

    def apply(model: Arrays, state: State, average: Average) -> tuple[dict[str, NDArray[Any]], State]:
        velocity = state.slots["velocity"]
        velocity = {name: momentum * velocity[name] + change for name, change in average.arrays.items()}
        return moved(model, velocity, rate), State(step=state.step + 1, slots={"velocity": velocity})

    return Method(name="fedavgm", init=init, apply=apply)


def fed_bn(*, rate: float = 1.0, local: tuple[str, ...] = ("*norm*", "*bn*", "*running_*")) -> Method:
    """FedAvg of all but the norms, which stay what they are at each plant; the server's own never change.

    Running statistics through a coarse codec ruined everything (69 to 54 %, docs/learning.md), also with FedAvg.
    """
    return replace(fed_avg(rate=rate), name="fedbn", local=local)


def fed_buff(*, rate: float = 1.0, staleness_max: int = 10) -> Method:
    """FedAvg over whatever came, however old its base within bounds: a round closes as soon as its buffer is full.

    The buffer is the round's maximum; a stale contribution weighs less (`weights.weigh`).
    """
    return replace(fed_avg(rate=rate), name="fedbuff", staleness_max=staleness_max)
