"""Adaptive servers: FedAdam and FedYogi (Reddi et al., ICLR 2021, arXiv 2003.00295, algorithm 2). Pure.

m <- b1 m + (1 - b1) D     Adam: v <- b2 v + (1 - b2) D^2     Yogi: v <- v - (1 - b2) D^2 sign(v - D^2)
x <- x + rate * m / (sqrt(v) + tau)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.coordinator.aggregate.layout import Arrays
from edge_agent.coordinator.aggregate.method import Average, Method, State, moved, zeros

Moment = Callable[[NDArray[Any], NDArray[np.float64], float], NDArray[np.float64]]


def fed_adam(*, rate: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3) -> Method:
    """Adam on the mean delta. The rate is corrected for the first rounds as in Kingma and Ba (2015), section 2.1.

    The exponent is the number of rounds plus one, as in Flower: both moments begin at zero before the first.
    """

    def rate_at(step: int) -> float:
        return rate * math.sqrt(1 - beta_2 ** (step + 1)) / (1 - beta_1 ** (step + 1))

    def second(v: NDArray[Any], square: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
        return beta * v + (1 - beta) * square

    return _adaptive("fedadam", second, rate_at, beta_1, beta_2, tau)


def fed_yogi(*, rate: float = 0.01, beta_1: float = 0.9, beta_2: float = 0.99, tau: float = 1e-3) -> Method:
    """Yogi on the mean delta: the second moment moves by the square of the delta at most, so it forgets slowly."""

    def second(v: NDArray[Any], square: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
        result: NDArray[np.float64] = v - (1 - beta) * square * np.sign(v - square)
        return result

    return _adaptive("fedyogi", second, lambda _step: rate, beta_1, beta_2, tau)


def _adaptive(
    name: str, second: Moment, rate_at: Callable[[int], float], beta_1: float, beta_2: float, tau: float
) -> Method:
    def init(model: Arrays) -> State:
        return State(slots={"m": zeros(model), "v": zeros(model)})

    def apply(model: Arrays, state: State, average: Average) -> tuple[dict[str, NDArray[Any]], State]:
        step = state.step + 1
        first, squares = state.slots["m"], state.slots["v"]
        m = {key: beta_1 * first[key] + (1 - beta_1) * delta for key, delta in average.arrays.items()}
        v = {key: second(squares[key], delta * delta, beta_2) for key, delta in average.arrays.items()}
        change = {key: m[key] / (np.sqrt(v[key]) + tau) for key in m}
        return moved(model, change, rate_at(step)), State(step=step, slots={"m": m, "v": v})

    return Method(name=name, init=init, apply=apply)
