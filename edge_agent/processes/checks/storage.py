"""Storage: the directories can be written, and there is room for what may wait in them."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.errors import TransientError
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning
from edge_agent.storage import free_bytes, replace_file, storage_faults

MIB = 1024 * 1024
PROBE = ".check"


def writable(context: Context) -> tuple[Finding, ...]:
    storage = context.valid.storage
    return tuple(
        _writable(name, path) for name, path in (("state", storage.state_dir), ("runtime", storage.runtime_dir))
    )


def _writable(name: str, directory: Path) -> Finding:
    if not directory.exists():
        parent = nearest(directory)
        if os.access(parent, os.W_OK | os.X_OK):
            return ok(f"{directory} will be made", name)
        return error(f"{directory} is not there and cannot be made below {parent}", f"set storage.{name}_dir", name)
    probe = directory / PROBE
    try:
        replace_file(probe, b"edge-agent check\n")
        with storage_faults(probe):
            probe.unlink()
    except TransientError as fault:
        return error(str(fault), f"run as the daemon's user, or set storage.{name}_dir", name)
    return ok(f"{directory} can be written", name)


def space(context: Context) -> tuple[Finding, ...]:
    settings = context.valid
    place = nearest(settings.storage.state_dir)
    try:
        free = free_bytes(place)
    except OSError as fault:
        return (error(f"{place}: {fault.strerror}"),)
    least, wanted = settings.storage.min_free_bytes, settings.storage.min_free_bytes + settings.outbox.limit_bytes
    text = f"{free // MIB} MiB free"
    if free < least:
        advice = "free disk space, or lower storage.min_free_bytes"
        return (error(f"{text}, less than storage.min_free_bytes ({least // MIB} MiB)", advice),)
    if free < wanted:
        advice = "free disk space, or lower outbox.limit_bytes"
        return (warning(f"{text}, a long outage may need {wanted // MIB} MiB", advice),)
    return (ok(text),)


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


CHECKS = (
    Check(id="storage-writable", group="storage", title="directories", run=writable),
    Check(id="storage-space", group="storage", title="free space", run=space),
)
