"""The parts of a support bundle. A part that cannot be had says why; it never stops the others."""

from __future__ import annotations

import importlib.metadata
import io
import json
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.redact import redact
from edge_agent.config.settings import Settings, load
from edge_agent.errors import EdgeAgentError
from edge_agent.processes.live import read_json
from edge_agent.storage import storage_faults

JOURNAL_LINES = "5000"
PART_LIMIT_BYTES = 4 * 1024 * 1024
COMMAND_TIMEOUT_S = 20.0
# The state directory's file names and sizes are useful; what is inside evidence/ and good-only/ is not ours to send.
PRIVATE = ("evidence", "good-only")
UNITS = ("edge-agent-inspect", "edge-agent-sync", "edge-agent-learn", "edge-agent-review")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of the archive. `note` says why it is empty or cut."""

    name: str
    content: bytes
    note: str = ""


def collect(config_file: Path, stamp: str) -> tuple[Part, ...]:
    """Every part, in reading order; the first is the manifest of the others. Works with a broken configuration too."""
    parts = [
        _text("versions.txt", _versions),
        _text("journal.txt", _journal),
    ]
    try:
        settings = load(config_file, secrets_of=())
    except EdgeAgentError as error:
        parts.insert(0, Part(name="configuration-faults.txt", content=redact(str(error)).encode(), note="not valid"))
    else:
        parts += _of_settings(settings)
    listing = "".join(f"{part.name}\t{len(part.content)} bytes\t{part.note}\n" for part in parts)
    return (Part(name="MANIFEST.txt", content=f"edge-agent support bundle, {stamp}\n{listing}".encode()), *parts)


def write_archive(target: Path, parts: tuple[Part, ...]) -> None:
    """Write the parts as a gzipped tar.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    with storage_faults(target), tarfile.open(target, "w:gz") as archive:
        for part in parts:
            entry = tarfile.TarInfo(f"edge-agent-support/{part.name}")
            entry.size, entry.mode = len(part.content), 0o640
            archive.addfile(entry, io.BytesIO(part.content))


def _of_settings(settings: Settings) -> list[Part]:
    state, runtime = settings.storage.state_dir, settings.storage.runtime_dir
    return [
        _text("configuration.yaml", lambda: redact(settings.as_yaml())),
        _text("status-inspect.json", lambda: _snapshot(runtime / "inspect.json")),
        _text("status-sync.json", lambda: _snapshot(runtime / "sync.json")),
        _text("state-files.txt", lambda: _files(state)),
        _text("models.json", lambda: _pointers(state / "models")),
    ]


def _text(name: str, make: Callable[[], str]) -> Part:
    try:
        content = make().encode("utf-8", "replace")
    except (OSError, EdgeAgentError, subprocess.SubprocessError) as error:
        return Part(name=name, content=b"", note=f"not available: {error}")
    if len(content) > PART_LIMIT_BYTES:
        return Part(name=name, content=content[-PART_LIMIT_BYTES:], note=f"only the last {PART_LIMIT_BYTES} bytes")
    return Part(name=name, content=content)


def _versions() -> str:
    lines = [f"python {sys.version}", f"platform {platform.platform()}", f"machine {platform.machine()}"]
    names = sorted(
        (distribution.metadata["Name"] or "?", distribution.version)
        for distribution in importlib.metadata.distributions()
    )
    return "\n".join(lines + [f"{name} {version}" for name, version in names]) + "\n"


def _journal() -> str:
    program = shutil.which("journalctl")
    if program is None:
        raise FileNotFoundError("no journalctl here")
    units = [word for unit in UNITS for word in ("-u", unit)]
    done = subprocess.run(
        [program, "--no-pager", "-q", "-n", JOURNAL_LINES, "-o", "short-iso", *units],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return redact(done.stdout) or f"nothing in the journal ({done.stderr.strip() or 'no lines'})\n"


def _snapshot(path: Path) -> str:
    value = read_json(path)
    if value is None:
        raise FileNotFoundError(f"no snapshot at {path}; the process has not run since the machine started")
    return redact(json.dumps(value, indent=1))


def _files(state: Path) -> str:
    lines = []
    for path in sorted(state.rglob("*")):
        inside = path.relative_to(state)
        if inside.parts[0] not in PRIVATE and path.is_file():
            lines.append(f"{path.stat().st_size:>12} {inside}")
    for name in PRIVATE:
        folder = state / name
        if folder.is_dir():
            sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
            lines.append(f"{sum(sizes):>12} {name}/ ({len(sizes)} files, not listed)")
    return "\n".join(lines) + "\n"


def _pointers(models: Path) -> str:
    """The pointer files and manifests of the model store: small JSON, no weights."""
    found = {str(path.relative_to(models)): read_json(path) for path in sorted(models.rglob("*.json"))}
    return json.dumps(found, indent=1)
