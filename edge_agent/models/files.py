"""Reading files that may be hostile: regular, bounded, and what their manifest says they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from edge_agent.errors import BadBundleError
from edge_agent.models.bundle import BundleFile, describe


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """At most `limit_bytes` of a regular file.

    Raises:
        BadBundleError: it is missing, no regular file (a link, a pipe), or longer.
    """
    try:
        # A link could lead to a file that only we may read; a pipe would hold us for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadBundleError(f"{path}: not a regular file")
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise BadBundleError(f"{path}: cannot be read ({error.strerror}); the bundle is incomplete") from error
    if len(content) > limit_bytes:
        raise BadBundleError(f"{path}: longer than the {limit_bytes} bytes that are expected")
    return content


def read_file(path: Path, file: BundleFile) -> bytes:
    """The content at `path`, which must be what the manifest says of `file`.

    Raises:
        BadBundleError: missing, no regular file, or of another length or hash.
    """
    content = read_bounded(path, file.size)
    found = describe(content, file.name)
    if found != file:
        raise BadBundleError(
            f"{path}: {found.size} bytes with sha256 {found.sha256[:16]}.., the manifest says of {file.name} "
            f"{file.size} bytes with {file.sha256[:16]}..; the file is truncated or altered"
        )
    return content
