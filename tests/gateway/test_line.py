"""The line and a gateway: triggers in, verdicts out, with a real PLC (pymodbus) in a process of its own."""

import contextlib

import pytest

from tests.fakes.plc import Plc
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
    return {"to": f"modbus://127.0.0.1:{plc.port}/holding/{start}", "heartbeat_ms": 50, "stall_ms": 1000, **keys}


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
