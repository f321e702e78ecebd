"""The statistics book on disk: one safetensors file, replaced as a whole, that vouches for itself.

The evidence store holds what the book was made from, so a book that is damaged, of another encoder or of a version that
this program does not know is no loss: `read_book` says why it is of no use, and the caller makes it again.

    format uint8 [..]  "edge-agent/statistics-book/1"          codes  int8 [n, V, D]
    about  uint8 [..]  JSON: coder, classes, entries         gram   int64 [D (D + 1) / 2], the upper triangle by rows
    digest uint8 [32]  sha256 over all others, by name         counts int64 [C], cross int64 [D, C]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from edge_agent.errors import RefusedError
from edge_agent.learn.book import Book, Entry
from edge_agent.learn.head import CLASSES_MAX, FEATURES_MAX
from edge_agent.learn.statistics import Statistics
from edge_agent.storage import replace_file, storage_faults

FORMAT = b"edge-agent/statistics-book/1"
# 2 GiB: a million samples of 784 features and their sums are 0.8 GiB.
BOOK_MAX_BYTES = 2 * 1024 * 1024 * 1024
VIEWS_MAX = 8
_TYPES = {"about": "uint8", "codes": "int8", "counts": "int64", "cross": "int64", "format": "uint8", "gram": "int64"}

Tensors = Mapping[str, NDArray[Any]]


class UnusableBookError(RefusedError):
    """The file is no book that can be used here; make it again from the evidence store."""


def to_bytes(book: Book) -> bytes:
    """The file of a book: the same bytes for the same samples."""
    total = book.total
    about = {
        "coder": book.coder,
        "classes": list(total.classes),
        "entries": [[entry.sample, entry.label, entry.source, entry.block] for entry in book.entries],
    }
    tensors: dict[str, NDArray[Any]] = {
        "format": np.frombuffer(FORMAT, np.uint8),
        "about": np.frombuffer(json.dumps(about, separators=(",", ":")).encode(), np.uint8),
        "codes": np.ascontiguousarray(book.codes),
        "counts": total.counts,
        "cross": np.ascontiguousarray(total.cross),
        "gram": total.gram[np.triu_indices(total.dimension)],
    }
    return safetensors.numpy.save(tensors | {"digest": _digest(tensors)})


def from_bytes(content: bytes) -> Book:
    """The book in a file.

    Raises:
        UnusableBookError: damaged, of another version, or with parts that do not fit together.
    """
    try:
        tensors: dict[str, NDArray[Any]] = safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UnusableBookError(f"statistics book: not a safetensors file of plain arrays ({error})") from error
    digest = tensors.pop("digest", np.empty(0, np.uint8))
    found = {name: array.dtype.name for name, array in tensors.items()}
    if found != _TYPES or not np.array_equal(digest, _digest(tensors)):
        raise UnusableBookError(f"statistics book: damaged, or of another program (it holds {found})")
    if tensors["format"].tobytes() != FORMAT:
        raise UnusableBookError(
            f"statistics book: format {tensors['format'].tobytes()[:64]!r}, this program knows {FORMAT!r}"
        )
    return _book(tensors)


def write_book(path: Path, book: Book) -> None:
    """Put the book at `path`, whole or not at all.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the old book is still there.
    """
    replace_file(path, to_bytes(book))


def read_book(path: Path, coder: str) -> Book:
    """The book at `path`, whose codes `coder` must have made.

    Raises:
        UnusableBookError: there is none, it is damaged, or another encoder made it: make it again.
        TransientError, StorageReadOnlyError: it cannot be read now.
    """
    with storage_faults(path):
        try:
            size = path.stat().st_size
            if size > BOOK_MAX_BYTES:
                raise UnusableBookError(f"{path}: {size} bytes, at most {BOOK_MAX_BYTES} are read; make it again")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UnusableBookError(f"{path}: no statistics book yet") from error
    try:
        book = from_bytes(content)
    except UnusableBookError as error:
        raise UnusableBookError(f"{path}: {error}; it is made again from the evidence store") from error
    if book.coder != coder:
        raise UnusableBookError(
            f"{path}: made by encoder {book.coder[:12]}, the one in use is {coder[:12]}; it is made again from the "
            "evidence store"
        )
    return book


def _digest(tensors: Tensors) -> NDArray[np.uint8]:
    content = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        content.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
        content.update(array.tobytes())
    return np.frombuffer(content.digest(), np.uint8)


def _book(tensors: Tensors) -> Book:
    """The parts of an undamaged file, put together. It is ours, but perhaps of a program with a fault."""
    try:
        about = json.loads(tensors["about"].tobytes())
        entries = tuple(
            Entry(sample=sample, label=label, source=source, block=block)
            for sample, label, source, block in about["entries"]
        )
        classes, coder = tuple(map(str, about["classes"])), str(about["coder"])
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise UnusableBookError(f"statistics book: damaged description ({type(error).__name__}: {error})") from error
    codes = tensors["codes"]
    views, size = codes.shape[1:] if codes.ndim == 3 else (0, 0)
    shapes = {
        "codes": (len(entries), views, size),
        "counts": (len(classes),),
        "cross": (size, len(classes)),
        "gram": (size * (size + 1) // 2,),
    }
    found = {name: tensors[name].shape for name in shapes}
    if found != shapes or not 1 <= views <= VIEWS_MAX or not 1 <= size <= FEATURES_MAX or len(classes) > CLASSES_MAX:
        raise UnusableBookError(f"statistics book: shapes {found}, expected {shapes}")
    gram = np.zeros((size, size), np.int64)
    rows, columns = np.triu_indices(size)
    gram[rows, columns] = tensors["gram"]
    gram[columns, rows] = tensors["gram"]
    total = Statistics(classes=classes, counts=tensors["counts"], gram=gram, cross=tensors["cross"])
    return Book(coder=coder, entries=entries, codes=codes, total=total)
