"""Our Modbus client against a real server (pymodbus, in its own process), and against what is none."""

import contextlib
import struct

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import LineError
from edge_agent.line.addresses import parse_trigger
from edge_agent.line.modbus import Cells, ModbusRefusalError, Table, text_registers
from edge_agent.line.modbus_client import ModbusClient
from edge_agent.line.modbus_ports import ModbusPort
from edge_agent.line.signals import LineEvent, blocks, first_output, moved, told
from edge_agent.line.triggers import PolledTrigger, TriggerLine
from edge_agent.records import Verdict
from tests.fakes.plc import Plc, free_port
from tests.fakes.strange_server import SILENCE, StrangeServer
from tests.line.parts import Notes, inspection
from tests.waiting import until

REGISTERS = Cells(table=Table.HOLDING, start=20, count=3)


@pytest.fixture(scope="module")
def shared_plc():
    with Plc() as plc:
        yield plc


@pytest.fixture
def plc():
    with Plc() as plc:
        yield plc


def client_of(port, unit=1, timeout_s=0.3):
    return ModbusClient(host="127.0.0.1", port=port, unit=unit, timeout_s=timeout_s, clock=SystemClock())


@pytest.fixture
def client():
    with contextlib.ExitStack() as stack:

        def make(port, **keys):
            made = client_of(port, **keys)
            stack.callback(made.close)
            return made

        yield make


def test_what_we_write_a_real_server_holds_and_what_it_holds_we_read(client, shared_plc):
    ours = client(shared_plc.port)
    ours.write(REGISTERS, (1, 65_535, 7))
    ours.write(Cells(table=Table.COIL, start=9), (1,))

    assert shared_plc.read(20, 3) == [1, 65_535, 7]
    assert shared_plc.coil(9)
    shared_plc.write(20, [5, 6, 7])
    assert ours.read(REGISTERS) == (5, 6, 7)
    assert ours.read(Cells(table=Table.COIL, start=8, count=3)) == (0, 1, 0)


def test_a_refusal_is_told_in_words_and_the_connection_stays(client, shared_plc):
    ours = client(shared_plc.port)
    with pytest.raises(ModbusRefusalError, match=r"reading holding/60000: refused with exception 2"):
        ours.read(Cells(table=Table.HOLDING, start=60_000))
    assert len(ours.read(REGISTERS)) == 3


def test_nobody_there_is_told_with_the_address(client):
    port = free_port()
    with pytest.raises(LineError, match=f"modbus://127.0.0.1:{port}: no connection"):
        client(port).read(REGISTERS)


def test_a_plc_that_answers_nothing_is_told_within_its_time_and_read_again_when_it_goes_on(client, plc):
    ours = client(plc.port)
    ours.read(REGISTERS)
    plc.stop()
    with pytest.raises(LineError, match="no answer within 300 ms"):
        ours.read(REGISTERS)
    plc.go()
    assert len(until(lambda: reading(ours))) == 3


def test_a_plc_that_was_switched_off_is_read_again_when_it_is_back(client, plc):
    ours = client(plc.port)
    ours.read(REGISTERS)
    plc.kill()
    for _ in range(2):
        with pytest.raises(LineError, match=r"connection|closed"):
            ours.read(REGISTERS)
    plc.start()
    assert len(until(lambda: reading(ours))) == 3


def reading(client):
    with contextlib.suppress(LineError):
        return client.read(REGISTERS)
    return None


def header(request, length, *, unit=1, transaction=None):
    asked = struct.unpack(">H", request[:2])[0]
    return struct.pack(">HHHB", asked if transaction is None else transaction, 0, length, unit)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Modbus TCP"),
        (b"\xff" * 300, "not Modbus TCP"),
        (SILENCE, "no answer within"),
        (lambda r: header(r, 9)[:5], "no answer within"),  # a header that never ends
        (lambda r: header(r, 9) + b"\x03\x06\x00", "no answer within"),  # a body that never ends
        (lambda r: header(r, 5) + b"\x03\x02\x00\x01", "2 bytes of values came, expected 6"),
        (lambda r: header(r, 9, unit=7) + b"\x03\x06" + bytes(6), "unit 7 answers, unit 1 was asked"),
        (lambda r: header(r, 9, transaction=999) + b"\x03\x06" + bytes(6), "answer to request 999"),
        (lambda r: header(r, 9) + b"\x04\x06" + bytes(6), "the answer is of function 4, expected 3"),
        (lambda r: header(r, 3) + b"\x83\x0b", r"exception 11 \(no answer\)"),
    ],
)
def test_whatever_is_answered_instead_is_told_in_words_and_not_believed(client, answer, words):
    with StrangeServer(answer) as server, pytest.raises(LineError, match=words):
        client(server.port, timeout_s=0.1).read(REGISTERS)


def test_a_server_that_closes_at_once_is_told(client):
    with StrangeServer(lambda _: b"") as server:
        ours = client(server.port, timeout_s=0.1)
        with pytest.raises(LineError):
            ours.read(REGISTERS)


