"""Modbus TCP as bytes, held against pymodbus, which we share no code with; and the laws of any wire format."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as registers

from edge_agent.errors import LineError
from edge_agent.line.bank import Bank, BankSession
from edge_agent.line.modbus import (
    HEADER_BYTES,
    Cells,
    ExceptionCode,
    ModbusRefusalError,
    Request,
    Table,
    answer,
    check_written,
    exception,
    frame,
    parse_header,
    parse_request,
    read_answer,
    read_request,
    registers_number,
    registers_text,
    text_registers,
    write_request,
)
from tests.fakes.clock import FakeClock

THEIR_READ = {
    Table.COIL: (bits.ReadCoilsRequest, bits.ReadCoilsResponse),
    Table.DISCRETE: (bits.ReadDiscreteInputsRequest, bits.ReadDiscreteInputsResponse),
    Table.HOLDING: (registers.ReadHoldingRegistersRequest, registers.ReadHoldingRegistersResponse),
    Table.INPUT: (registers.ReadInputRegistersRequest, registers.ReadInputRegistersResponse),
}
THEIR_WRITE = {
    Table.COIL: (bits.WriteMultipleCoilsRequest, bits.WriteMultipleCoilsResponse),
    Table.HOLDING: (registers.WriteMultipleRegistersRequest, registers.WriteMultipleRegistersResponse),
}


def theirs(pdu):
    return bytes((pdu.function_code,)) + pdu.encode()


@st.composite
def cells(draw, tables=tuple(Table), most=100):
    table = draw(st.sampled_from(tables))
    count = draw(st.integers(1, most))
    return Cells(table=table, start=draw(st.integers(0, 65_536 - count)), count=count)


def values_of(draw, some):
    one = st.integers(0, 1) if some.table.of_bits else st.integers(0, 65_535)
    return tuple(draw(st.lists(one, min_size=some.count, max_size=some.count)))


@settings(deadline=None)
@given(st.data())
def test_reading_says_on_the_wire_what_pymodbus_says(data):
    some = data.draw(cells())
    values = values_of(data.draw, some)
    their_request, their_response = THEIR_READ[some.table]

    assert read_request(some) == theirs(their_request(address=some.start, count=some.count))
    ours = {"bits": [bool(v) for v in values]} if some.table.of_bits else {"registers": list(values)}
    told = theirs(their_response(**ours))
    assert answer(Request(cells=some), values) == told
    assert read_answer(some, told) == values


@settings(deadline=None)
@given(st.data())
def test_writing_says_on_the_wire_what_pymodbus_says(data):
    some = data.draw(cells(tables=tuple(THEIR_WRITE)))
    values = values_of(data.draw, some)
    their_request, their_response = THEIR_WRITE[some.table]
    ours = {"bits": [bool(v) for v in values]} if some.table.of_bits else {"registers": list(values)}

    assert write_request(some, values) == theirs(their_request(address=some.start, **ours))
    request = parse_request(write_request(some, values))
    assert request == Request(cells=some, values=values)
    told = theirs(their_response(address=some.start, count=some.count))
    assert answer(request, ()) == told
    check_written(some, told)


@settings(deadline=None)
@given(st.data())
def test_a_request_to_write_one_cell_is_answered_by_itself(data):
    some = data.draw(cells(tables=(Table.COIL, Table.HOLDING), most=1))
    (value,) = values_of(data.draw, some)
    pdu = theirs(
        bits.WriteSingleCoilRequest(address=some.start, bits=[bool(value)])
        if some.table is Table.COIL
        else registers.WriteSingleRegisterRequest(address=some.start, registers=[value])
    )

    request = parse_request(pdu)

    assert (request.cells, request.values) == (some, (value,))
    assert answer(request, ()) == pdu


@settings(deadline=None)
@given(st.data())
def test_every_prefix_of_an_answer_and_every_longer_one_is_refused(data):
    some = data.draw(cells(most=40))
    told = answer(Request(cells=some), values_of(data.draw, some))
    for end in range(len(told)):
        with pytest.raises(LineError):
            read_answer(some, told[:end])
    with pytest.raises(LineError):
        read_answer(some, told + b"\0")


@settings(deadline=None)
@given(cells(), st.binary(min_size=0, max_size=20))
def test_whatever_is_answered_is_values_or_a_line_error(some, content):
    with contextlib.suppress(LineError):
        assert len(read_answer(some, content)) == some.count


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=260))
def test_any_request_is_understood_or_answered_with_an_exception(content):
    found = parse_request(content)
    assert isinstance(found, (Request, ExceptionCode))
    if isinstance(found, Request):
        assert found.cells.stop <= 65_536


def test_an_exception_names_its_code_in_words():
    some = Cells(table=Table.HOLDING, start=5)
    with pytest.raises(ModbusRefusalError, match=r"reading holding/5: refused with exception 2 \(illegal address\)"):
        read_answer(some, exception(3, ExceptionCode.ILLEGAL_ADDRESS))
    with pytest.raises(ModbusRefusalError, match=r"exception 77 \(unknown\)"):
        read_answer(some, bytes((0x83, 77)))


@pytest.mark.parametrize(
    "content", [b"HTTP/1.1 400", struct.pack(">HHHB", 1, 0, 300, 1), struct.pack(">HHHB", 1, 0, 1, 1)]
)
def test_a_header_of_something_else_is_not_taken_for_modbus(content):
    with pytest.raises(LineError, match="not Modbus TCP"):
        parse_header(content)


@settings(deadline=None)
@given(st.data())
def test_requests_are_answered_alike_in_whatever_pieces_they_come(data):
    bank = Bank(FakeClock())
    bank.declare(Cells(table=Table.HOLDING, start=0, count=100), writable=True)
    some = Cells(table=Table.HOLDING, start=10, count=3)
    stream = frame(7, 1, write_request(some, (1, 2, 3))) + frame(8, 9, read_request(some)) + frame(9, 1, b"\x2b\x0e")
    whole = BankSession(bank).receive(stream)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1))))
    session = BankSession(bank)

    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert b"".join(session.receive(piece) for piece in pieces) == whole
    assert whole.endswith(frame(9, 1, exception(0x2B, ExceptionCode.ILLEGAL_FUNCTION)))
    assert whole[HEADER_BYTES + 5 :].startswith(frame(8, 9, answer(Request(cells=some), (1, 2, 3))))


def test_cells_that_nobody_declared_do_not_exist_and_those_of_ours_cannot_be_written():
    bank = Bank(FakeClock())
    bank.declare(Cells(table=Table.HOLDING, start=0, count=4), writable=False)
    refused = exception(16, ExceptionCode.ILLEGAL_ADDRESS)

    assert bank.respond(write_request(Cells(table=Table.HOLDING, start=0), (1,))) == refused
    assert bank.respond(read_request(Cells(table=Table.HOLDING, start=2, count=3)))[0] == 0x83
    assert bank.respond(read_request(Cells(table=Table.COIL, start=0)))[0] == 0x81
    assert bank.read(Cells(table=Table.HOLDING, start=0, count=4)) == (0, 0, 0, 0)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40), st.integers(1, 16))
def test_text_comes_back_out_of_registers_as_far_as_they_hold_it(text, count):
    assert registers_text(text_registers(text, count)) == text[-2 * count :]


def test_registers_that_hold_no_text_are_refused_and_empty_ones_are_no_text():
    with pytest.raises(LineError, match="expected printable ASCII"):
        registers_text((0x0102,))
    assert registers_text((0, 0x4142)) is None
    assert registers_number((1, 2)) == 65_538
