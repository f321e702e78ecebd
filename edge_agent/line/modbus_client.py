"""One Modbus TCP connection on which we ask and the device answers; whatever is amiss ends it, with the reason."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.addresses import ModbusSignal, ModbusTrigger
from edge_agent.line.modbus import (
    HEADER_BYTES,
    Cells,
    check_written,
    frame,
    parse_header,
    read_answer,
    read_request,
    write_request,
)


class ModbusClient:
    """Used by one thread. After a LineError that is no ModbusRefusalError the connection is closed: an answer that
    comes after all would be taken for that of the next request.
    """

    def __init__(self, *, host: str, port: int, unit: int, timeout_s: float, clock: Clock) -> None:
        self.where = f"modbus://{host}:{port}"
        self._address = (host.strip("[]"), port)
        self._unit = unit
        self._timeout_s = timeout_s
        self._clock = clock
        self._socket: socket.socket | None = None
        self._transaction = 0

    @classmethod
    def of(cls, device: ModbusTrigger | ModbusSignal, clock: Clock) -> ModbusClient:
        """The client for the device of an address; not connected yet."""
        return cls(host=device.host, port=device.port, unit=device.unit, timeout_s=device.timeout_s, clock=clock)

    def open(self) -> None:
        """Connect, if not connected.

        Raises:
            LineError: nobody answers there.
        """
        if self._socket is not None:
            return
        try:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise LineError(f"{self.where}: no connection ({error.strerror or error})") from error

    def close(self) -> None:
        """Let go; also twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def read(self, cells: Cells) -> tuple[int, ...]:
        """The values of `cells` now.

        Raises:
            LineError: no answer in time, or one that is none.
        """
        return read_answer(cells, self._ask(read_request(cells)))

    def write(self, cells: Cells, values: Sequence[int]) -> None:
        """Write all of `values` in one request.

        Raises:
            LineError: no answer in time, or one that is none.
        """
        check_written(cells, self._ask(write_request(cells, values)))

    def _ask(self, pdu: bytes) -> bytes:
        self.open()
        self._transaction = (self._transaction + 1) % 65_536
        try:
            return self._exchange(frame(self._transaction, self._unit, pdu))
        except OSError as error:
            self.close()
            silent = isinstance(error, TimeoutError)
            reason = (
                f"no answer within {self._timeout_s * 1e3:.0f} ms"
                if silent
                else f"connection lost ({error.strerror or error})"
            )
            raise LineError(f"{self.where}: {reason}") from error
        except LineError as error:
            self.close()
            raise LineError(f"{self.where}: {error}") from error

    def _exchange(self, request: bytes) -> bytes:
        until_s = self._clock.mono_s() + self._timeout_s
        connection = self._socket
        if connection is None:
            raise LineError("not connected")
        connection.settimeout(self._timeout_s)
        connection.sendall(request)
        header = parse_header(self._receive(connection, HEADER_BYTES, until_s))
        pdu = self._receive(connection, header.length_bytes, until_s)
        if header.transaction != self._transaction:
            raise LineError(f"answer to request {header.transaction}, expected one to {self._transaction}")
        if header.unit != self._unit:
            raise LineError(f"unit {header.unit} answers, unit {self._unit} was asked")
        return pdu

    def _receive(self, connection: socket.socket, size: int, until_s: float) -> bytes:
        content = b""
        while len(content) < size:
            left_s = until_s - self._clock.mono_s()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            piece = connection.recv(size - len(content))
            if not piece:
                raise ConnectionResetError("the device closed it")
            content += piece
        return content
