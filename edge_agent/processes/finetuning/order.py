"""What a fine-tuning run leaves on disk beside its job: the order that goes on after a power cut, and the last run.

STATE/finetune/MODEL/order.json   a run that was begun and has not ended
                     job/         its pictures, checkpoint and bundle (models/finetune/job.py); gone when it has ended
                     past.json    the last run that ended
                     handed.json  a bundle for the gate: written here, taken by the learn process
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.errors import TransientError
from edge_agent.processes.finetuning.due import Order
from edge_agent.storage import remove_file, replace_file, storage_faults

log = logging.getLogger(__name__)

FOLDER = "finetune"
ORDER, JOB, PAST, HANDED = "order.json", "job", "past.json", "handed.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The last run that ended."""

    begun_utc_s: float
    ended_utc_s: float
    result: Literal["done", "failed", "cancelled"]
    reason: str = ""
    digest: str | None = None


class Folder:
    """The folder of one model."""

    def __init__(self, state_dir: Path, model: str) -> None:
        self.root = state_dir / FOLDER / model
        self.job = self.root / JOB

    def order(self) -> Order | None:
        """The run that has not ended; None where there is none, or where nobody can read what it was."""
        found = _read(self.root / ORDER)
        return None if found is None else _made(Order, found, self.root / ORDER)

    def keep_order(self, order: Order) -> None:
        """Write it down.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: what was there is there.
        """
        self._write(ORDER, dataclasses.asdict(order))

    def past(self) -> Past | None:
        """The last run that ended."""
        found = _read(self.root / PAST)
        return None if found is None else _made(Past, found, self.root / PAST)

    def end(self, past: Past) -> None:
        """The run has ended: it is written down, and what it used is taken away.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError.
        """
        self._write(PAST, dataclasses.asdict(past))
        self.drop()

    def drop(self) -> None:
        """Take order and job away; killed in between, the next start does the rest.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: something is left.
        """
        if (self.root / ORDER).exists():
            remove_file(self.root / ORDER)
        self.clear_job()

    def clear_job(self) -> None:
        """Take the job away.

        Raises:
            StorageReadOnlyError, TransientError: something is left.
        """
        with storage_faults(self.job):
            if self.job.exists():
                shutil.rmtree(self.job)

    def hand_over(self, digest: str) -> None:
        """Leave a staged bundle for the gate.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: nothing is handed over.
        """
        self._write(HANDED, {"digest": digest})

    def handed(self) -> str | None:
        """The digest that waits for the gate, None where nothing does."""
        found = _read(self.root / HANDED)
        digest = found.get("digest") if found else None
        return digest if isinstance(digest, str) else None

    def taken(self) -> None:
        """The gate has ruled on what was handed over.

        Raises:
            StorageReadOnlyError, TransientError: it is there still, and is ruled on again.
        """
        remove_file(self.root / HANDED)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with storage_faults(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        replace_file(self.root / name, json.dumps(content, sort_keys=True).encode())


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with storage_faults(path):
            found = json.loads(path.read_bytes()) if path.exists() else None
    except (ValueError, TransientError) as error:
        # Ours and replaced as a whole: damaged means a disk at fault. Nothing is lost but the hours of one run.
        log.warning("finetune=unreadable file=%s reason=%s", path, error)
        return None
    return found if isinstance(found, dict) else None


def _made(kind: type[Any], found: dict[str, Any], path: Path) -> Any:
    try:
        return kind(**found)
    except TypeError as error:
        log.warning("finetune=unreadable file=%s reason=%s", path, error)
        return None
