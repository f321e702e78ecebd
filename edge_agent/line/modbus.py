"""Modbus TCP as bytes: requests, answers, and the text and numbers that registers hold. Pure; no socket in here.

    request:  MBAP header (transaction, protocol 0, length, unit) + function + data
    answer:   the same header + function + data, or function | 0x80 + exception code

Source: MODBUS Application Protocol Specification V1.1b3 and MODBUS Messaging on TCP/IP V1.0b (modbus.org). Addresses
are those on the wire, from 0: `holding/100` is what some PLCs call 40101.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.errors import LineError

HEADER = struct.Struct(">HHHB")
HEADER_BYTES = HEADER.size
# A PDU has at most 253 bytes (specification, section 4.1); the length field counts it and the unit.
MOST_LENGTH = 254
MOST_BITS_READ, MOST_REGISTERS_READ = 2000, 125
MOST_BITS_WRITTEN, MOST_REGISTERS_WRITTEN = 1968, 123
CELLS = 65_536


class Table(str, enum.Enum):
    """The four tables of a Modbus device. The line may write coils and holding registers, and read all."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def of_bits(self) -> bool:
        return self in (Table.COIL, Table.DISCRETE)

    @property
    def writable(self) -> bool:
        return self in (Table.COIL, Table.HOLDING)

    @property
    def most_read(self) -> int:
        """How many cells one request may read."""
        return MOST_BITS_READ if self.of_bits else MOST_REGISTERS_READ


READ_FUNCTION = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
WRITE_ONE_FUNCTION = {Table.COIL: 5, Table.HOLDING: 6}
WRITE_FUNCTION = {Table.COIL: 15, Table.HOLDING: 16}
READ_TABLE = {code: table for table, code in READ_FUNCTION.items()}
WRITE_ONE_TABLE = {code: table for table, code in WRITE_ONE_FUNCTION.items()}
WRITE_TABLE = {code: table for table, code in WRITE_FUNCTION.items()}
_ON, _OFF = 0xFF00, 0x0000  # the two values of function 5


class ExceptionCode(enum.IntEnum):
    """Why a device refuses (specification, section 7)."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    DEVICE_BUSY = 6
    MEMORY_PARITY = 8
    NO_PATH = 10
    NO_ANSWER = 11


class ModbusRefusalError(LineError):
    """The device answered with an exception: the connection is sound, the request is not."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """`count` cells of a table from `start` on. `number`: registers that hold one unsigned number, not text."""

    table: Table
    start: int
    count: int = 1
    number: bool = False

    @property
    def stop(self) -> int:
        return self.start + self.count

    def __str__(self) -> str:
        return f"{self.table.value}/{self.start}" + (f":{self.count}" if self.count != 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The MBAP header. `length_bytes` is what follows it: the PDU."""

    transaction: int
    unit: int
    length_bytes: int


def parse_header(content: bytes) -> Header:
    """The header in the first seven bytes.

    Raises:
        LineError: these are not the first bytes of a Modbus TCP message.
    """
    transaction, protocol, length, unit = HEADER.unpack(content[:HEADER_BYTES])
    if protocol != 0 or not 2 <= length <= MOST_LENGTH:
        raise LineError(
            f"not Modbus TCP: the header is {content[:HEADER_BYTES].hex(' ')}, expected protocol 0 and a length of "
            f"2 to {MOST_LENGTH}"
        )
    return Header(transaction=transaction, unit=unit, length_bytes=length - 1)