class Gate:
    """What a trigger line fires; remembers."""

    def __init__(self):
        self.fired, self.missed = [], []

    def fire(self, trigger):
        self.fired.append((trigger.part, trigger.recipe))

    def miss(self, trigger, why):
        self.missed.append(why)


@pytest.fixture
def watch():
    """Polls a PLC: (gate, notes)."""
    with contextlib.ExitStack() as stack:

        def make(port, rest="coil/0", timeout_ms=200):
            separator = "&" if "?" in rest else "?"
            text = f"modbus://127.0.0.1:{port}/{rest}{separator}timeout_ms={timeout_ms}"
            address, gate, notes = parse_trigger(text), Gate(), Notes()
            line = TriggerLine(camera="top", gate=gate, clock=SystemClock(), note=notes)
            trigger = PolledTrigger(address, client_of(port, timeout_s=address.timeout_s), line)
            trigger.start()
            stack.callback(trigger.close)
            return gate, notes

        yield make


def test_each_edge_fires_with_the_part_and_recipe_of_that_moment(watch, plc):
    gate, _ = watch(plc.port, "coil/0?part=holding/20:8&recipe=holding/30:1n&ack=coil/1")
    for number in range(3):
        plc.write_text(20, 8, f"A-{number}")
        plc.write(30, [100 + number])
        plc.coil(0, True)
        until(lambda: plc.coil(1))
        plc.coil(0, False)
        until(lambda: not plc.coil(1))
    assert gate.fired == [(f"A-{number}", str(100 + number)) for number in range(3)]


def test_a_counter_that_moved_while_the_plc_was_silent_tells_of_the_parts_that_were_missed(watch, plc):
    gate, notes = watch(plc.port, "holding/0?mode=counter&part=holding/1:4")
    until(lambda: notes.told)
    plc.write(0, [0, *text_registers("P1", 4)])
    plc.write(0, [1])
    until(lambda: gate.fired)
    plc.write(0, [4])
    until(lambda: len(gate.fired) == 2)
    assert gate.fired == [("P1", None), ("P1", None)]
    assert len(gate.missed) == 2


def test_a_plc_that_dies_and_returns_is_polled_again_and_the_loss_is_told_once_each(watch, plc):
    gate, notes = watch(plc.port)
    until(lambda: notes.told)
    plc.kill()
    until(lambda: notes.active)
    plc.start()
    until(lambda: not notes.active)
    plc.coil(0, True)
    until(lambda: gate.fired)
    assert gate.fired == [(None, None)]


def test_an_acknowledgement_that_could_not_be_written_is_written_after_the_next_look(watch):
    written = []

    def answer(request):
        if request[7] == 1:  # read coils: the trigger is set
            return header(request, 4) + b"\x01\x01\x01"
        written.append(request[7:])
        return b"?" if len(written) == 1 else header(request, 6) + request[7:12]

    with StrangeServer(answer) as server:
        gate, _ = watch(server.port, "coil/0?ack=coil/1", timeout_ms=50)
        until(lambda: len(written) == 2)
        until(lambda: gate.fired)

    assert len(gate.fired) == 1


def test_a_part_whose_name_is_no_text_is_still_a_part_and_a_person_is_told(watch, plc):
    gate, notes = watch(plc.port, "coil/0?part=holding/20:4")
    until(lambda: notes.told)
    plc.write(20, [0x0102, 0x0304])
    plc.coil(0, True)
    until(lambda: gate.fired)
    assert gate.fired == [(None, None)]
    assert any(active and "part or recipe cannot be read" in text for active, text in notes.told)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", SILENCE])
def test_a_trigger_at_what_is_no_plc_is_told_of_and_tried_for_ever(watch, answer):
    with StrangeServer(answer) as server:
        gate, notes = watch(server.port, timeout_ms=50)
        until(lambda: len(notes.told) >= 3)
        assert all(active for active, _ in notes.told)
        assert not gate.fired


def test_a_block_is_written_in_one_request(client):
    requests = []

    def answer(request):
        requests.append(request)
        return request[:5] + b"\x06" + request[6:12]

    with StrangeServer(answer) as server:
        port = ModbusPort(client(server.port), blocks(Table.HOLDING, 100, ("top", "side")))
        output = told(moved(first_output(Verdict.HOLD), LineEvent.TURNING), inspection(Verdict.FAIL, part="A-17"), 9)
        port.write({"side": output})

    assert len(requests) == 1
    assert struct.unpack(">BHHB", requests[0][7:13]) == (16, 124, 24, 48)


def test_a_real_server_shows_the_block_as_it_was_told(client, shared_plc):
    port = ModbusPort(client(shared_plc.port), blocks(Table.HOLDING, 100, ("top", "side")))
    output = told(moved(first_output(Verdict.HOLD), LineEvent.TURNING), inspection(Verdict.FAIL, part="A-17"), 9)
    port.write({"top": first_output(Verdict.HOLD), "side": output})

    assert (shared_plc.block(100).state, shared_plc.block(100).verdict) == (1, 3)
    side = shared_plc.block(124)
    assert (side.state, side.verdict, side.sequence, side.part, side.score) == (2, 2, 9, "A-17", 250)
