"""What fine-tuning tells, carried from its file to the outbox: it has no way to the broker itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock, rfc3339
from edge_agent.processes.finetuning.news import ModelNews, read_news
from edge_agent.sync.messages import Message, learn_state_message
from edge_agent.sync.payloads import LearnPayload, LearnState

NUMBERS_EVERY_S = 10.0


class Broadcast:
    """Called each second: says at once what changed, and numbers at most every ten seconds."""

    def __init__(self, runtime_dir: Path, clock: Clock, put: Callable[[Message], None]) -> None:
        self._runtime_dir = runtime_dir
        self._clock = clock
        self._put = put
        self._said: tuple[LearnState, ...] = ()
        self._said_s = float("-inf")

    def beat(self) -> None:
        """Tell what is new."""
        news = read_news(self._runtime_dir)
        if news is None:
            return
        states = tuple(_state(model) for model in news.models)
        now_s = self._clock.mono_s()
        changed = [(one.name, one.state) for one in states] != [(one.name, one.state) for one in self._said]
        if changed or (states != self._said and now_s - self._said_s >= NUMBERS_EVERY_S):
            self._said, self._said_s = states, now_s
            self._put(learn_state_message(LearnPayload(ts=rfc3339(self._clock.utc_s()), models=states)))


def _state(model: ModelNews) -> LearnState:
    return LearnState(
        name=model.model,
        state=model.state,
        reason=model.reason or None,
        epoch=model.epoch,
        epochs=model.epochs,
        step=model.step,
        steps=model.steps,
        loss=None if model.loss is None else round(model.loss, 4),
        eta_s=None if model.eta_s is None else round(model.eta_s, 1),
        opens=None if model.opens_utc_s is None else rfc3339(model.opens_utc_s),
        last_result=model.last_result,
        last_ended=None if model.last_ended_utc_s is None else rfc3339(model.last_ended_utc_s),
    )
