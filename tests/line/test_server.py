"""Our own servers, Modbus TCP and the unix socket, against clients we share no code with."""

import contextlib
import json
import socket

import pytest
from pymodbus.client import ModbusTcpClient

from edge_agent.clock import SystemClock
from edge_agent.errors import LineError
from edge_agent.line.addresses import parse_trigger
from edge_agent.line.exchange import Exchange
from edge_agent.line.modbus import Cells, Table
from edge_agent.line.modbus_ports import BankPort
from edge_agent.line.signals import LineEvent, blocks, first_output, moved, told
from edge_agent.line.sockets import MOST_LINE_BYTES, SocketPort
from edge_agent.line.stream_server import MOST_CLIENTS
from edge_agent.line.triggers import ServedTrigger, SocketTrigger, TriggerLine
from edge_agent.records import Verdict
from tests.fakes.plc import block_of, free_port
from tests.line.parts import Notes, inspection
from tests.line.test_modbus_client import Gate
from tests.waiting import until


@pytest.fixture
def exchange(tmp_path):
    """An exchange whose user `me` is gone with the test; its notes stand beside it."""
    exchange = Exchange(tmp_path, SystemClock())
    yield exchange
    exchange.leave("me")


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def server(exchange, notes):
    """Our Modbus server, listening: (server, port)."""
    port = free_port()
    server = exchange.modbus("127.0.0.1", port, "me", notes)
    until(lambda: server.fault is None)
    return server, port


@pytest.fixture
def plc(server):
    """A PLC that is the client: pymodbus."""
    with ModbusTcpClient("127.0.0.1", port=server[1], timeout=2, retries=0) as client:
        yield client


def line_of(gate, notes):
    return TriggerLine(camera="top", gate=gate, clock=SystemClock(), note=notes)


def test_a_plc_reads_the_block_that_was_put_for_it(server, plc):
    port = BankPort(server[0], blocks(Table.INPUT, 100, ("top",)))
    with pytest.raises(LineError, match="no PLC has asked since we started"):
        port.write({"top": first_output(Verdict.FAIL)})
    first = block_of(plc.read_input_registers(100, count=24).registers)
    port.write({"top": told(moved(first_output(Verdict.HOLD), LineEvent.TURNING), inspection(part="A-17"), 1)})
    then = block_of(plc.read_input_registers(100, count=24).registers)

    assert (first.state, first.verdict, first.sequence) == (1, 2, 0)
    assert (then.state, then.verdict, then.sequence, then.part) == (2, 1, 1, "A-17")


def test_a_plc_cannot_write_into_a_block_nor_read_beyond_it(server, plc):
    BankPort(server[0], blocks(Table.HOLDING, 100, ("top",)))

    assert plc.write_register(103, 1).exception_code == 2
    assert plc.read_holding_registers(99, count=24).exception_code == 2
    assert plc.read_holding_registers(103, count=1).registers == [0]


def test_a_plc_that_writes_its_trigger_is_heard_at_once_with_part_and_recipe_and_acknowledged(server, plc, notes):
    address = parse_trigger("modbus-server://h/coil/0?part=holding/20:4&recipe=holding/30:2n&ack=coil/1")
    gate = Gate()
    trigger = ServedTrigger(address, server[0].bank, line_of(gate, notes))
    trigger.start()
    plc.write_registers(20, [0x4131, 0, 0, 0])
    plc.write_registers(30, [1, 2])
    plc.write_coil(0, True)

    assert gate.fired == [("A1", "65538")]
    assert plc.read_coils(1, count=1).bits[0]
    plc.write_coil(0, True)
    assert len(gate.fired) == 1
    plc.write_coil(0, False)
    assert not plc.read_coils(1, count=1).bits[0]
    trigger.close()
    plc.write_coil(0, True)
    assert len(gate.fired) == 1


def test_who_talks_nonsense_is_disconnected_and_the_others_notice_nothing(server, plc):
    server[0].bank.declare(Cells(table=Table.COIL, start=0), writable=True)
    assert plc.connect()
    with socket.create_connection(("127.0.0.1", server[1]), 5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    assert not plc.write_coil(0, True).isError()


def test_when_more_connect_than_a_line_has_the_most_silent_has_to_go_and_a_plc_that_asks_stays(server, plc):
    server[0].bank.declare(Cells(table=Table.COIL, start=0), writable=True)
    with contextlib.ExitStack() as stack:
        strangers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server[1]), 5)) for _ in range(MOST_CLIENTS - 1)
        ]
        assert plc.connect()
        for _ in range(3):
            assert not plc.write_coil(0, True).isError()
            strangers.append(stack.enter_context(socket.create_connection(("127.0.0.1", server[1]), 5)))
            assert not plc.write_coil(0, False).isError()

        assert [stranger.recv(1) for stranger in strangers[:3]] == [b""] * 3


