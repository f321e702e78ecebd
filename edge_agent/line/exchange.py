"""Our own servers, shared: a trigger and a signal at one address are two users of one server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.line.modbus_server import ModbusServer
from edge_agent.line.sockets import SocketHub

Note = Callable[[bool, str], None]


class Exchange:
    """Opens a server for its first user and closes it after its last. Used by the main thread."""

    def __init__(self, runtime_dir: Path, clock: Clock) -> None:
        self._runtime_dir = runtime_dir
        self._clock = clock
        self._servers: dict[str, ModbusServer | SocketHub] = {}
        self._users: dict[str, dict[str, Note]] = {}

    def modbus(self, host: str, port: int, user: str, note: Note) -> ModbusServer:
        """The server at this address; `note` hears when nobody can connect to it."""
        place = f"{host}:{port}"
        server = self._servers.get(place)
        if not isinstance(server, ModbusServer):
            server = ModbusServer(host, port, self._clock, lambda active, text: self._tell(place, active, text))
            self._open(place, server, user, note)
        self._users[place][user] = note
        return server

    def socket(self, name: str, user: str, note: Note) -> SocketHub:
        """The socket of this name; `note` hears when nobody can connect to it."""
        hub = self._servers.get(name)
        if not isinstance(hub, SocketHub):
            path = self._runtime_dir / f"{name}.sock"
            hub = SocketHub(path, self._clock, lambda active, text: self._tell(name, active, text))
            self._open(name, hub, user, note)
        self._users[name][user] = note
        return hub

    def leave(self, user: str) -> None:
        """This user needs its server no longer."""
        for place, users in list(self._users.items()):
            if users.pop(user, None) is not None and not users:
                del self._users[place]
                self._servers.pop(place).close()

    def _open(self, place: str, server: ModbusServer | SocketHub, user: str, note: Note) -> None:
        self._users[place] = {user: note}
        self._servers[place] = server
        server.start()

    def _tell(self, place: str, active: bool, text: str) -> None:
        for note in list(self._users.get(place, {}).values()):
            note(active, text)
