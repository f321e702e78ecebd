"""The line and a gateway: triggers in, verdicts out, with a real PLC (pymodbus) in a process of its own."""

import json
import signal
import socket
import threading

import pytest
from pymodbus.client import ModbusTcpClient

from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.plc import Plc, block_of, free_port
from tests.fakes.rtsp_server import RtspServer
from tests.fakes.strange_server import StrangeServer
from tests.gateway.conftest import SCRATCHED
from tests.gateway.witness import without_gaps
from tests.waiting import until

STARTING, RUNNING, STALLED, STOPPED = 1, 2, 3, 4
PASS, FAIL, HOLD = 1, 2, 3
TRIGGER, ACK, PART, BLOCK = 0, 1, 20, 100


@pytest.fixture
def plc():
    with Plc() as plc:
        yield plc


def triggered(camera, plc, **keys):
    """The camera, asked for pictures by the PLC."""
    address = f"modbus://127.0.0.1:{plc.port}/coil/{TRIGGER}?part=holding/{PART}:8&ack=coil/{ACK}"
    return {**camera, "trigger": address, **keys}


def told(plc, start=BLOCK, **keys):
    """A signal into the PLC's registers."""
    return told_at(f"modbus://127.0.0.1:{plc.port}/holding/{start}", **keys)


def told_at(address, **keys):
    return {"to": address, "heartbeat_ms": 50, "stall_ms": 1000, **keys}


def ask(plc, part):
    """What a PLC program does for each part: say which, ask, wait for the acknowledgement, take the trigger back."""
    before = plc.block(BLOCK).sequence
    plc.write_text(PART, 8, part)
    plc.coil(TRIGGER, True)
    until(lambda: plc.coil(ACK))
    plc.coil(TRIGGER, False)
    block = until(lambda: (block := plc.block(BLOCK)).sequence != before and block)
    until(lambda: not plc.coil(ACK))
    return block


def test_each_part_that_the_plc_asks_for_gets_its_own_verdict_with_its_name(gateway_with, line, witness, plc):
    gateway_with({"top": triggered(line, plc)}, signals={"plc": told(plc)}).start()
    until(lambda: plc.block(BLOCK).state == RUNNING)

    blocks = [ask(plc, f"A-{number}") for number in range(6)]

    assert [block.part for block in blocks] == [f"A-{number}" for number in range(6)]
    assert [block.sequence for block in blocks] == [1, 2, 3, 4, 5, 6]
    assert {block.verdict for block in blocks} == {PASS, FAIL}
    parts = until(lambda: len(witness.parts("top")) == 6 and witness.parts("top"))
    assert [parts[number]["part"] for number in sorted(parts)] == [block.part for block in blocks]
    words = {PASS: "PASS", FAIL: "FAIL", HOLD: "HOLD"}
    assert [parts[number]["verdict"] for number in sorted(parts)] == [words[block.verdict] for block in blocks]
    assert all(part["triggered"] for part in parts.values())


def test_a_part_without_a_picture_and_one_whose_verdict_is_late_are_holds_with_their_names(
    gateway_with, line, ground, witness, plc
):
    shelf = ground / "shelf"
    shelf.mkdir()
    camera = triggered({"source": f"folder:{shelf}?watch=1", "mode": "trained"}, plc, trigger_timeout_ms=300)
    gateway = gateway_with({"top": camera}, signals={"plc": told(plc)}).start()
    until(lambda: plc.block(BLOCK).state == RUNNING)

    missing = ask(plc, "EMPTY")
    digest = gateway.live("inspect")["config_digest"]
    gateway.settings["cameras"]["top"] = triggered(line, plc, verdict_within_ms=1)
    gateway.reload()
    until(lambda: gateway.live("inspect")["config_digest"] != digest)
    until(lambda: plc.block(BLOCK).state == RUNNING)
    late = ask(plc, "LATE")

    assert (missing.verdict, missing.reason, missing.part) == (HOLD, 13, "EMPTY")
    assert (late.verdict, late.reason, late.part) == (HOLD, 14, "LATE")
    until(lambda: len(witness.parts("top")) == 2)
    reasons = {part["part"]: part["reason"] for part in witness.parts("top").values()}
    assert reasons == {"EMPTY": "no-picture", "LATE": "late"}


