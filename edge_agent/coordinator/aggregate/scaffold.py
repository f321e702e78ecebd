"""SCAFFOLD: control variates that take the drift out of local steps (Karimireddy et al., ICML 2020, 1910.06378). Pure.

A plant sends the delta of its model and, as control/NAME, the delta of its own variate; it corrects each local step by
(server's variate - its own). Server, equation 5 with option II at the plants:

    x <- x + rate * mean(dy)        c <- c + |S| / N * mean(dc)      |S| took part, N may take part
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from edge_agent.coordinator.aggregate.layout import Arrays
from edge_agent.coordinator.aggregate.method import Average, Method, State, moved, zeros

CONTROL = "control"


def scaffold(*, rate: float = 1.0) -> Method:
    """The pair; every plant weighs the same, as the variates' mean must be that of all plants."""

    def init(model: Arrays) -> State:
        return State(slots={CONTROL: zeros(model)})

    def apply(model: Arrays, state: State, average: Average) -> tuple[dict[str, NDArray[Any]], State]:
        deltas = {name: change for name, change in average.arrays.items() if not name.startswith(f"{CONTROL}/")}
        controls = {name: average.arrays[f"{CONTROL}/{name}"] for name in deltas}
        share = average.count / average.population
        variate = moved(state.slots[CONTROL], controls, share)
        return moved(model, deltas, rate), State(step=state.step + 1, slots={CONTROL: variate})

    return Method(name="scaffold", init=init, apply=apply, equal=True, slots=(CONTROL,))
