"""The checks of the line: a PLC is really asked, nothing is written, and the running daemon is not disturbed."""

import json
import socket

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.settings import loads
from edge_agent.processes.checks import line
from edge_agent.processes.checks.finding import Context, Level
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.plc import Plc, free_port

TEXT = """\
version: 1
site: {enterprise: acme, plant: lyon, gateway: gw-07}
mqtt: {url: 'mqtt://127.0.0.1:1'}
storage: {state_dir: state, runtime_dir: run, min_free_bytes: 0}
"""


@pytest.fixture(scope="module")
def plc():
    with Plc() as plc:
        yield plc


@pytest.fixture
def context(tmp_path):
    def make(trigger=None, signal=None, **keys):
        camera = {"source": "synthetic:good"} | ({"trigger": trigger} if trigger else {})
        signals = {"plc": {"to": signal, **keys}} if signal else {}
        text = f"{TEXT}cameras: {json.dumps({'top': camera})}\nsignals: {json.dumps(signals)}\n"
        file = tmp_path / "agent.yaml"
        settings = loads(text.encode(), file=file, environment={})
        return Context(
            config_file=file,
            settings=settings,
            faults=(),
            root=tmp_path,
            machine="x86_64",
            environment={},
            clock=SystemClock(),
            frames=1,
        )

    return make


def trigger(context, text):
    (finding,) = line.triggers(context(trigger=text))
    return finding.level, finding.text


def signal(context, text, **keys):
    (finding,) = line.signals(context(signal=text, **keys))
    assert finding.level is Level.OK or finding.advice
    return finding.level, finding.text


def test_a_camera_without_a_trigger_and_a_gateway_without_a_signal_have_nothing_to_check(context):
    assert line.triggers(context()) == line.signals(context()) == ()


def test_a_trigger_is_read_and_what_stands_there_is_shown(context, plc):
    plc.write_text(20, 4, "A-17")
    address = f"modbus://127.0.0.1:{plc.port}/coil/0?part=holding/20:4&ack=coil/1"

    assert trigger(context, address) == (Level.OK, "coil/0 is 0, part 'A-17'")


@pytest.mark.parametrize(
    ("rest", "words"), [("coil/9000", "illegal address"), ("coil/0?part=holding/9000:2", "illegal address")]
)
def test_a_cell_that_the_plc_does_not_have_is_named(context, plc, rest, words):
    level, text = trigger(context, f"modbus://127.0.0.1:{plc.port}/{rest}")

    assert level is Level.ERROR
    assert words in text
    assert "9000" in text


def test_the_room_for_a_verdict_is_looked_for_and_not_written(context, plc):
    assert signal(context, f"modbus://127.0.0.1:{plc.port}/holding/300") == (
        Level.OK,
        "registers 300 to 323 are there",
    )
    assert plc.read(300, 24) == [0] * 24
    assert signal(context, f"modbus://127.0.0.1:{plc.port}/holding/390")[0] is Level.ERROR


def test_nobody_there_is_an_error_with_advice(context):
    port = free_port()
    assert trigger(context, f"modbus://127.0.0.1:{port}/coil/0")[0] is Level.ERROR
    assert "no connection" in signal(context, f"modbus://127.0.0.1:{port}/holding/0")[1]
    assert "opc.tcp" in signal(context, f"opc.tcp://127.0.0.1:{port}?node=i=*")[1]


def test_a_port_of_ours_that_another_program_has_is_an_error(context):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert trigger(context, f"modbus-server://127.0.0.1:{port}/coil/0")[0] is Level.ERROR
    assert signal(context, f"modbus-server://127.0.0.1:{port}/holding/0")[0] is Level.OK


def test_the_nodes_of_an_opcua_server_are_looked_for(context):
    with OpcUaServer() as server:
        address = f"{server.url}?node=ns=2;s=words.*&timeout_ms=5000"
        assert signal(context, address) == (Level.OK, f"{server.url}: 6 nodes are there")
        level, text = signal(context, address.replace("words", "wrong"))

    assert level is Level.ERROR
    assert "wrong.verdict" in text


def test_what_needs_no_partner_is_said_to_be_ready(context):
    assert trigger(context, "mqtt")[0] is Level.OK
    assert "line.sock" in trigger(context, "socket:line")[1]
    assert "line.sock" in signal(context, "socket:line")[1]


def test_a_gpio_chip_that_is_not_there_is_an_error(context):
    assert "No such file" in trigger(context, "gpio:/dev/gpiochip99/1")[1]
    assert "No such file" in signal(context, "gpio:/dev/gpiochip99?pass=1")[1]