def test_a_verdict_is_told_after_it_is_durable_where_policy_says_so(gateway_with, line, witness, plc):
    gateway_with({"top": triggered(line, plc)}, signals={"plc": told(plc, after="durable")}).start()
    until(lambda: plc.block(BLOCK).state == RUNNING)

    blocks = [ask(plc, f"A-{number}") for number in range(3)]

    assert [block.part for block in blocks] == ["A-0", "A-1", "A-2"]
    assert HOLD not in {block.verdict for block in blocks}


def test_when_the_broker_is_away_the_line_is_told_as_before(gateway_with, line, plc):
    gateway = gateway_with({"top": triggered(line, plc)}, url="mqtt://127.0.0.1:1", signals={"plc": told(plc)})
    gateway.start()
    until(lambda: plc.block(BLOCK).state == RUNNING)

    assert {ask(plc, f"A-{number}").verdict for number in range(4)} == {PASS, FAIL}
    assert not gateway.live("sync")["connected"]


@pytest.mark.parametrize(("lose", "find"), [(Plc.kill, Plc.start), (Plc.stop, Plc.go)], ids=["killed", "silent"])
def test_a_plc_that_is_lost_is_an_alarm_and_the_other_camera_and_its_line_go_on(
    gateway_with, line, witness, plc, lose, find
):
    with Plc() as other:
        cameras = {"top": triggered(line, plc), "side": triggered(line, other)}
        signals = {"one": told(plc, cameras=["top"]), "two": told(other, cameras=["side"])}
        gateway = gateway_with(cameras, signals=signals).start()
        until(lambda: plc.block(BLOCK).state == RUNNING and other.block(BLOCK).state == RUNNING)
        ask(plc, "before")

        lose(plc)

        until(lambda: (witness.alarm("signal-lost.one") or {}).get("state") == "active")
        until(lambda: (witness.alarm("trigger-lost.top") or {}).get("state") == "active")
        assert "127.0.0.1" in witness.alarm("signal-lost.one")["text"]
        assert [ask(other, f"B-{number}").part for number in range(3)] == ["B-0", "B-1", "B-2"]
        until(lambda: not gateway.live("inspect")["signals"]["one"]["connected"])
        assert gateway.live("inspect")["signals"]["two"]["connected"]

        find(plc)
        block = until(lambda: (block := plc.block(BLOCK)).state == RUNNING and block.part != "before" and block)
        assert block.verdict == HOLD  # never the verdict that stood there before
        assert ask(plc, "after").part == "after"
        until(lambda: witness.alarm("signal-lost.one") is None and witness.alarm("trigger-lost.top") is None)


def test_what_is_no_plc_is_an_alarm_in_words_and_the_other_camera_goes_on(gateway_with, line, witness):
    with StrangeServer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as strange:
        trigger = f"modbus://127.0.0.1:{strange.port}/coil/0"
        signals = {"plc": {"to": f"modbus://127.0.0.1:{strange.port}/holding/0", "cameras": ["side"]}}
        gateway_with({"top": {**line, "trigger": trigger}, "side": line}, signals=signals).start()

        until(lambda: (witness.alarm("trigger-lost.top") or {}).get("state") == "active")
        until(lambda: (witness.alarm("signal-lost.plc") or {}).get("state") == "active")
        assert "not Modbus TCP" in witness.alarm("trigger-lost.top")["text"]
        until(lambda: len(witness.parts("side")) > 20)
        assert witness.parts("top") == {}


