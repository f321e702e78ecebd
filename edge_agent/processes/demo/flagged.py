"""The flagged parts as pictures: each with its box and score, and all of them on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import Image, draw, encode_png, prepare, read_picture
from edge_agent.errors import BadPictureError
from edge_agent.processes.demo.pictures import Item
from edge_agent.processes.demo.watcher import Heard
from edge_agent.records import Region
from edge_agent.storage import replace_file

SHEET = "sheet.png"
MOST = 24
COLUMNS = 6
TILE_PX = 220


def draw_flagged(folder: Path, heard: Sequence[Heard], items: Mapping[str, Item]) -> Path | None:
    """Write up to 24 flagged parts and the sheet into `folder`, surest first; the sheet's path, None without any.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    flagged = [one for one in heard if one.verdict == "FAIL" and one.part in items]
    flagged.sort(key=lambda one: -(one.score or 0.0))
    tiles = []
    # From the surest to the least sure, so that the sheet shows the border too.
    for place in np.unique(np.linspace(0, max(0, len(flagged) - 1), MOST).astype(int)) if flagged else ():
        one = flagged[place]
        item = items[one.part or ""]
        try:
            image = read_picture(item.path)
        except BadPictureError:
            continue
        picture = _drawn(image, one, item)
        replace_file(folder / f"{one.part}.png", encode_png(picture), durable=False)
        tiles.append(picture)
    if not tiles:
        return None
    replace_file(folder / SHEET, encode_png(_sheet(tiles)), durable=False)
    return folder / SHEET


def _drawn(image: Image, one: Heard, item: Item) -> Image:
    where = Region(**one.where) if one.where else None
    larger = max(1, TILE_PX // max(1, min(image.shape[:2])))
    if larger > 1:
        image = np.repeat(np.repeat(image, larger, axis=0), larger, axis=1)
    said = f"{one.label} {one.score:.2f}" if one.score is not None else str(one.label)
    return draw(image, where=where, lines=(said, f"is {item.label}") if item.label else (said,))


def _sheet(tiles: Sequence[Image]) -> Image:
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * TILE_PX, min(COLUMNS, len(tiles)) * TILE_PX, 3), 24, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = number // COLUMNS * TILE_PX, number % COLUMNS * TILE_PX
        shrink = TILE_PX / max(tile.shape[:2])
        small = prepare(tile, (max(1, int(tile.shape[0] * shrink)), max(1, int(tile.shape[1] * shrink))))
        sheet[y : y + small.shape[0], x : x + small.shape[1]] = small
    return sheet
