"""The nouns of a check: a table row, what it is given, what it found."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.config.faults import Fault
from edge_agent.config.settings import Settings


class Level(str, enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # it works, and a person should know something
    ERROR = "error"  # a start would fail, or parts would not be judged or reported
    SKIPPED = "skipped"  # it needs something that failed before


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line. `subject` names the camera, model or file where a check looks at several; `advice` says what to do."""

    level: Level
    text: str
    advice: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a check may look at. `settings` is None when the configuration has `faults`.

    `root` is the root of the file system ("/"), `frames` how many frames a camera must give.
    """

    config_file: Path
    settings: Settings | None
    faults: tuple[Fault, ...]
    root: Path
    machine: str
    environment: Mapping[str, str]
    clock: Clock
    frames: int

    @property
    def valid(self) -> Settings:
        """The settings, for checks that only run when there are some."""
        if self.settings is None:
            raise LookupError("this check needs a valid configuration")
        return self.settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the table. `id` is stable: `--dont-run` and scripts use it."""

    id: str
    group: str
    title: str
    run: Callable[[Context], tuple[Finding, ...]]
    needs_settings: bool = True


def ok(text: str, subject: str = "") -> Finding:
    return Finding(level=Level.OK, text=text, subject=subject)


def warning(text: str, advice: str, subject: str = "") -> Finding:
    return Finding(level=Level.WARNING, text=text, advice=advice, subject=subject)


def error(text: str, advice: str = "", subject: str = "") -> Finding:
    return Finding(level=Level.ERROR, text=text, advice=advice, subject=subject)
