"""What the line is reached by, as one line of text, for triggers and for signals. Pure.

modbus://10.0.0.20/coil/0?part=holding/20:8&ack=coil/1      a trigger that we poll
modbus-server://0.0.0.0:5020/holding/100                    a signal that the PLC reads
gpio:/dev/gpiochip0/17?edge=rising        socket:line        mqtt        opc.tcp://10.0.0.30:4840?node=ns=2;s=Cam.*
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

from edge_agent.config.redact import redact
from edge_agent.errors import ConfigError
from edge_agent.line.modbus import CELLS, Cells, Table

MODBUS_PORT = 502
# 502 needs a privilege that we do not have.
MODBUS_SERVER_PORT = 5020
OPCUA_PORT = 4840
# As many as there may be cameras, 24 registers each (signals.py).
LAST_BLOCK = CELLS - 64 * 24
MOST_TEXT_REGISTERS, MOST_NUMBER_REGISTERS = 32, 4
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?"
_MODBUS = re.compile(rf"//{_HOST}/(coil|discrete|holding|input)/([0-9]{{1,5}})")
_CELLS = re.compile(r"(coil|discrete|holding|input)/([0-9]{1,5})(?::([0-9]{1,3}))?(n?)")
_NAME = re.compile(r"[a-z0-9-]{1,32}")
_GPIO_TRIGGER = re.compile(r"(/dev/[A-Za-z0-9_-]+)/([0-9]{1,4})")
_GPIO_CHIP = re.compile(r"/dev/[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttTrigger:
    """The command `trigger` asks for the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusTrigger:
    """`cell` goes from 0 to another value (or, with `counter`, changes) when a part is there.

    `serve`: the PLC writes into our own server; otherwise we ask the PLC every `poll_s`. `part` and `recipe` hold what
    travels with the trigger; into `ack` we write what we have seen.
    """

    host: str
    port: int
    cell: Cells
    serve: bool = False
    counter: bool = False
    part: Cells | None = None
    recipe: Cells | None = None
    ack: Cells | None = None
    unit: int = 1
    poll_s: float = 0.005
    timeout_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GpioTrigger:
    """An edge on one line of a GPIO chip."""

    chip: str
    line: int
    falling: bool = False
    debounce_us: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """The unix socket NAME.sock in the runtime directory: a trigger or a signal."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModbusSignal:
    """Holding registers from `start` on, a block for each camera (docs/line.md). `serve`: in our own server."""

    host: str
    port: int
    table: Table
    start: int
    serve: bool = False
    unit: int = 1
    timeout_s: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GpioSignal:
    """Output lines by role: at least `pass`. A line that is not named is not used."""

    chip: str
    lines: Mapping[str, int]
    active_low: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpcUaSignal:
    """Nodes of an OPC UA server. `node` is a node id in which `*` stands for verdict, sequence, and so on."""

    url: str
    node: str
    timeout_s: float = 2.0


T = TypeVar("T")
TriggerAddress = MqttTrigger | ModbusTrigger | GpioTrigger | Socket
SignalAddress = ModbusSignal | GpioSignal | OpcUaSignal | Socket
GPIO_ROLES = ("pass", "fail", "hold", "ready", "strobe", "heartbeat")


class _Options:
    """The query of an address, taken out one by one; what is left in the end is unknown."""

    def __init__(self, query: str) -> None:
        pairs = parse_qsl(query, keep_blank_values=True)
        self._left = dict(pairs)
        self._known: list[str] = []
        if len(self._left) != len(pairs):
            raise ConfigError("an option is given twice")

    def number(self, name: str, default: int, least: int, most: int) -> int:
        value = self._take(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
            raise ConfigError(f"option {name} is {value!r}, expected a number from {least} to {most}")
        return int(value)

    def optional_number(self, name: str, most: int) -> int | None:
        given = name in self._left
        number = self.number(name, 0, 0, most)
        return number if given else None

    def word(self, name: str, *choices: str) -> str:
        """One of the choices; the first where nothing is said."""
        value = self._take(name)
        if value is not None and value not in choices:
            raise ConfigError(f"option {name} is {value!r}, expected {' or '.join(choices)}")
        return value or choices[0]

    def text(self, name: str) -> str | None:
        return self._take(name)

    def cells(self, name: str, *, written: bool = False) -> Cells | None:
        """Where a text or number lies (`holding/20:8`, `holding/20:2n`), or one cell that we write."""
        value = self._take(name)
        return None if value is None else _cells(name, value, written=written)

    def finish(self) -> None:
        for name in self._left:
            raise ConfigError(f"unknown option {name!r}, known are: {', '.join(sorted(self._known)) or 'none'}")

    def _take(self, name: str) -> str | None:
        self._known.append(name)
        return self._left.pop(name, None)


def _cells(name: str, value: str, *, written: bool) -> Cells:
    match = _CELLS.fullmatch(value)
    if match is None:
        form = "coil/N or holding/N" if written else "holding/N:COUNT or, for a number, holding/N:COUNTn"
        raise ConfigError(f"option {name} is {value!r}, expected {form}")
    table, number = Table(match[1]), match[4] == "n"
    cells = Cells(table=table, start=int(match[2]), count=int(match[3] or 1), number=number)
    most = MOST_NUMBER_REGISTERS if number else MOST_TEXT_REGISTERS
    if written and (not table.writable or cells.count != 1 or number):
        raise ConfigError(f"option {name} is {value!r}, expected one coil or holding register: coil/N or holding/N")
    if not written and table.of_bits:
        raise ConfigError(f"option {name} is {value!r}, expected registers: holding/N:COUNT or input/N:COUNT")
    if not 1 <= cells.count <= most or cells.stop > CELLS:
        raise ConfigError(f"option {name} is {value!r}, expected 1 to {most} registers below {CELLS}")
    return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme(Generic[T]):
    """How addresses of one kind are written, and what reads one: the text after the colon, and the options."""

    form: str
    read: Callable[[str, _Options], T]


def parse_trigger(text: str) -> TriggerAddress:
    """What asks for a picture.

    Raises:
        ConfigError: found, expected.
    """
    return _parse("trigger", text, TRIGGERS)


def parse_signal(text: str) -> SignalAddress:
    """Where verdicts go.

    Raises:
        ConfigError: found, expected.
    """
    return _parse("signal", text, SIGNALS)


def trigger_fault(text: str) -> str | None:
    """What is wrong with the address of a trigger, for a check that collects all errors; None when nothing is."""
    return _fault(parse_trigger, text)


def signal_fault(text: str) -> str | None:
    """What is wrong with the address of a signal; None when nothing is."""
    return _fault(parse_signal, text)


def _fault(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except ConfigError as error:
        return str(error)
    return None


def _parse(what: str, text: str, schemes: Mapping[str, Scheme[T]]) -> T:
    name, _, rest = text.partition(":")
    scheme = schemes.get(name)
    if scheme is None:
        forms = ", ".join(known.form for known in schemes.values())
        raise ConfigError(f"{what} {redact(text)!r}, expected one of: {forms}")
    target, _, query = rest.partition("?")
    try:
        options = _Options(query)
        address = scheme.read(target, options)
        options.finish()
    except ConfigError as error:
        raise ConfigError(f"{what} {redact(text)!r}: {error}; the form is {scheme.form}") from None
    return address


def _mqtt(target: str, _options: _Options) -> MqttTrigger:
    if target:
        raise ConfigError(f"{target!r} stands behind mqtt, expected nothing")
    return MqttTrigger()


def _modbus_trigger(target: str, options: _Options) -> ModbusTrigger:
    host, port, table, start = _modbus(target, MODBUS_PORT)
    return replace(
        _asked(host, port, Cells(table=table, start=start), options),
        unit=options.number("unit", 1, 0, 255),
        poll_s=options.number("poll_ms", 5, 1, 10_000) / 1e3,
        timeout_s=options.number("timeout_ms", 500, 10, 10_000) / 1e3,
    )


def _modbus_server_trigger(target: str, options: _Options) -> ModbusTrigger:
    host, port, table, start = _modbus(target, MODBUS_SERVER_PORT)
    if not table.writable:
        raise ConfigError(f"{table.value}/{start} cannot be written by the PLC, expected coil/N or holding/N")
    return replace(_asked(host, port, Cells(table=table, start=start), options), serve=True)


def _asked(host: str, port: int, cell: Cells, options: _Options) -> ModbusTrigger:
    counter = options.word("mode", "edge", "counter") == "counter"
    if counter and cell.table.of_bits:
        raise ConfigError(f"mode=counter needs a register, {cell} is one bit")
    return ModbusTrigger(
        host=host,
        port=port,
        cell=cell,
        counter=counter,
        part=options.cells("part"),
        recipe=options.cells("recipe"),
        ack=options.cells("ack", written=True),
    )


def _modbus_signal(target: str, options: _Options) -> ModbusSignal:
    host, port, table, start = _modbus(target, MODBUS_PORT)
    if table is not Table.HOLDING:
        raise ConfigError(f"{table.value}/{start}, a verdict is written into holding/N")
    _check_room(start)
    return ModbusSignal(
        host=host,
        port=port,
        table=table,
        start=start,
        unit=options.number("unit", 1, 0, 255),
        timeout_s=options.number("timeout_ms", 500, 10, 10_000) / 1e3,
    )


def _modbus_server_signal(target: str, _options: _Options) -> ModbusSignal:
    host, port, table, start = _modbus(target, MODBUS_SERVER_PORT)
    if table.of_bits:
        raise ConfigError(f"{table.value}/{start}, a verdict stands in holding/N or input/N")
    _check_room(start)
    return ModbusSignal(host=host, port=port, table=table, start=start, serve=True)


def _check_room(start: int) -> None:
    if start > LAST_BLOCK:
        raise ConfigError(f"register {start}, expected 0 to {LAST_BLOCK}: the blocks of 64 cameras must fit")


def _modbus(target: str, default_port: int) -> tuple[str, int, Table, int]:
    match = _MODBUS.fullmatch(target)
    if match is None:
        raise ConfigError(f"{target!r} is no //HOST[:PORT]/TABLE/N")
    start = int(match[4])
    if start >= CELLS:
        raise ConfigError(f"{match[3]}/{start}, cells are numbered from 0 to {CELLS - 1}")
    return match[1], _port(match[2], default_port), Table(match[3]), start


def _port(text: str | None, default: int) -> int:
    port = default if text is None else int(text)
    if not 0 < port < 65_536:
        raise ConfigError(f"port {port}, expected 1 to 65535")
    return port


def _gpio_trigger(target: str, options: _Options) -> GpioTrigger:
    match = _GPIO_TRIGGER.fullmatch(target)
    if match is None:
        raise ConfigError(f"{target!r} is no chip and line, such as /dev/gpiochip0/17")
    return GpioTrigger(
        chip=match[1],
        line=int(match[2]),
        falling=options.word("edge", "rising", "falling") == "falling",
        debounce_us=options.number("debounce_us", 500, 0, 1_000_000),
    )


def _gpio_signal(target: str, options: _Options) -> GpioSignal:
    if _GPIO_CHIP.fullmatch(target) is None:
        raise ConfigError(f"{target!r} is no chip, such as /dev/gpiochip0")
    asked = {role: options.optional_number(role, 9999) for role in GPIO_ROLES}
    lines = {role: line for role, line in asked.items() if line is not None}
    if "pass" not in lines:
        raise ConfigError("option pass is missing: the line that says that a part may go on")
    if len(set(lines.values())) != len(lines):
        raise ConfigError("one line has two roles")
    return GpioSignal(chip=target, lines=lines, active_low=options.word("active", "high", "low") == "low")


def _socket(target: str, _options: _Options) -> Socket:
    if _NAME.fullmatch(target) is None:
        raise ConfigError(f"{target!r}, expected a name of 1 to 32 of a-z, 0-9 and -")
    return Socket(name=target)


def _opcua(target: str, options: _Options) -> OpcUaSignal:
    url = f"opc.tcp:{target}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or OPCUA_PORT
    except ValueError:
        raise ConfigError("it is no URL") from None
    if not target.startswith("//") or not host:
        raise ConfigError("it names no host")
    if parts.username is not None:
        raise ConfigError("write the user as username and password beside it")
    node = options.text("node")
    if node is None or node.count("*") != 1 or not re.match(r"(ns=\d+;)?[isgb]=", node):
        raise ConfigError(f"option node is {node!r}, expected a node id in which * stands for verdict, sequence, ...")
    bracketed = f"[{host}]" if ":" in host else host
    return OpcUaSignal(
        url=f"opc.tcp://{bracketed}:{port}{parts.path}",
        node=node,
        timeout_s=options.number("timeout_ms", 2000, 100, 60_000) / 1e3,
    )


_MORE = "[?part=holding/N:COUNT&recipe=holding/N:COUNT&ack=coil/N&mode=edge|counter"
TRIGGERS: Mapping[str, Scheme[TriggerAddress]] = {
    "mqtt": Scheme(form="mqtt", read=_mqtt),
    "modbus": Scheme(form=f"modbus://HOST[:PORT]/TABLE/N{_MORE}&unit=1&poll_ms=5]", read=_modbus_trigger),
    "modbus-server": Scheme(form=f"modbus-server://ADDRESS[:PORT]/TABLE/N{_MORE}]", read=_modbus_server_trigger),
    "gpio": Scheme(form="gpio:/dev/gpiochip0/LINE[?edge=rising|falling&debounce_us=500]", read=_gpio_trigger),
    "socket": Scheme(form="socket:NAME", read=_socket),
}
SIGNALS: Mapping[str, Scheme[SignalAddress]] = {
    "modbus": Scheme(form="modbus://HOST[:PORT]/holding/N[?unit=1&timeout_ms=500]", read=_modbus_signal),
    "modbus-server": Scheme(form="modbus-server://ADDRESS[:PORT]/holding|input/N", read=_modbus_server_signal),
    "gpio": Scheme(
        form="gpio:/dev/gpiochip0?pass=LINE[&fail=LINE&hold=LINE&ready=LINE&strobe=LINE&heartbeat=LINE&active=low]",
        read=_gpio_signal,
    ),
    "socket": Scheme(form="socket:NAME", read=_socket),
    "opc.tcp": Scheme(form="opc.tcp://HOST[:PORT][/PATH]?node=ns=2;s=NAME.*", read=_opcua),
}
