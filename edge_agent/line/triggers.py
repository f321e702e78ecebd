"""What asks for pictures: a PLC that is polled, a PLC that writes to us, a socket, a GPIO edge. Each fires a line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.errors import LineError
from edge_agent.line.addresses import ModbusTrigger
from edge_agent.line.backoff import backoff_s
from edge_agent.line.bank import Bank
from edge_agent.line.gate import TriggerGate
from edge_agent.line.handshake import Handshake, Look, said, spans
from edge_agent.line.modbus import Cells
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.sockets import SocketHub
from edge_agent.records import Trigger

JOIN_S = 1.0


class TriggerSource(Protocol):
    """Watches for triggers until it is closed."""

    def start(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerLine:
    """One camera's way from the line to its gate. `note(active, text)` hears of the line being lost and found."""

    camera: str
    gate: TriggerGate
    clock: Clock
    note: Callable[[bool, str], None]

    def fire(self, part: str | None, recipe: str | None, mono_s: float | None = None) -> None:
        """A part is there, since `mono_s` where the source knows the moment better than we do."""
        self.gate.fire(self._trigger(part, recipe, mono_s))

    def miss(self, why: str) -> None:
        """A part was there and is gone."""
        self.gate.miss(self._trigger(None, None, None), why)

    def _trigger(self, part: str | None, recipe: str | None, mono_s: float | None) -> Trigger:
        now_s = self.clock.mono_s()
        since_s = now_s if mono_s is None else min(mono_s, now_s)
        return Trigger(
            camera=self.camera,
            utc_s=self.clock.utc_s() - (now_s - since_s),
            mono_s=since_s,
            part=part,
            recipe=recipe,
        )


class PolledTrigger:
    """Asks a PLC every `poll_s`. While it does not answer it is tried again, for ever."""

    def __init__(self, address: ModbusTrigger, client: ModbusClient, line: TriggerLine) -> None:
        self._address = address
        self._client = client
        self._line = line
        self._spans = spans(address)
        self._handshake = Handshake(counter=address.counter, acked=address.ack is not None)
        self._failures: int | None = None  # in a row; None before the first look
        self._owed: int | None = None  # an acknowledgement that has not been written yet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trigger-{line.camera}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        clock, next_s = self._line.clock, self._line.clock.mono_s()
        while not clock.wait(self._stop, max(0.0, next_s - clock.mono_s())):
            next_s = self._turn(next_s)
        self._client.close()

    def _turn(self, due_s: float) -> float:
        """The look that was due then; when the next one is."""
        clock = self._line.clock
        try:
            self._look()
        except LineError as error:
            self._client.close()
            self._failures = (self._failures or 0) + 1
            self._line.note(True, str(error))
            return clock.mono_s() + backoff_s(self._failures)
        if self._failures != 0:
            self._failures = 0
            self._line.note(False, "the trigger is read")
        return max(due_s + self._address.poll_s, clock.mono_s())

    def _look(self) -> None:
        first = self._spans[0]
        values = self._client.read(first)
        seen_s = self._line.clock.mono_s()
        look = self._handshake.look(values[self._address.cell.start - first.start])
        if look.parts:
            try:
                read = {first: values, **{span: self._client.read(span) for span in self._spans[1:]}}
            except LineError:
                self._line.fire(None, None, seen_s)  # a part whose name cannot be read is still a part
                raise
            _fire(self._line, self._address, look, read, seen_s)
        if look.note is not None:
            self._line.miss(look.note)
        if look.ack is not None:
            self._owed = look.ack
        if self._owed is not None and self._address.ack is not None:
            # If this fails it is written after the next look: the PLC waits for it.
            self._client.write(self._address.ack, (self._owed,))
            self._owed = None


class ServedTrigger:
    """A PLC writes into our own server: it is heard at once, without polling."""

    def __init__(self, address: ModbusTrigger, bank: Bank, line: TriggerLine) -> None:
        self._address = address
        self._bank = bank
        self._line = line
        self._handshake = Handshake(counter=address.counter, acked=address.ack is not None)

    def start(self) -> None:
        for cells in (self._address.cell, self._address.part, self._address.recipe):
            if cells is not None:
                self._bank.declare(cells, writable=cells.table.writable)
        if self._address.ack is not None:
            self._bank.declare(self._address.ack, writable=False)
        # The first look is ours: a cell that nobody wrote yet is at rest.
        self._handshake.look(self._bank.read(self._address.cell)[0])
        self._bank.listen(self._address.cell, self._written)
        self._line.note(False, "the trigger is served")

    def close(self) -> None:
        self._bank.unlisten(self._address.cell, self._written)

    def _written(self) -> None:
        seen_s = self._line.clock.mono_s()
        look = self._handshake.look(self._bank.read(self._address.cell)[0])
        if look.parts:
            own = (cells for cells in (self._address.part, self._address.recipe) if cells is not None)
            _fire(self._line, self._address, look, {cells: self._bank.read(cells) for cells in own}, seen_s)
        if look.ack is not None and self._address.ack is not None:
            self._bank.put(self._address.ack, (look.ack,))


def _fire(
    line: TriggerLine, address: ModbusTrigger, look: Look, read: dict[Cells, tuple[int, ...]], seen_s: float
) -> None:
    """Fire for the part whose data were read; those before it in the count were missed."""
    for _ in range(look.parts - 1):
        line.miss("the counter moved on before we looked")
    try:
        part, recipe = said(address.part, read), said(address.recipe, read)
    except LineError as error:
        line.note(True, f"part or recipe cannot be read: {error}")
        line.fire(None, None, seen_s)
    else:
        line.note(False, "the trigger is read")
        line.fire(part, recipe, seen_s)


class SocketTrigger:
    """Lines of JSON on a unix socket."""

    def __init__(self, hub: SocketHub, line: TriggerLine) -> None:
        self._hub = hub
        self._line = line

    def start(self) -> None:
        self._hub.listen(self._line.camera, self._line.fire)

    def close(self) -> None:
        self._hub.unlisten(self._line.camera)