def frame(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A PDU with its header."""
    return HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def read_request(cells: Cells) -> bytes:
    """The PDU that asks for `cells`; at most `cells.table.most_read` of them."""
    return struct.pack(">BHH", READ_FUNCTION[cells.table], cells.start, cells.count)


def write_request(cells: Cells, values: Sequence[int]) -> bytes:
    """The PDU that writes `values` into `cells` (coils or holding registers), all of them at once."""
    body = _pack_bits(values) if cells.table.of_bits else struct.pack(f">{cells.count}H", *values)
    return struct.pack(">BHHB", WRITE_FUNCTION[cells.table], cells.start, cells.count, len(body)) + body


def read_answer(cells: Cells, pdu: bytes) -> tuple[int, ...]:
    """The values of `cells`, bits as 0 and 1.

    Raises:
        ModbusRefusalError: the device refused.
        LineError: this answers something else.
    """
    _check_function(READ_FUNCTION[cells.table], pdu, f"reading {cells}")
    size = (cells.count + 7) // 8 if cells.table.of_bits else cells.count * 2
    if len(pdu) != size + 2 or pdu[1] != size:
        raise LineError(f"reading {cells}: {len(pdu) - 2} bytes of values came, expected {size}")
    if cells.table.of_bits:
        return unpack_bits(pdu[2:], cells.count)
    return struct.unpack(f">{cells.count}H", pdu[2:])


def check_written(cells: Cells, pdu: bytes) -> None:
    """Whether this answer says that `cells` were written.

    Raises:
        ModbusRefusalError: the device refused.
        LineError: this answers something else.
    """
    function = WRITE_FUNCTION[cells.table]
    _check_function(function, pdu, f"writing {cells}")
    if pdu != struct.pack(">BHH", function, cells.start, cells.count):
        raise LineError(f"writing {cells}: the answer {pdu.hex(' ')} is about other cells")


def _check_function(function: int, pdu: bytes, doing: str) -> None:
    if len(pdu) == 2 and pdu[0] == function | 0x80:
        code = pdu[1]
        known = {value.value: value.name.lower().replace("_", " ") for value in ExceptionCode}
        raise ModbusRefusalError(f"{doing}: refused with exception {code} ({known.get(code, 'unknown')})", code)
    if not pdu or pdu[0] != function:
        raise LineError(f"{doing}: the answer is of function {pdu[0] if pdu else 'none'}, expected {function}")


def exception(function: int, code: ExceptionCode) -> bytes:
    """The PDU that refuses a request."""
    return bytes((function | 0x80 if function < 0x80 else function, code))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client wants of a server: to read `cells`, or to write `values` into them (None: read).

    `single`: asked for by one of the functions that write one cell, whose answer repeats the request.
    """

    cells: Cells
    values: tuple[int, ...] | None = None
    single: bool = False


def parse_request(pdu: bytes) -> Request | ExceptionCode:
    """The request in a PDU, or the exception that answers it."""
    function = pdu[0]
    if function in READ_TABLE:
        return _parse_read(READ_TABLE[function], pdu)
    if function in WRITE_ONE_TABLE:
        return _parse_write_one(WRITE_ONE_TABLE[function], pdu)
    if function in WRITE_TABLE:
        return _parse_write(WRITE_TABLE[function], pdu)
    return ExceptionCode.ILLEGAL_FUNCTION


def _parse_read(table: Table, pdu: bytes) -> Request | ExceptionCode:
    if len(pdu) != 5:
        return ExceptionCode.ILLEGAL_VALUE
    start, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= table.most_read:
        return ExceptionCode.ILLEGAL_VALUE
    if start + count > CELLS:
        return ExceptionCode.ILLEGAL_ADDRESS
    return Request(cells=Cells(table=table, start=start, count=count))


def _parse_write_one(table: Table, pdu: bytes) -> Request | ExceptionCode:
    if len(pdu) != 5:
        return ExceptionCode.ILLEGAL_VALUE
    start, value = struct.unpack(">HH", pdu[1:])
    if table.of_bits:
        if value not in (_ON, _OFF):
            return ExceptionCode.ILLEGAL_VALUE
        value = int(value == _ON)
    return Request(cells=Cells(table=table, start=start), values=(value,), single=True)


def _parse_write(table: Table, pdu: bytes) -> Request | ExceptionCode:
    if len(pdu) < 6:
        return ExceptionCode.ILLEGAL_VALUE
    start, count, size = struct.unpack(">HHB", pdu[1:6])
    most = MOST_BITS_WRITTEN if table.of_bits else MOST_REGISTERS_WRITTEN
    wanted = (count + 7) // 8 if table.of_bits else count * 2
    if not 1 <= count <= most or size != wanted or len(pdu) != 6 + size:
        return ExceptionCode.ILLEGAL_VALUE
    if start + count > CELLS:
        return ExceptionCode.ILLEGAL_ADDRESS
    values = unpack_bits(pdu[6:], count) if table.of_bits else struct.unpack(f">{count}H", pdu[6:])
    return Request(cells=Cells(table=table, start=start, count=count), values=values)


def answer(request: Request, values: Sequence[int]) -> bytes:
    """The PDU that answers a request; `values` are those read."""
    cells = request.cells
    if request.values is None:
        body = _pack_bits(values) if cells.table.of_bits else struct.pack(f">{cells.count}H", *values)
        return bytes((READ_FUNCTION[cells.table], len(body))) + body
    if request.single:
        value = request.values[0]
        told = (_ON if value else _OFF) if cells.table.of_bits else value
        return struct.pack(">BHH", WRITE_ONE_FUNCTION[cells.table], cells.start, told)
    return struct.pack(">BHH", WRITE_FUNCTION[cells.table], cells.start, cells.count)


def _pack_bits(values: Sequence[int]) -> bytes:
    packed = bytearray((len(values) + 7) // 8)
    for index, value in enumerate(values):
        packed[index // 8] |= (1 if value else 0) << index % 8
    return bytes(packed)


def unpack_bits(content: bytes, count: int) -> tuple[int, ...]:
    """The first `count` bits, lowest bit of each byte first."""
    return tuple(content[index // 8] >> index % 8 & 1 for index in range(count))


def text_registers(text: str, count: int) -> tuple[int, ...]:
    """Text in `count` registers: ASCII, two characters each, the first in the high byte, NUL behind it.

    Of a longer text the last characters are kept: numbers count up at the end.
    """
    content = text.encode("ascii", "replace")[-2 * count :].ljust(2 * count, b"\0")
    return struct.unpack(f">{count}H", content)


def registers_text(values: Sequence[int]) -> str | None:
    """The text that registers hold, up to its first NUL, without blanks around it; None when they hold none.

    Raises:
        LineError: something that is not printable ASCII stands there.
    """
    content = struct.pack(f">{len(values)}H", *values).split(b"\0", 1)[0].strip()
    if any(not 0x20 <= byte < 0x7F for byte in content):
        raise LineError(f"the registers hold {content.hex(' ')}, expected printable ASCII, ended by NUL")
    return content.decode("ascii") or None


def registers_number(values: Sequence[int]) -> int:
    """The unsigned number that registers hold, the first one highest."""
    return int.from_bytes(struct.pack(f">{len(values)}H", *values), "big")
