"""Outputs in Modbus registers: of a PLC that we write to, or in our own server that the PLC reads."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.errors import LineError
from edge_agent.line.modbus import Cells
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.modbus_server import ModbusServer
from edge_agent.line.signals import Output, registers

# A PLC program asks in every cycle, or a few times a second. One that did not for so long does not hear us.
QUIET_S = 5.0


class ModbusPort:
    """Writes each block in one request: a PLC never sees half a verdict."""

    def __init__(self, client: ModbusClient, cells: Mapping[str, Cells]) -> None:
        self._client = client
        self._cells = cells

    def write(self, outputs: Mapping[str, Output]) -> None:
        for camera, output in outputs.items():
            self._client.write(self._cells[camera], registers(output))

    def close(self) -> None:
        self._client.close()


class BankPort:
    """Puts each block into our server. The signal is lost while no PLC asks for anything."""

    def __init__(self, server: ModbusServer, cells: Mapping[str, Cells]) -> None:
        self._server = server
        self._cells = cells
        for block in cells.values():
            server.bank.declare(block, writable=False)

    def write(self, outputs: Mapping[str, Output]) -> None:
        for camera, output in outputs.items():
            self._server.bank.put(self._cells[camera], registers(output))
        if self._server.fault is not None:
            raise LineError(self._server.fault)
        quiet_s = self._server.bank.quiet_s()
        if quiet_s is None or quiet_s > QUIET_S:
            since = "since we started" if quiet_s is None else f"for {quiet_s:.0f} s"
            raise LineError(f"{self._server.where}: no PLC has asked {since}")

    def close(self) -> None:
        """Nothing: what was put last stays readable, and the server belongs to whoever started it."""