def test_when_inspection_is_killed_the_heartbeat_stands_still_and_after_a_restart_the_fail_safe_comes_first(
    gateway_with, line, plc
):
    gateway = gateway_with({"top": triggered(line, plc)}, signals={"plc": told(plc, fail_safe="FAIL")}).start()
    until(lambda: plc.block(BLOCK).state == RUNNING)
    until(lambda: ask(plc, "A").verdict == PASS)

    gateway.signal("inspect", signal.SIGSTOP)  # as if it hung: then nothing can be said any more
    first, second = until(lambda: still(plc))
    gateway.kill("inspect")

    assert first == second
    blocks = []
    until(lambda: blocks.append(plc.block(BLOCK)) or (blocks[-1].heartbeat, blocks[-1].state) != (first, RUNNING), 30)
    until(lambda: blocks.append(plc.block(BLOCK)) or blocks[-1].state == RUNNING, 30)
    assert {block.verdict for block in blocks if block.heartbeat != first} == {FAIL}
    assert ask(plc, "B").part == "B"


def still(plc):
    """The heartbeat twice, a third of a second apart; None while it moves."""
    first = plc.block(BLOCK).heartbeat
    threading.Event().wait(0.3)
    second = plc.block(BLOCK).heartbeat
    return (first, second) if first == second else None


def test_a_gateway_that_is_stopped_says_so_to_the_line(gateway_with, line, plc):
    gateway = gateway_with({"top": line}, signals={"plc": told(plc)}).start()
    until(lambda: plc.block(BLOCK).verdict == PASS)

    gateway.stop()

    block = plc.block(BLOCK)
    assert (block.state, block.verdict, block.part) == (STOPPED, HOLD, "")


def test_a_part_before_a_frozen_camera_is_held_by_name_while_heartbeat_and_other_camera_go_on(gateway_with, line, plc):
    with RtspServer(fps=15) as stream:
        camera = triggered({"source": stream.url, "stall_s": 1, "mode": "trained"}, plc, trigger_timeout_ms=500)
        gateway_with({"top": camera, "side": line}, signals={"plc": told(plc)}).start()
        until(lambda: plc.block(BLOCK).state == RUNNING, 30)
        seen = ask(plc, "SEEN")
        assert (seen.part, seen.reason == 13) == ("SEEN", False)

        stream.freeze()

        until(lambda: plc.block(BLOCK).state == STALLED)
        held = ask(plc, "UNSEEN")
        assert (held.verdict, held.reason, held.part, held.state) == (HOLD, 13, "UNSEEN", STALLED)
        until(lambda: plc.block(BLOCK).heartbeat != held.heartbeat)
        assert plc.block(BLOCK + 24).state == RUNNING
        stream.thaw()
        until(lambda: plc.block(BLOCK).state == RUNNING, 30)
        assert ask(plc, "SEEN AGAIN").part == "SEEN AGAIN"


def test_a_signal_that_is_changed_or_comes_is_made_anew_and_no_camera_loses_a_frame(gateway_with, line, witness, plc):
    gateway = gateway_with({"top": line}, signals={"plc": told(plc)}).start()
    until(lambda: plc.block(BLOCK).verdict == PASS)
    inspect = gateway.pid("inspect")

    gateway.settings["signals"] = {"plc": told(plc, start=200, fail_safe="FAIL")}
    gateway.reload()

    until(lambda: plc.block(200).verdict == PASS)
    until(lambda: plc.block(BLOCK).state == STOPPED)
    assert gateway.pid("inspect") == inspect
    until(lambda: without_gaps(witness.parts("top")) and len(witness.parts("top")) > 30)
    assert {part["verdict"] for part in witness.parts("top").values()} == {"PASS", "FAIL"}


def test_a_plc_that_is_the_client_writes_its_trigger_to_us_and_reads_the_verdict(gateway_with, line):
    port = free_port()
    server = f"modbus-server://127.0.0.1:{port}"
    camera = {**line, "trigger": f"{server}/coil/0?part=holding/20:8"}
    gateway = gateway_with({"top": camera}, signals={"plc": told_at(f"{server}/holding/100")}).start()
    with ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0) as plc:
        until(lambda: plc.connect() and block_of(plc.read_holding_registers(100, count=24).registers).state == RUNNING)
        plc.write_registers(20, [0x4131])
        plc.write_coil(0, True)
        block = until(
            lambda: (block := block_of(plc.read_holding_registers(100, count=24).registers)).sequence and block
        )
        assert (block.part, block.verdict in {PASS, FAIL}) == ("A1", True)
        gateway.stop()
        plc.close()
        assert not plc.connect()


