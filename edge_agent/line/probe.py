"""Whether the line answers where the configuration says it is. Nothing is written and nothing driven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.line.addresses import (
    GpioSignal,
    GpioTrigger,
    ModbusSignal,
    ModbusTrigger,
    MqttTrigger,
    Socket,
    TriggerAddress,
)
from edge_agent.line.handshake import said, spans
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.modbus_server import check_port
from edge_agent.line.signals import blocks

# A PLC that is asked once may be busy just then: a check may wait longer than a poll does.
PATIENCE_S = 2.0


def probe_trigger(address: TriggerAddress, runtime_dir: Path, clock: Clock) -> str:
    """What was found, in words.

    Raises:
        LineError: what is amiss.
    """
    match address:
        case MqttTrigger():
            return "asked by the command trigger"
        case Socket(name=name):
            return f"will listen at {runtime_dir / name}.sock"
        case GpioTrigger(chip=chip, line=line):
            from edge_agent.line.gpio import check_line, load_gpiod  # noqa: PLC0415 - an extra

            check_line(chip, line, load_gpiod())
            return f"{chip}/{line} can be had"
        case ModbusTrigger(serve=True, host=host, port=port):
            check_port(host, port)
            return f"can listen at {host}:{port}"
        case ModbusTrigger():
            return _polled(address, clock)


def _polled(address: ModbusTrigger, clock: Clock) -> str:
    client = _client(address.host, address.port, address.unit, clock)
    try:
        read = {span: client.read(span) for span in spans(address)}
        if address.ack is not None:
            client.read(address.ack)
        first = next(iter(read))
        value = read[first][address.cell.start - first.start]
        part, recipe = said(address.part, read), said(address.recipe, read)
    finally:
        client.close()
    words = "".join(f", {name} {text!r}" for name, text in (("part", part), ("recipe", recipe)) if text is not None)
    return f"{address.cell} is {value}{words}"


def probe_modbus_signal(address: ModbusSignal, cameras: Sequence[str], clock: Clock) -> str:
    """Whether the blocks of these cameras have room there.

    Raises:
        LineError: what is amiss.
    """
    if address.serve:
        check_port(address.host, address.port)
        return f"can listen at {address.host}:{address.port}"
    client = _client(address.host, address.port, address.unit, clock)
    try:
        cells = blocks(address.table, address.start, tuple(cameras))
        for block in cells.values():
            client.read(block)
    finally:
        client.close()
    end = max(block.stop for block in cells.values()) - 1
    return f"registers {address.start} to {end} are there"


def probe_gpio_signal(address: GpioSignal) -> str:
    """Whether the lines can be had.

    Raises:
        LineError: what is amiss.
    """
    from edge_agent.line.gpio import check_line, load_gpiod  # noqa: PLC0415 - an extra

    package = load_gpiod()
    for line in address.lines.values():
        check_line(address.chip, line, package)
    return f"{len(address.lines)} lines of {address.chip} can be had"


def _client(host: str, port: int, unit: int, clock: Clock) -> ModbusClient:
    return ModbusClient(host=host, port=port, unit=unit, timeout_s=PATIENCE_S, clock=clock)
