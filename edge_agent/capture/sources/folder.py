"""A folder of pictures: once, over and over, or for as long as files arrive.

scan --new files, in order--> queue --read--> picture
  ^                                `--incomplete, still changing--> again at the next scan
  `--- nothing left: wait on the clock, scan again (watch) or end (once)
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.capture.addresses import Address
from edge_agent.capture.picture import read_picture
from edge_agent.capture.source import Picture, Terms
from edge_agent.errors import BadPictureError, CameraError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
POLL_S = 0.5
# A file that cannot be decoded is still being written until its size and time have stood still for so long.
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class _File:
    """One state of one file. A file that is replaced or changed after it was read is another part."""

    path: str
    inode: int
    size_bytes: int
    changed_ns: int


class FolderSource:
    """Pictures below a folder, `folder:DIR[?watch=1|loop=1]`; hidden files and folders are passed over.

    Once and loop go by path. Watch goes by time of change, oldest first, and gives each file exactly once, also when
    the folder was away for a while; files that are there at the start are new to it.
    """

    live = False
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self._folder = Path(address.target)
        self._watch = address.flag("watch")
        self._loop = address.flag("loop")
        self._terms = terms
        self._queue: deque[_File] = deque()
        self._seen: set[_File] = set()
        self._open = False
        self._suspects: dict[_File, float] = {}  # undecodable, and since when it looks like this

    def open(self) -> None:
        self._scan()
        if not self._queue and not self._watch:
            raise CameraError(f"{self._folder}: no pictures in it, expected files ending in {', '.join(SUFFIXES)}")
        self._open = True

    def read(self) -> Picture | None:
        if not self._open:
            raise CameraError(f"{self.description}: is not open")
        while not self._terms.stop.is_set():
            while self._queue:
                picture = self._take(self._queue.popleft())
                if picture is not None:
                    return picture
            if not self._watch and not self._loop:
                return None
            if self._watch:
                self._terms.clock.wait(self._terms.stop, POLL_S)
            self._scan()
            if self._loop and not self._queue:
                raise CameraError(f"{self._folder}: all pictures are gone")
        return None

    def close(self) -> None:
        self._open = False
        self._seen.difference_update(self._queue)  # a watched folder opened again gives these after all
        self._queue.clear()

    def _take(self, file: _File) -> Picture | None:
        """The picture, or None when the file vanished or is still being written.

        Raises:
            BadPictureError: it cannot be decoded and nobody writes it any more.
        """
        if not self._watch:
            return Picture(image=read_picture(Path(file.path)), path=file.path)
        try:
            picture = Picture(image=read_picture(Path(file.path)), path=file.path)
        except BadPictureError:
            if self._settled(file):
                raise
            return None
        now = _state_of(file.path)
        if now is not None:
            self._seen.add(now)  # its time was set or its end written while we read: still the same part
        return picture

    def _settled(self, file: _File) -> bool:
        """Whether an undecodable file has stood still long enough; if not, the next scan finds it again."""
        if _state_of(file.path) == file:
            now_s = self._terms.clock.mono_s()
            if now_s - self._suspects.setdefault(file, now_s) >= SETTLE_S:
                return True
        self._seen.discard(file)
        return False

    def _scan(self) -> None:
        """Queue what is new (watch) or everything (once, loop)."""
        try:
            found = list(_pictures(str(self._folder)))
        except OSError as error:
            raise CameraError(
                f"{self._folder}: cannot be listed ({error.strerror}); check the path and the rights"
            ) from error
        if not self._watch:
            self._queue.extend(sorted(found, key=lambda file: file.path))
            return
        new = [file for file in found if file not in self._seen]
        self._queue.extend(sorted(new, key=lambda file: (file.changed_ns, file.path)))
        # What is gone is forgotten, so that years of files in one folder do not fill the memory.
        self._seen = set(found)
        self._suspects = {file: since_s for file, since_s in self._suspects.items() if file in self._seen}


def _pictures(folder: str) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _pictures(entry.path)
            elif entry.name.lower().endswith(SUFFIXES):
                state = _state_of(entry.path)
                if state is not None:
                    yield state


def _state_of(path: str) -> _File | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every name of a scan; a Path costs more than the call
    except OSError:  # taken away since it was listed
        return None
    return _File(path, status.st_ino, status.st_size, status.st_mtime_ns)
