"""What people want of fine-tuning: start, or cancel. A file that the MQTT command and the terminal write.

    cmd/finetune, `edge-agent finetune --now|--cancel` --> STATE/finetune.request --> path unit, supervisor: the process
                                                                                 `--> a run that goes on: cancelled

The file stays; which request was the last to be carried out stands in STATE/finetune/served.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from edge_agent.clock import Clock
from edge_agent.processes.finetuning.order import FOLDER
from edge_agent.records import ulid
from edge_agent.storage import replace_file, storage_faults

NAME, SERVED = "finetune.request", "served"
Action = Literal["start", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One wish. `model` None: of every model in use."""

    id: str
    action: Action
    by: str
    model: str | None = None


def ask(state_dir: Path, action: Action, *, by: str, clock: Clock, model: str | None = None) -> Request:
    """Leave a request; it takes the place of an earlier one.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: nobody was asked.
    """
    request = Request(id=ulid(clock.utc_s()), action=action, by=by, model=model)
    replace_file(state_dir / NAME, json.dumps(asdict(request)).encode())
    return request


def unserved(state_dir: Path) -> Request | None:
    """The request that was not carried out yet, None where there is none."""
    request = _read(state_dir / NAME)
    try:
        served = (state_dir / FOLDER / SERVED).read_text(encoding="ascii")
    except OSError:
        served = ""
    return None if request is None or request.id == served else request


def serve(state_dir: Path, request: Request) -> None:
    """Note that it was carried out.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: it is carried out again.
    """
    with storage_faults(state_dir / FOLDER):
        (state_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    replace_file(state_dir / FOLDER / SERVED, request.id.encode())


def asked_ns(state_dir: Path) -> int | None:
    """When something was last asked for, None when never."""
    try:
        return (state_dir / NAME).stat().st_mtime_ns
    except OSError:
        return None


def _read(path: Path) -> Request | None:
    try:
        return Request(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
