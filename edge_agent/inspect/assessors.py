"""The two ways to assess a picture's features: with a trained head, or by likeness to the first good parts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from edge_agent.inspect.goodonly import GoodOnlyState, observe
from edge_agent.inspect.localise import head_heat
from edge_agent.learn.head import LinearHead, assess
from edge_agent.learn.unknown import Familiar, unlikeness
from edge_agent.records import Assessment, Features


class HeadAssessor:
    """A trained head. `map_start`: index of the first feature that is a mean of the map; `heat_from`: the score from
    which a part is asked where, since a good one need not pay for it. `familiar`: what is unlike all it was taught.
    """

    def __init__(self, head: LinearHead, map_start: int, heat_from: float, familiar: Familiar | None = None) -> None:
        self.head = head
        self._map_start = map_start
        self._heat_from = heat_from
        self._familiar = familiar

    def assess(self, features: Features) -> Assessment:
        assessment = assess(self.head, features)
        if self._familiar is not None:
            assessment = dataclasses.replace(assessment, unlikeness=unlikeness(self._familiar, features.vector))
        if assessment.score < self._heat_from:
            return assessment
        return dataclasses.replace(assessment, heat=head_heat(self.head, features, self._map_start))

    @property
    def without_heat(self) -> HeadAssessor:
        """The same head, for vectors whose map is gone."""
        return HeadAssessor(self.head, self._map_start, math.inf, self._familiar)

    @property
    def mode(self) -> str:
        return "head"


class GoodOnlyAssessor:
    """Takes the first parts of a camera as good, then says what is unlike them; told to `save` when it has learned."""

    def __init__(self, state: GoodOnlyState, save: Callable[[GoodOnlyState], None]) -> None:
        self._state = state
        self._save = save

    def assess(self, features: Features) -> Assessment:
        before = self._state
        self._state, assessment = observe(before, features)
        if before.model is None and self._state.model is not None:
            self._save(self._state)
        return assessment

    @property
    def mode(self) -> str:
        state = self._state
        return f"good-only {len(state.seen)}/{state.wanted}" if state.model is None else "good-only"
