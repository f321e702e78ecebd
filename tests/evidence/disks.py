"""Disks that fail: small ones, and folders that cannot be written."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path


@contextlib.contextmanager
def small_disk(size="1m"):
    """A file system of its own of this size; None where we may not mount."""
    with tempfile.TemporaryDirectory(prefix="ea-evidence-", dir="/tmp") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
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
