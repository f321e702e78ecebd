"""A folder of pictures as people have them: class sub-folders, a manifest.csv, or just pictures.

DIR/manifest.csv           columns path, label; optional split (train, val, test), group, defect
DIR/<class>/picture.png    the folder's name is the label
DIR/picture.png            no labels: the first parts are taken as good
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import BadPictureError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
# What people call the class of parts without a defect.
GOOD_NAMES = frozenset({"ok", "good", "pass", "normal", "defect_free", "defect-free", "no_defect", "free", "accept"})
MANIFEST = "manifest.csv"
MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture. `label` "" is unknown, `split` "" not said. Items of one `group` show one part or one source.

    Without a group a labelled picture is one by itself, by its place in the folder: wherever the folder lies, the same
    pictures are learned from.
    """

    path: Path
    group: str
    label: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """What a folder holds. `good` names the classes without a defect."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    good: frozenset[str]

    @property
    def labelled(self) -> bool:
        return bool(self.classes)


def read_folder(folder: Path) -> PictureSet:
    """Find the pictures of `folder` and what is known of them.

    Raises:
        BadPictureError: no folder, no pictures, or a manifest that cannot be used; says which line.
    """
    if not folder.is_dir():
        raise BadPictureError(f"{folder}: not a folder; --images takes a folder of pictures")
    manifest = folder / MANIFEST
    items = _from_manifest(manifest) if manifest.is_file() else _from_folders(folder)
    if not items:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise BadPictureError(f"{folder}: no pictures found; expected {kinds}, class sub-folders, or {MANIFEST}")
    labels = sorted({item.label for item in items if item.label})
    if len(labels) == 1 and _is_good(labels[0]):
        # Only good parts: nothing to tell apart, but a fine good-only start.
        items, labels = [_plain(item.path) for item in items], []
    return PictureSet(
        items=tuple(items), classes=tuple(labels), good=frozenset(label for label in labels if _is_good(label))
    )


def _is_good(label: str) -> bool:
    return label.strip().lower().replace(" ", "_") in GOOD_NAMES


def _from_folders(folder: Path) -> list[Item]:
    inside = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    labelled = [
        Item(path=path, label=entry.name, group=str(path.relative_to(folder)))
        for entry in inside
        for path in _pictures(sorted(entry.rglob("*")))
    ]
    return labelled or [_plain(path) for path in _pictures(sorted(folder.iterdir()))]


def _plain(path: Path) -> Item:
    return Item(path=path, group=str(path))


def _pictures(paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]


def _from_manifest(manifest: Path) -> list[Item]:
    if manifest.stat().st_size > MANIFEST_LIMIT_BYTES:
        raise BadPictureError(f"{manifest}: {manifest.stat().st_size} bytes, at most {MANIFEST_LIMIT_BYTES}")
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        if "path" not in columns:
            raise BadPictureError(f"{manifest}:1: columns are {', '.join(sorted(columns))}; expected path, label")
        items = [_item(manifest, number, row) for number, row in enumerate(rows, start=2)]
    missing = [item for item in items if not item.path.is_file()]
    if missing:
        first = missing[0].path
        raise BadPictureError(f"{manifest}: {len(missing)} of {len(items)} pictures are missing, the first is {first}")
    return items


def _item(manifest: Path, number: int, row: dict[str, str | None]) -> Item:
    relative = (row.get("path") or "").strip()
    path = (manifest.parent / relative).resolve()
    if not relative or not path.is_relative_to(manifest.parent.resolve()):
        raise BadPictureError(f"{manifest}:{number}: path {relative!r} does not lie inside {manifest.parent}")
    group = ":".join(filter(None, ((row.get("plant") or "").strip(), (row.get("group") or "").strip())))
    return Item(
        path=path,
        label=(row.get("label") or "").strip(),
        split=(row.get("split") or "").strip(),
        # It must not be on both sides of a split.
        group=group or str(path.relative_to(manifest.parent.resolve())),
    )