def test_a_program_on_the_gateway_asks_and_hears_over_a_unix_socket(gateway_with, line):
    gateway = gateway_with(
        {"top": {**line, "trigger": "socket:line"}}, signals={"program": told_at("socket:line")}
    ).start()
    with socket.socket(socket.AF_UNIX) as program:
        program.settimeout(10)
        program.connect(str(gateway.runtime / "line.sock"))
        lines = (json.loads(line) for line in program.makefile("rb"))
        next(told for told in lines if told.get("state") == "RUNNING")
        program.sendall(b'{"part": "A-17"}\n')
        heard = next(told for told in lines if told.get("sequence"))

    assert (heard["part"], heard["verdict"] in {"PASS", "FAIL"}) == ("A-17", True)


def test_a_command_asks_for_a_picture_where_that_is_the_trigger_and_is_rejected_elsewhere(gateway_with, line, witness):
    gateway_with({"top": {**line, "trigger": "mqtt"}, "side": line}).start()
    until(lambda: witness.latest("status"))

    witness.command("trigger", "t1", camera="top", part="A-17")
    witness.command("trigger", "t2", camera="side")

    until(lambda: witness.last("top").get("part") == "A-17")
    until(lambda: "successful" in witness.acks("trigger", "t1"))
    until(lambda: "rejected" in witness.acks("trigger", "t2"))
    assert "runs freely" in witness.said("ack/trigger/t2")[-1]["reason"]


def test_a_gateway_without_a_line_loads_nothing_of_it(gateway_with, line):
    gateway = gateway_with({"top": line}).start()
    until(lambda: gateway.camera("top")["judged"])

    assert not {file for file in gateway.mapped("inspect") if "gpiod" in file or "asyncua" in file}
    assert not list(gateway.runtime.glob("line*"))


def test_status_shows_triggers_and_signals(gateway_with, line, plc):
    gateway = gateway_with({"top": triggered(line, plc)}, signals={"plc": told(plc)}).start()
    until(lambda: plc.block(BLOCK).state == RUNNING)
    ask(plc, "A-17")
    until(lambda: gateway.live("inspect")["signals"]["plc"]["written"])

    live = gateway.live("inspect")
    trigger, shown = live["triggers"]["top"], live["signals"]["plc"]
    assert (trigger["fired"], trigger["claimed"], trigger["waiting"], trigger["lost"]) == (1, 1, 0, {})
    assert (shown["last_part"], shown["connected"], shown["states"]) == ("A-17", True, {"top": "running"})
    assert shown["trigger_p50_ms"] > 0
    text = gateway.cli("status", "--once").stdout
    assert "A-17" in text
    assert "plc" in text


def test_without_a_model_the_line_is_told_hold_and_why(gateway_with, line, plc):
    gateway_with({"top": line}, signals={"plc": told(plc)}, models=None).start("inspect")

    until(lambda: plc.block(BLOCK).state == RUNNING and plc.block(BLOCK).sequence > 3)

    assert (plc.block(BLOCK).verdict, plc.block(BLOCK).reason) == (HOLD, 5)


def test_an_opcua_server_is_told_verdicts_by_name(gateway_with, line):
    with OpcUaServer() as server:
        signal = told_at(f"{server.url}?node=ns=2;s=words.*")
        gateway = gateway_with({"top": line}, signals={"scada": signal}).start("inspect")

        values = until(lambda: (found := server.values("words"))["verdict"] == "FAIL" and found)
        assert (values["state"], values["part"], values["reason"]) == ("RUNNING", SCRATCHED, "")
        gateway.stop()
        assert (server.values("words")["state"], server.values("words")["verdict"]) == ("STOPPED", "HOLD")
