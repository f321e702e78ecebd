"""Samples written out for the plant itself: pictures and a list that `evidence import --csv` reads again."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from edge_agent import storage
from edge_agent.clock import rfc3339
from edge_agent.errors import BadEvidenceError
from edge_agent.evidence.pictures import Pictures
from edge_agent.records import Sample

LIST = "labels.csv"
COLUMNS = (
    "path",
    "label",
    "group",
    "split",
    "id",
    "camera",
    "part",
    "captured",
    "kept",
    "verdict",
    "model_label",
    "score",
    "standing",
    "task",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written, and which pictures could not be."""

    pictures: int
    damaged: tuple[str, ...]


def export(samples: Sequence[Sample], store: Path, target: Path, on_done: Callable[[int], None]) -> Exported:
    """Write the pictures of `samples`, and last of all their list, into the folder `target`, which is new or empty.

    Raises:
        BadEvidenceError: `target` holds something; nothing is ever overwritten.
        StorageFullError, StorageReadOnlyError, TransientError: without its list the folder is not complete.
    """
    with storage.storage_faults(target):
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise BadEvidenceError(f"{target}: is not empty; an export never overwrites, name a new folder")
        (target / "pictures").mkdir()
    pictures, rows, damaged = Pictures(store), [], []
    for number, sample in enumerate(samples, start=1):
        name = f"pictures/{sample.id}{PurePath(sample.file).suffix}"
        try:
            content = pictures.read(sample.file)
        except BadEvidenceError as error:
            damaged.append(f"{sample.id}: {error}")
            continue
        with storage.storage_faults(target), (target / name).open("xb") as file:
            file.write(content)
        rows.append(_row(name, sample))
        on_done(number)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    storage.replace_file(target / LIST, text.getvalue().encode())
    return Exported(pictures=len(rows), damaged=tuple(damaged))


def _row(name: str, sample: Sample) -> tuple[str, ...]:
    return (
        name,
        sample.truth or "",
        sample.group,
        "sealed" if sample.sealed else "open",
        sample.id,
        sample.camera or "",
        sample.part or "",
        rfc3339(sample.captured_utc_s),
        " ".join(reason.value for reason in sample.kept),
        sample.verdict.value if sample.verdict else "",
        sample.label or "",
        "" if sample.score is None else f"{sample.score:.6f}",
        sample.standing.value,
        sample.task,
    )
