"""What the finetune process tells: a small JSON file in the runtime directory, read by the terminal and by inspect.

finetune process --finetune.json--> edge-agent status, edge-agent finetune
                                `-> inspect --learn/is--> broker
"""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.clock import Clock
from edge_agent.processes.live import read_json
from edge_agent.storage import replace_file

FILE = "finetune.json"
State = Literal["off", "waiting", "preparing", "training", "paused", "finishing", "done", "failed", "cancelled"]
Result = Literal["done", "failed", "cancelled"]
# It works now: numbers move, and a file that is not written any more means that the process is gone.
AT_WORK: tuple[State, ...] = ("preparing", "training", "paused", "finishing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNews:
    """Fine-tuning of one model now. `reason`: why it waits, pauses or failed; `opens_utc_s`: when it may run next."""

    model: str
    state: State
    reason: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    eta_s: float | None = None
    opens_utc_s: float | None = None
    last_result: Result | None = None
    last_ended_utc_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Fine-tuning of every model in use. `running`: the process that wrote this means to write again soon."""

    pid: int
    written_utc_s: float
    running: bool
    models: tuple[ModelNews, ...]


class Teller:
    """Keeps what is known of each model and writes it down."""

    def __init__(self, runtime_dir: Path, clock: Clock) -> None:
        self._file = runtime_dir / FILE
        self._clock = clock
        self._models: dict[str, ModelNews] = {}

    def tell(self, model: ModelNews, *, running: bool = True) -> None:
        """Write what is new of one model.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: the runtime directory cannot be written.
        """
        self._models[model.model] = model
        self._write(running=running)

    def end(self) -> None:
        """The process ends: what was told stands until the next one.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError.
        """
        self._write(running=False)

    def _write(self, *, running: bool) -> None:
        models = tuple(self._models[name] for name in sorted(self._models))
        news = News(pid=os.getpid(), written_utc_s=self._clock.utc_s(), running=running, models=models)
        replace_file(self._file, json.dumps(dataclasses.asdict(news)).encode(), durable=False)


def read_news(runtime_dir: Path) -> News | None:
    """What was told last, None where nothing was or where it cannot be read. What a process told that is gone since is
    taken for interrupted.
    """
    value = read_json(runtime_dir / FILE)
    if value is None:
        return None
    try:
        models = tuple(ModelNews(**_known(ModelNews, model)) for model in value["models"])
        news = News(**{**_known(News, value), "models": models})
        return news if not news.running or _lives(news.pid) else dataclasses.replace(news, models=_interrupted(models))
    except (KeyError, TypeError, AttributeError):
        return None


def describe(model: ModelNews) -> str:
    """One model's line for people."""
    words: list[str] = [model.state]
    if model.steps and model.state in AT_WORK:
        words.append(f"epoch {model.epoch} of {model.epochs}, step {model.step} of {model.steps}")
    if model.loss is not None and model.state in AT_WORK:
        words.append(f"loss {model.loss:.3f}")
    if model.eta_s:
        words.append(f"{duration(model.eta_s)} left")
    if model.reason:
        words.append(model.reason)
    return f"{model.model}: {', '.join(words)}"


def duration(seconds: float) -> str:
    """Seconds in the two units that matter: 1 h 25 min, 3 min 20 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def _interrupted(models: tuple[ModelNews, ...]) -> tuple[ModelNews, ...]:
    words = "interrupted; it goes on with the next start"
    return tuple(
        dataclasses.replace(model, state="waiting", reason=words, eta_s=None) if model.state in AT_WORK else model
        for model in models
    )


def _known(record: type, value: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(record)}
    return {key: entry for key, entry in value.items() if key in names}
