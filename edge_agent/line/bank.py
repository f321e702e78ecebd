"""Our own Modbus device: the cells that a PLC may read and write, and what answers its requests. No socket in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge_agent.clock import Clock
from edge_agent.line.modbus import (
    HEADER_BYTES,
    Cells,
    ExceptionCode,
    Request,
    Table,
    answer,
    exception,
    frame,
    parse_header,
    parse_request,
)


class Bank:
    """Cells by table and number. Only declared ones exist; a request is carried out whole or not at all.

    Thread-safe. A listener is called after a write that touches its cell, in the thread of the server, and must not
    block; it may read and put.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._values: dict[Table, dict[int, int]] = {table: {} for table in Table}
        self._writable: dict[Table, set[int]] = {table: set() for table in Table}
        self._listeners: dict[tuple[Table, int], list[Callable[[], None]]] = {}
        self._heard_s: float | None = None

    def declare(self, cells: Cells, *, writable: bool) -> None:
        """These cells exist from now on, 0 unless they existed; `writable` by the PLC."""
        with self._lock:
            for number in range(cells.start, cells.stop):
                self._values[cells.table].setdefault(number, 0)
                if writable:
                    self._writable[cells.table].add(number)

    def listen(self, cell: Cells, listener: Callable[[], None]) -> None:
        """Have `listener` called after each write of the PLC that touches `cell`."""
        with self._lock:
            self._listeners.setdefault((cell.table, cell.start), []).append(listener)

    def unlisten(self, cell: Cells, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners[cell.table, cell.start].remove(listener)

    def read(self, cells: Cells) -> tuple[int, ...]:
        """The values of declared cells."""
        with self._lock:
            return tuple(self._values[cells.table][number] for number in range(cells.start, cells.stop))

    def put(self, cells: Cells, values: Sequence[int]) -> None:
        """Set declared cells, all at once."""
        with self._lock:
            self._values[cells.table].update(zip(range(cells.start, cells.stop), values, strict=True))

    def quiet_s(self) -> float | None:
        """Seconds since a PLC asked for the last time, None before the first."""
        return None if self._heard_s is None else self._clock.mono_s() - self._heard_s

    def respond(self, pdu: bytes) -> bytes:
        """Carry out a request; the PDU that answers it."""
        request = parse_request(pdu)
        if isinstance(request, ExceptionCode):
            return exception(pdu[0], request)
        with self._lock:
            self._heard_s = self._clock.mono_s()
            refused = self._refusal(request)
            if refused is not None:
                return exception(pdu[0], refused)
            if request.values is not None:
                self.put(request.cells, request.values)
            values = self.read(request.cells)
            touched = self._touched(request)
            for listener in touched:
                listener()
        return answer(request, values)

    def _refusal(self, request: Request) -> ExceptionCode | None:
        wanted = range(request.cells.start, request.cells.stop)
        known = self._values[request.cells.table] if request.values is None else self._writable[request.cells.table]
        return None if all(number in known for number in wanted) else ExceptionCode.ILLEGAL_ADDRESS

    def _touched(self, request: Request) -> list[Callable[[], None]]:
        if request.values is None:
            return []
        found = ((request.cells.table, number) for number in range(request.cells.start, request.cells.stop))
        return [listener for key in found for listener in self._listeners.get(key, ())]


class BankSession:
    """One PLC's connection: bytes in, bytes out, in whatever pieces they come."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._content = b""

    def receive(self, content: bytes) -> bytes:
        """The answers to the requests that are whole by now.

        Raises:
            LineError: this is not Modbus TCP; close the connection.
        """
        self._content += content
        answers = b""
        while len(self._content) >= HEADER_BYTES:
            header = parse_header(self._content)
            end = HEADER_BYTES + header.length_bytes
            if len(self._content) < end:
                break
            pdu, self._content = self._content[HEADER_BYTES:end], self._content[end:]
            answers += frame(header.transaction, header.unit, self._bank.respond(pdu))
        return answers
