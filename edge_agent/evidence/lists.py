"""What is to be imported, read from a folder of class folders or from a CSV; no picture is opened here.

DIR/scratch/a.png, DIR/ok/deep/b.png     the first folder is the class
path,label[,group,split,plant,...]       paths from the CSV's own folder; an empty label brings an unlabelled picture
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import BadEvidenceError, BadLabelError
from edge_agent.evidence.labels import check_class

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
REQUIRED_COLUMNS = ("path", "label")
OPTIONAL_COLUMNS = ("group", "split", "plant")
ROWS_MAX = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One picture to import. `place` names where it was listed; `label` None brings it unlabelled."""

    path: Path
    place: str
    label: str | None
    group: str | None = None
    plant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What was found: entries, faults of entries that cannot be taken, and how many another split has."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]
    left_out: int = 0


def read_folder(folder: Path) -> Listing:
    """The pictures below the class folders of `folder`, in order; hidden ones are passed over.

    Raises:
        BadEvidenceError: it is no folder, holds no class folder with pictures, or has a list that knows better.
    """
    if not folder.is_dir():
        raise BadEvidenceError(f"{folder}: expected a folder with one sub-folder for each class")
    for file in sorted(folder.glob("*.csv")):
        # Such a list says what its pictures are; the folder that they happen to lie in ("images") is no class.
        if _is_list(file):
            raise BadEvidenceError(f"{folder}: its list {file.name} has the columns path and label: give it with --csv")
    entries, faults = [], []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.suffix.lower() not in PICTURE_SUFFIXES or not path.is_file() or any(p.startswith(".") for p in inside):
            continue
        if len(inside) == 1:
            faults.append(f"{path}: lies in no class folder; move it into {folder}/CLASS/")
            continue
        fault = _fault_of(inside[0])
        if fault is None:
            entries.append(Entry(path=path, place=str(path), label=inside[0]))
        else:
            faults.append(f"{path}: {fault}")
    if not entries:
        csvs = ", ".join(sorted(str(path) for path in folder.glob("*.csv")))
        hint = f"; there is {csvs}: give it with --csv" if csvs else ""
        raise BadEvidenceError(
            f"{folder}: no pictures below class folders ({' '.join(sorted(PICTURE_SUFFIXES))}){hint}"
        )
    return Listing(entries=tuple(entries), faults=tuple(faults))


def read_csv(file: Path, splits: Collection[str] = ()) -> Listing:
    """The rows of a CSV in order; those of other splits are left out where `splits` names some.

    Raises:
        BadEvidenceError: it cannot be read, or lacks a column.
    """
    entries, faults, left_out = [], [], 0
    for place, row in _rows(file, needs_split=bool(splits)):
        if splits and row["split"] not in splits:
            left_out += 1
            continue
        path = Path(row["path"])
        label = row["label"] or None
        fault = _fault_of(label)
        if not row["path"] or path.is_absolute() or ".." in path.parts:
            fault = f"path {row['path']!r}: expected a path below {file.parent}, without .."
        if fault is None:
            group, plant = row.get("group") or None, row.get("plant") or None
            entries.append(Entry(path=file.parent / path, place=place, label=label, group=group, plant=plant))
        else:
            faults.append(f"{place}: {fault}")
    if not entries and not faults:
        wanted = f" of split {', '.join(sorted(splits))}" if splits else ""
        raise BadEvidenceError(f"{file}: no rows{wanted}; {left_out} rows of other splits")
    return Listing(entries=tuple(entries), faults=tuple(faults), left_out=left_out)


def _rows(file: Path, *, needs_split: bool) -> Iterator[tuple[str, dict[str, str]]]:
    required = (*REQUIRED_COLUMNS, "split") if needs_split else REQUIRED_COLUMNS
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in required if name not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise BadEvidenceError(
                    f"{file}:1: columns {found}; expected {', '.join(required)} and, where known, "
                    f"{', '.join(name for name in OPTIONAL_COLUMNS if name not in required)}"
                )
            for number, row in enumerate(reader, start=1):
                if number > ROWS_MAX:
                    raise BadEvidenceError(f"{file}: more than {ROWS_MAX} rows")
                # A row that is too short has None for what it lacks; one that is too long has a list under None.
                yield f"{file}:{reader.line_num}", {name: row[name] or "" for name in reader.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadEvidenceError(f"{file}: cannot be read as CSV in UTF-8 ({error})") from error


def _is_list(file: Path) -> bool:
    try:
        next(_rows(file, needs_split=False), None)
    except BadEvidenceError:
        return False
    return True


def _fault_of(label: str | None) -> str | None:
    if label is None:
        return None
    try:
        check_class(label, (), new_class=True)
    except BadLabelError as error:
        return str(error)
    return None
