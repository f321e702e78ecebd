"""Our Modbus TCP server: a bank of cells behind a port that PLCs connect to."""

from __future__ import annotations

import socket
from collections.abc import Callable

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.bank import Bank, BankSession
from edge_agent.line.stream_server import StreamServer


class ModbusServer:
    """Serves `bank` at one address, for any number of triggers and signals."""

    def __init__(self, host: str, port: int, clock: Clock, note: Callable[[bool, str], None]) -> None:
        self.where = f"modbus-server://{host}:{port}"
        self.bank = Bank(clock)
        self._server = StreamServer(
            lambda: _listener(host, port, self.where),
            lambda: BankSession(self.bank),
            name=f"modbus-{port}",
            clock=clock,
            note=note,
        )

    def start(self) -> None:
        self._server.start()

    @property
    def fault(self) -> str | None:
        """Why nobody can connect, None when all is well."""
        return self._server.fault

    def close(self) -> None:
        """Refuse connections from now on: that is what a PLC notices when we are gone."""
        self._server.close()


def check_port(host: str, port: int) -> None:
    """Whether we could listen there now.

    Raises:
        LineError: another program has the port, or the address is not ours.
    """
    _listener(host, port, f"modbus-server://{host}:{port}").close()


def _listener(host: str, port: int, where: str) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, reuse_port=False)
    except OSError as error:
        raise LineError(f"{where}: cannot listen there ({error})") from error
