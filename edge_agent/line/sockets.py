"""Triggers and verdicts over a unix socket: one JSON object a line, both ways.

-> {"part": "A-17", "recipe": "lid", "camera": "top"}          a trigger; all keys optional where one camera listens
<- {"ok": true}   or   {"ok": false, "reason": "..."}
<- {"camera": "top", "state": "RUNNING", "sequence": 12, "verdict": "PASS", "reason": "", "part": "A-17", ...}
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.signals import Output, fields
from edge_agent.line.stream_server import StreamServer

# A part id and a recipe fit many times; a client that never ends its line must not fill our memory.
MOST_LINE_BYTES = 4096
MOST_TEXT_CHARS = 64
SOCKET_MODE = 0o660
# sun_path in sys/un.h, less the closing NUL.
MOST_PATH_BYTES = 107

# Hears of a part: (part, recipe).
Fire = Callable[[str | None, str | None], None]


class SocketHub:
    """One socket: the cameras it triggers, and everyone who listens to its verdicts."""

    def __init__(self, path: Path, clock: Clock, note: Callable[[bool, str], None]) -> None:
        self.path = path
        self._cameras: dict[str, Fire] = {}
        self._server = StreamServer(
            lambda: _listener(path), lambda: LineSession(lambda: self._cameras), name=path.name, clock=clock, note=note
        )

    def start(self) -> None:
        self._server.start()

    @property
    def fault(self) -> str | None:
        """Why nobody can connect, None when all is well."""
        return self._server.fault

    def listen(self, camera: str, fire: Fire) -> None:
        """Have `fire` called for each trigger of this camera, from the server's thread."""
        self._cameras = {**self._cameras, camera: fire}

    def unlisten(self, camera: str) -> None:
        self._cameras = {name: fire for name, fire in self._cameras.items() if name != camera}

    @property
    def clients(self) -> int:
        return self._server.clients

    def send(self, value: Mapping[str, object]) -> int:
        """Tell everyone who is connected; returns how many took it."""
        return self._server.send_all(json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        self._server.close()
        with contextlib.suppress(OSError):  # what lies there may not be ours
            self.path.unlink(missing_ok=True)


def _listener(path: Path) -> socket.socket:
    if len(str(path).encode()) > MOST_PATH_BYTES:
        raise LineError(f"{path} has more than {MOST_PATH_BYTES} bytes; choose a shorter name or storage.runtime_dir")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)  # of an earlier process: the lock says that we are the only one
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)
        listener.listen()
    except OSError as error:
        listener.close()
        raise LineError(f"{path}: the socket cannot be made ({error})") from error
    return listener


class LineSession:
    """One client: whole lines in, one answer to each."""

    def __init__(self, cameras: Callable[[], Mapping[str, Fire]]) -> None:
        self._cameras = cameras
        self._content = b""

    def receive(self, content: bytes) -> bytes:
        """The answers to the lines that are whole by now.

        Raises:
            LineError: a line without an end.
        """
        self._content += content
        *lines, self._content = self._content.split(b"\n")
        if len(self._content) > MOST_LINE_BYTES or any(len(line) > MOST_LINE_BYTES for line in lines):
            raise LineError(f"a line of more than {MOST_LINE_BYTES} bytes")
        return b"".join(self._answer(line) for line in lines if line.strip())

    def _answer(self, line: bytes) -> bytes:
        try:
            cameras = self._cameras()
            camera, part, recipe = parse_line(line, tuple(cameras))
        except LineError as error:
            return json.dumps({"ok": False, "reason": str(error)}).encode() + b"\n"
        cameras[camera](part, recipe)
        return b'{"ok": true}\n'


def parse_line(line: bytes, cameras: tuple[str, ...]) -> tuple[str, str | None, str | None]:
    """Camera, part and recipe of a trigger.

    Raises:
        LineError: found, expected; for the sender.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LineError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise LineError('expected an object such as {"part": "A-17"}')
    unknown = value.keys() - {"camera", "part", "recipe"}
    if unknown:
        raise LineError(f"{min(unknown)[:80]!r} is not known, expected part, recipe, camera")
    camera = _text(value, "camera")
    if camera is None and len(cameras) == 1:
        camera = cameras[0]
    if camera not in cameras:
        known = ", ".join(cameras) or "none"
        raise LineError(f"camera is {camera!r}, those triggered through this socket are: {known}")
    return camera, _text(value, "part"), _text(value, "recipe")


def _text(value: Mapping[str, object], name: str) -> str | None:
    text = value.get(name)
    if text is None or (isinstance(text, str) and 0 < len(text) <= MOST_TEXT_CHARS and text.isprintable()):
        return text
    raise LineError(f"{name} is {str(text)[:80]!r}, expected 1 to {MOST_TEXT_CHARS} printable characters")


class SocketPort:
    """Tells everyone who is connected. The signal is lost while nobody is."""

    def __init__(self, hub: SocketHub) -> None:
        self._hub = hub

    def write(self, outputs: Mapping[str, Output]) -> None:
        if self._hub.fault is not None:
            raise LineError(self._hub.fault)
        for camera, output in outputs.items():
            if not self._hub.send(fields(camera, output)):
                raise LineError(f"socket {self._hub.path}: nobody listens")

    def close(self) -> None:
        """Nothing: the hub belongs to whoever made it."""