def test_a_port_that_another_program_has_is_told_of_and_taken_when_it_is_free(exchange, notes):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = exchange.modbus("127.0.0.1", port, "me", notes)
        until(lambda: notes.active)
        assert f"modbus-server://127.0.0.1:{port}: cannot listen there" in notes.text
        with pytest.raises(LineError, match="cannot listen"):
            BankPort(server, blocks(Table.HOLDING, 0, ("top",))).write({"top": first_output(Verdict.HOLD)})
    until(lambda: not notes.active)
    socket.create_connection(("127.0.0.1", port), 5).close()


def test_two_users_share_a_server_and_it_closes_after_the_last(exchange, server, notes):
    assert exchange.modbus("127.0.0.1", server[1], "you", notes) is server[0]

    exchange.leave("me")
    socket.create_connection(("127.0.0.1", server[1]), 5).close()
    exchange.leave("you")

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server[1]), 5)


class Client:
    """A program of the line that talks JSON lines."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def ask(self, line):
        self._socket.sendall(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        return self.hear()

    def hear(self):
        line = self._file.readline()
        return json.loads(line) if line else None

    def close(self):
        self._file.close()
        self._socket.close()


@pytest.fixture
def hub(exchange, notes):
    hub = exchange.socket("line", "me", notes)
    until(lambda: hub.fault is None)
    return hub


@pytest.fixture
def client(hub):
    with contextlib.closing(Client(hub.path)) as client:
        yield client


def test_a_line_of_json_is_a_trigger_and_is_answered(hub, client, notes):
    gate = Gate()
    SocketTrigger(hub, line_of(gate, notes)).start()

    assert client.ask({"part": "A-17", "recipe": "lid"}) == {"ok": True}
    assert client.ask({}) == {"ok": True}
    assert gate.fired == [("A-17", "lid"), (None, None)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello\n", "not JSON"),
        (b"[" * 3000 + b"\n", "not JSON"),
        (b"[1]\n", "expected an object"),
        (b'{"prat": "A"}\n', "'prat' is not known, expected part, recipe, camera"),
        (b'{"part": 7}\n', "expected 1 to 64 printable characters"),
        (b'{"part": "a\\u0007"}\n', "expected 1 to 64 printable characters"),
        (b'{"camera": "side"}\n', "camera is 'side', those triggered through this socket are: top"),
    ],
)
def test_a_line_that_is_no_trigger_is_answered_with_the_reason_and_the_next_one_is_heard(
    hub, client, notes, line, words
):
    gate = Gate()
    SocketTrigger(hub, line_of(gate, notes)).start()

    answer = client.ask(line)

    assert not answer["ok"]
    assert words in answer["reason"]
    assert not gate.fired
    assert client.ask({"part": "A-17"}) == {"ok": True}


def test_a_line_without_an_end_is_disconnected(client):
    assert client.ask(b"x" * (MOST_LINE_BYTES + 1)) is None


def test_everybody_who_is_connected_hears_the_verdicts(hub, client):
    port = SocketPort(hub)
    output = told(moved(first_output(Verdict.HOLD), LineEvent.TURNING), inspection(part="A-17"), 4)
    with contextlib.closing(Client(hub.path)) as other:
        until(lambda: hub.clients == 2)
        port.write({"top": output})
        for listener in (client, other):
            heard = listener.hear()
            assert (heard["verdict"], heard["part"], heard["sequence"], heard["state"]) == (
                "PASS",
                "A-17",
                4,
                "RUNNING",
            )


def test_a_signal_that_nobody_hears_is_lost(hub):
    with pytest.raises(LineError, match="nobody listens"):
        SocketPort(hub).write({"top": first_output(Verdict.HOLD)})


def test_a_client_that_does_not_read_is_dropped_and_holds_nobody_up(hub, client):
    until(lambda: hub.clients == 1)
    output = first_output(Verdict.HOLD)

    def write_on():
        for _ in range(100_000):
            SocketPort(hub).write({"top": output})

    with pytest.raises(LineError, match="nobody listens"):
        write_on()
    until(lambda: hub.clients == 0)


def test_the_socket_is_for_our_user_and_group_and_replaces_one_that_was_left_behind(exchange, notes, tmp_path):
    left = tmp_path / "line.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    hub = exchange.socket("line", "me", notes)
    until(lambda: hub.fault is None)

    assert left.stat().st_mode & 0o777 == 0o660
    Client(left).close()


def test_a_socket_that_cannot_be_made_is_told_with_the_reason(exchange, notes, tmp_path):
    (tmp_path / "line.sock").mkdir()
    exchange.socket("line", "me", notes)
    until(lambda: notes.active)
    assert "the socket cannot be made" in notes.text
