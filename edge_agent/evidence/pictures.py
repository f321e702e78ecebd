"""The pictures on disk, named by what they hold: open/ab/SHA256.png, and sealed/ab/SHA256.png for the hold-out.

Two trees, so that a sandbox can take the sealed one from the learning process altogether. Whoever writes or removes a
file here holds the write lock of evidence.db: that lock is the lock of the files too.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_agent.errors import BadEvidenceError
from edge_agent.storage import place_files, storage_faults

OPEN, SEALED = "open", "sealed"
PREFIXES = tuple(f"{number:02x}" for number in range(256))
# What a picture may be called after its hash; what the decoder can read (edge_agent/capture/header.py).
SUFFIXES = (".bmp", ".jpg", ".png", ".tif", ".webp")


def file_name(content: bytes, suffix: str) -> str:
    """The name of these bytes.

    Raises:
        BadEvidenceError: not a suffix we keep.
    """
    if suffix not in SUFFIXES:
        raise BadEvidenceError(f"a picture with suffix {suffix!r}, expected {', '.join(SUFFIXES)}")
    return hashlib.sha256(content).hexdigest() + suffix


def place_of(name: str, *, sealed: bool) -> str:
    """Where a picture lies, relative to the store."""
    return f"{SEALED if sealed else OPEN}/{name[:2]}/{name}"


class Pictures:
    """The files below the store's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make_folders(self) -> None:
        """The two trees of a new store.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError.
        """
        with storage_faults(self.root):
            for tree in (OPEN, SEALED):
                (self.root / tree).mkdir(parents=True, exist_ok=True)

    def have_folders(self) -> bool:
        """Whether both trees are there."""
        return all((self.root / tree).is_dir() for tree in (OPEN, SEALED))

    def any(self) -> bool:
        """Whether there is at least one picture."""
        with storage_faults(self.root):
            return any(self.names(prefix) for prefix in PREFIXES)

    def place(self, contents: Mapping[str, bytes]) -> None:
        """Make these files durable; what is there already stays.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: some may be there without a row; a sweep takes them.
        """
        place_files({self.root / file: content for file, content in contents.items()})

    def read(self, file: str) -> bytes:
        """The bytes of a picture, held against its name.

        Raises:
            BadEvidenceError: it is gone, or no longer the bytes that were kept.
        """
        path = self.root / file
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadEvidenceError(f"{path}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != path.stem:
            raise BadEvidenceError(f"{path}: the bytes are not those that were kept; the disk may be failing")
        return content

    def names(self, prefix: str) -> list[str]:
        """Everything below one prefix of both trees, relative to the store; also what is no picture of ours."""
        found = []
        for tree in (OPEN, SEALED):
            with storage_faults(self.root / tree / prefix), contextlib.suppress(FileNotFoundError):
                found += [f"{tree}/{prefix}/{path.name}" for path in (self.root / tree / prefix).iterdir()]
        return found

    def remove(self, files: Iterable[str]) -> None:
        """Take files away; one that is gone already is well gone.

        Raises:
            StorageReadOnlyError, TransientError.
        """
        for file in files:
            with storage_faults(self.root / file):
                (self.root / file).unlink(missing_ok=True)
