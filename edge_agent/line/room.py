"""Whether triggers and signals keep out of each other's way: what we write, nobody else may use. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_agent.errors import ConfigError
from edge_agent.line.addresses import (
    GpioSignal,
    GpioTrigger,
    ModbusSignal,
    ModbusTrigger,
    OpcUaSignal,
    parse_signal,
    parse_trigger,
)
from edge_agent.line.modbus import Cells
from edge_agent.line.signals import blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`owner` uses what is numbered `start` to below `stop` at `place`; `ours`: it is written by us alone."""

    owner: str
    place: str
    start: int
    stop: int
    ours: bool

    def meets(self, other: Claim) -> bool:
        """Whether both use something that one of them needs for itself."""
        apart = self.place != other.place or self.stop <= other.start or other.stop <= self.start
        return not apart and (self.ours or other.ours)


def overlap(triggers: Mapping[str, str], signals: Mapping[str, tuple[str, tuple[str, ...]]]) -> str | None:
    """Who is in whose way, in words; None when nobody is.

    `triggers` are addresses by camera, `signals` an address and the cameras by name. Addresses that cannot be read are
    left out: they are told of elsewhere.
    """
    found = [claim for camera, text in triggers.items() for claim in _trigger_claims(camera, text)]
    found += [claim for name, (text, cameras) in signals.items() for claim in _signal_claims(name, text, cameras)]
    for one, other in itertools.combinations(found, 2):
        if one.meets(other):
            return f"{one.owner} and {other.owner} meet at {one.place}"
    return None


def _trigger_claims(camera: str, text: str) -> Iterator[Claim]:
    try:
        address = parse_trigger(text)
    except ConfigError:
        return
    owner = f"the trigger of {camera}"
    match address:
        case ModbusTrigger():
            place = _modbus_place(address)
            yield _cells(owner, place, address.cell, ours=False)
            for what, cells in (("part", address.part), ("recipe", address.recipe)):
                if cells is not None:
                    yield _cells(f"{owner} ({what})", place, cells, ours=False)
            if address.ack is not None:
                yield _cells(f"{owner} (ack)", place, address.ack, ours=True)
        case GpioTrigger(chip=chip, line=line):
            yield Claim(owner=owner, place=chip, start=line, stop=line + 1, ours=False)


def _signal_claims(name: str, text: str, cameras: tuple[str, ...]) -> Iterator[Claim]:
    try:
        address = parse_signal(text)
    except ConfigError:
        return
    owner = f"signal {name}"
    match address:
        case ModbusSignal():
            for camera, cells in blocks(address.table, address.start, cameras).items():
                yield _cells(f"{owner} (block of {camera})", _modbus_place(address), cells, ours=True)
        case GpioSignal(chip=chip, lines=lines):
            for role, line in lines.items():
                yield Claim(owner=f"{owner} ({role})", place=chip, start=line, stop=line + 1, ours=True)
        case OpcUaSignal(url=url, node=node):
            yield Claim(owner=owner, place=f"{url} {node}", start=0, stop=1, ours="{camera}" not in node)


def _modbus_place(address: ModbusTrigger | ModbusSignal) -> str:
    if address.serve:
        return f"modbus-server://{address.host}:{address.port}"
    return f"modbus://{address.host}:{address.port} unit {address.unit}"


def _cells(owner: str, place: str, cells: Cells, *, ours: bool) -> Claim:
    where = f"{place} {cells.table.value}"
    return Claim(owner=f"{owner}, {cells}", place=where, start=cells.start, stop=cells.stop, ours=ours)
