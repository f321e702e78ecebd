"""The journal of models: one line for every step of a model's life, appended, synced, never changed.

    STATE/models/journal.jsonl     JSON lines, the newest last; from LIMIT_BYTES on it becomes journal.1.jsonl

    {"v": 1, "at": "2026-11-24T09:58:42.120Z", "event": "refused", "name": "surface", "digest": "4f..", "from": "a0..",
     "by": "learn", "reasons": ["defects found: ..."], "figures": {"parts": 412, "lost": 9}}

A line is written before the step that it tells of: what is not in the journal was not done. Where the step then fails,
a line `failed` follows. Only what protects the line goes on without its line (`ModelStore.roll_back`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from edge_agent.clock import rfc3339
from edge_agent.errors import TransientError
from edge_agent.storage import append_line, storage_faults

log = logging.getLogger(__name__)

VERSION = 1
FILE = "journal.jsonl"
OLDER = "journal.1.jsonl"
# Some 5,000 steps a file: years of a gateway that learns every night.
LIMIT_BYTES = 4 * 1024 * 1024
# No step of ours is as long: reasons come from errors, and an error may quote what came from outside.
TEXT_MAX = 1000
REASONS_MAX = 20

GATEWAY = "gateway"
LEARN = "learn"

Figure = float | int | str | bool | None


class Event(str, enum.Enum):
    """What happened to a bundle."""

    IMPORTED = "imported"  # it came into the store by hand
    PROPOSED = "proposed"  # the gate let it through: it goes on trial
    REFUSED = "refused"  # the gate, or the device, did not: nothing changed
    SHADOW = "shadow"  # it judges beside the active one, which the line hears
    WAITING = "waiting"  # its shadow run is over and a person is asked
    DISMISSED = "dismissed"  # its shadow run, or a person, ended the trial: nothing changed
    PROMOTED = "promoted"  # it is active, `from` what was before
    PROBATION = "probation"  # it is active and watched
    KEPT = "kept"  # its probation is over: it stays
    ROLLED_BACK = "rolled-back"  # it is active again, in place of `from`
    ACTIVATED = "activated"  # it was made active without a trial
    LEARNED = "learned"  # a camera (`name`) knows its good parts: what it learned on this encoder (`digest`) judges
    FAILED = "failed"  # the step that the line before tells of could not be carried out


def operator(name: str) -> str:
    """A person as the journal names one."""
    return f"operator {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one bundle.

    `name` is the model's, `digest` the bundle's, `from_digest` that of the bundle it is held against or takes the place
    of, None where there is none. `by` is LEARN, GATEWAY or `operator(NAME)`. `figures` are plain numbers and words.
    """

    event: Event
    name: str
    digest: str
    by: str
    at_utc_s: float
    from_digest: str | None = None
    reasons: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """One line of JSON, ASCII, bounded."""
        record = {
            "v": VERSION,
            "at": rfc3339(self.at_utc_s),
            "event": self.event.value,
            "name": self.name,
            "digest": self.digest,
            "from": self.from_digest,
            "by": self.by[:TEXT_MAX],
            "reasons": [reason[:TEXT_MAX] for reason in self.reasons[:REASONS_MAX]],
            "figures": {name: _plain(figure) for name, figure in self.figures.items()},
        }
        return json.dumps(record, allow_nan=False).encode() + b"\n"

    @staticmethod
    def from_line(line: bytes) -> Step | None:
        """The step that a line tells of; None for a line that is damaged, or of a version that is not known."""
        try:
            record = json.loads(line)
            return _step(record) if record["v"] == VERSION else None
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def _plain(figure: Figure) -> Figure:
    """JSON has no word for what is not finite."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure


def _step(record: Mapping[str, Any]) -> Step:
    origin, reasons, figures = record["from"], record["reasons"], record["figures"]
    if not isinstance(reasons, list) or not isinstance(figures, dict):
        raise TypeError("expected a list of reasons and figures by name")
    words = [record["name"], record["digest"], record["by"], record["at"], *reasons]
    if not all(isinstance(word, str) for word in (*words, *([] if origin is None else [origin]))):
        raise TypeError("expected texts")
    return Step(
        event=Event(record["event"]),
        name=record["name"],
        digest=record["digest"],
        by=record["by"],
        at_utc_s=dt.datetime.fromisoformat(record["at"].replace("Z", "+00:00")).timestamp(),
        from_digest=origin,
        reasons=tuple(reasons),
        figures=dict(figures),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a journal holds, the oldest first; `damaged` counts lines that cannot be read."""

    steps: tuple[Step, ...]
    damaged: int


def _append(root: Path, line: bytes) -> None:
    append_line(root / FILE, line, older=root / OLDER, limit_bytes=LIMIT_BYTES)


class Journal:
    """The journal under `root`, STATE/models. Safe for several threads and processes.

    `append` is what the product uses; a test hands in another to see what happens when it fails.
    """

    def __init__(self, root: Path, *, append: Callable[[Path, bytes], None] = _append) -> None:
        self.root = root
        self._append = append

    def write(self, step: Step) -> None:
        """Add a step; it survives a power cut once this returns.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: it is not there.
        """
        with storage_faults(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        self._append(self.root, step.to_line())

    @contextlib.contextmanager
    def told(self, step: Step, *, must: bool = True) -> Iterator[None]:
        """Take a step, in the block, that the journal tells of; with `must` it is not taken where it cannot be told.

        Without, a step that cannot be told goes into the log as an error instead. Where the block fails a line says so.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: it cannot be told, and was not taken.
        """
        try:
            self.write(step)
        except TransientError as error:
            if must:
                raise
            log.error("audit=unwritten step=%s reason=%s", step.to_line().decode().rstrip(), error)  # noqa: TRY400
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(TransientError):
                self.write(replace(step, event=Event.FAILED, reasons=(f"{step.event.value}: {error}",), figures={}))
            raise

    def read(self) -> History:
        """Everything that is there. What a killed writer left of a last line is passed over.

        Raises:
            StorageReadOnlyError, TransientError: it cannot be read.
        """
        with storage_faults(self.root / FILE):
            content = self._content()
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        found = [Step.from_line(line) for line in lines]
        steps = tuple(step for step in found if step is not None)
        return History(steps=steps, damaged=len(found) - len(steps))

    def _content(self) -> bytes:
        """Both files. The newer is opened first: renamed in between it is opened twice, and both are opened again."""
        while True:
            with contextlib.ExitStack() as opened:
                files = [
                    opened.enter_context(file) for file in map(_opened, (self.root / FILE, self.root / OLDER)) if file
                ]
                if len(files) < 2 or not os.path.sameopenfile(*(file.fileno() for file in files)):
                    return b"".join(file.read() for file in reversed(files))


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
