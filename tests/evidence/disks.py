"""Disks that fail: small ones, and folders that cannot be written."""

import contextlib
import os
import resource
import subprocess
import tempfile
from pathlib import Path

# What a full disk is told as. SQLite has no word of its own for a file that must not grow: that one is a mere fault.
FULL = ("evidence-full", "evidence-fault")
FILE_LIMIT_BYTES = 64 * 1024


class SmallDisk:
    """A folder on a small disk: a real one where we may mount, else the kernel keeps files from growing."""

    def __init__(self, root: Path, *, mounted: bool) -> None:
        self.root = root
        self.mounted = mounted
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, leave_bytes: int | None = None) -> None:
        """Leave room for a few hundred kilobytes at most, or for `leave_bytes` where it is a real disk."""
        if self.mounted:
            there = os.statvfs(self.root)
            free = there.f_bavail * there.f_frsize
            (self.root / "ballast").write_bytes(b"x" * (600_000 if leave_bytes is None else max(0, free - leave_bytes)))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, self._before[1]))

    def free(self) -> None:
        """There is room again."""
        (self.root / "ballast").unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


@contextlib.contextmanager
def small_disk(size="1m"):
    """A disk that can be filled and freed."""
    with tempfile.TemporaryDirectory(prefix="ea-evidence-", dir="/tmp") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        disk = SmallDisk(Path(name), mounted=mounted)
        try:
            yield disk
        finally:
            disk.free()
            if mounted:
                subprocess.run(["umount", "--lazy", name], check=True)


@contextlib.contextmanager
def unwritable(folder):
    """`folder` and all below it cannot be written by us, even when the tests run as root."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    # Others must still get to it and read it: pytest's folders are closed to them.
    parents = {path: path.stat().st_mode for path in folder.parents if path.owner() != "nobody" and path != Path("/")}
    user = os.geteuid()
    if user == 0:
        for path, mode in parents.items():
            path.chmod(mode | 0o055)
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in {**modes, **(parents if user == 0 else {})}.items():
            path.chmod(mode)
