"""Verdicts as OPC UA nodes, against a real asyncua server in a process of its own."""

import contextlib

import pytest

from edge_agent.errors import LineError
from edge_agent.line.addresses import parse_signal
from edge_agent.line.login import Login
from edge_agent.line.opcua import OpcUaPort, uri_of
from edge_agent.line.signals import LineEvent, first_output, moved, told
from edge_agent.records import HoldReason, Verdict
from tests.fakes.opcua_server import PASSWORD, USER, OpcUaServer, certificate
from tests.fakes.plc import free_port
from tests.fakes.strange_server import StrangeServer
from tests.line.parts import inspection
from tests.waiting import until

RUNNING = moved(first_output(Verdict.HOLD), LineEvent.TURNING)
PASSED = told(RUNNING, inspection(Verdict.PASS, part="A-17"), 300)
HELD = told(RUNNING, inspection(Verdict.HOLD, part="A-18", reason=HoldReason.LATE), 301)


@pytest.fixture(scope="module")
def server():
    with OpcUaServer() as server:
        yield server


@pytest.fixture
def port():
    with contextlib.ExitStack() as stack:

        def make(url, login=None, *, group="words", timeout_ms=1000):
            made = OpcUaPort(parse_signal(f"{url}?node=ns=2;s={group}.*&timeout_ms={timeout_ms}"), login or Login())
            stack.callback(made.close)
            return made

        yield make


def attempt(port, output):
    with contextlib.suppress(LineError):
        port.write({"top": output})
        return True
    return False


def test_nodes_of_text_are_told_words(server, port):
    ours = port(server.url)
    ours.write({"top": PASSED})
    assert server.values("words") == {
        "verdict": "PASS",
        "sequence": 300,
        "heartbeat": 0,
        "state": "RUNNING",
        "reason": "",
        "part": "A-17",
    }
    ours.write({"top": HELD})
    assert (server.values("words")["verdict"], server.values("words")["reason"]) == ("HOLD", "late")


def test_nodes_of_numbers_are_told_codes(server, port):
    port(server.url, group="codes").write({"top": HELD})
    values = server.values("codes")

    assert (values["verdict"], values["sequence"], values["state"], values["reason"]) == (3, 301, 2, 14)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("partless", r"node ns=2;s=partless.part: .*BadNodeId"),
        ("boolean", r"node ns=2;s=boolean.verdict is Boolean, expected one of Byte, Int16"),
        ("byte", r"node ns=2;s=byte.sequence is Byte, expected one of Int32"),
    ],
)
def test_a_node_that_is_missing_or_of_another_type_is_named(server, port, group, words):
    ours = port(server.url, group=group)
    for _ in range(2):
        with pytest.raises(LineError, match=words):
            ours.write({"top": PASSED})
        ours.close()


def test_nobody_there_is_told_with_the_address(port):
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    with pytest.raises(LineError, match=url):
        port(url).write({"top": PASSED})


def test_what_is_no_opcua_server_is_told(port):
    with StrangeServer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as strange:
        url = f"opc.tcp://127.0.0.1:{strange.port}"
        with pytest.raises(LineError, match=url):
            port(url, timeout_ms=300).write({"top": PASSED})


def test_a_server_that_answers_nothing_is_told_in_time_and_written_again_when_it_goes_on(server, port):
    ours = port(server.url, timeout_ms=300)
    ours.write({"top": PASSED})
    server.stop()
    with pytest.raises(LineError, match=server.url):
        ours.write({"top": HELD})
    ours.close()
    server.go()
    until(lambda: attempt(ours, HELD))
    assert server.values("words")["verdict"] == "HOLD"


def test_a_server_that_was_restarted_is_written_again(server, port):
    ours = port(server.url, timeout_ms=300)
    ours.write({"top": PASSED})
    server.kill()
    with pytest.raises(LineError, match=server.url):
        ours.write({"top": HELD})
    ours.close()
    server.start()
    until(lambda: attempt(ours, HELD))
    assert server.values("words")["verdict"] == "HOLD"


def test_a_server_that_wants_certificates_and_a_user_is_given_them(port, tmp_path):
    cert, key = certificate(tmp_path, "server")
    ours_cert, ours_key = certificate(tmp_path, "gateway")
    login = {"security": "sign-and-encrypt", "cert_file": ours_cert, "key_file": ours_key, "username": USER}
    with OpcUaServer(security={"cert": str(cert), "key": str(key)}) as server:
        port(server.url, Login(**login, password=PASSWORD), timeout_ms=2000).write({"top": PASSED})
        port(server.url, Login(**login, password=PASSWORD, server_cert_file=cert), timeout_ms=2000).write(
            {"top": PASSED}
        )
        with pytest.raises(LineError, match=server.url):
            port(server.url, Login(**login, password=PASSWORD[::-1]), timeout_ms=2000).write({"top": PASSED})
        with pytest.raises(LineError, match=server.url):
            port(server.url, Login(), timeout_ms=2000).write({"top": PASSED})


def test_we_say_the_name_that_our_certificate_says(tmp_path):
    cert, _ = certificate(tmp_path, "gateway", uri="urn:acme:lyon:gw-07")
    assert uri_of(cert) == "urn:acme:lyon:gw-07"


def test_a_certificate_file_that_cannot_be_read_is_told(port, server, tmp_path):
    cert, key = certificate(tmp_path, "gateway")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for files in ((broken, key), (tmp_path / "missing.pem", key), (cert, broken)):
        login = Login(
            security="sign",
            cert_file=files[0],
            key_file=files[1],
            server_cert_file=cert,
            username=USER,
            password=PASSWORD,
        )
        with pytest.raises(LineError, match=server.url):
            port(server.url, login).write({"top": PASSED})
