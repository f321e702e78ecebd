"""Keys of triggers and signals: what does not fit is told where it stands."""

import pytest

from edge_agent.config.diff import cameras_to_reopen, diff
from edge_agent.config.keys import Apply
from edge_agent.config.reference import SMALLEST
from edge_agent.processes.addresses import Addresses
from tests.config.samples import read, smallest, the_fault

PLC = "modbus://10.0.0.20/holding/100"


def signal(keys):
    return smallest(top=f"signals:\n  plc: {{{keys}}}\n")


def test_a_signal_needs_no_more_than_where_verdicts_go():
    plc = read(signal(f"to: '{PLC}'"), addresses=Addresses()).signals["plc"]

    assert (plc.cameras, plc.after, plc.fail_safe, plc.heartbeat_ms, plc.stall_ms) == (
        None,
        "verdict",
        "HOLD",
        500,
        2000,
    )


def test_a_camera_may_be_triggered():
    text = smallest(camera="    trigger: mqtt\n    trigger_timeout_ms: 250\n    verdict_within_ms: 500\n")
    camera = read(text, addresses=Addresses()).cameras["press-3-top"]

    assert (camera.trigger, camera.trigger_timeout_ms, camera.trigger_delay_ms, camera.verdict_within_ms) == (
        "mqtt", 250, 0, 500,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ("to: profinet", "signals.plc.to", "expected one of: modbus://"),
        (f"to: '{PLC}', cameras: [side]", "signals", "not 'side', in plc.cameras; the cameras are press-3-top"),
        (f"to: '{PLC}', cameras: [press-3-top, press-3-top]", "signals", "each camera once in plc.cameras"),
        (f"to: '{PLC}', cameras: []", "signals.plc.cameras", "a list of names of cameras"),
        (f"to: '{PLC}', username: me", "signals.plc.username", "only opc.tcp:// has users"),
        ("to: 'opc.tcp://plc?node=i=*', password: x", "signals.plc.password", "username beside it"),
        ("to: 'opc.tcp://plc?node=i=*', security: sign", "signals.plc.key_file", "cert_file and key_file for security"),
        ("to: 'opc.tcp://plc?node=i=*', cert_file: a.pem", "signals.plc.key_file", "key_file beside cert_file"),
        (f"to: '{PLC}', fail_safe: PASS", "signals.plc.fail_safe", "one of HOLD, FAIL"),
        (f"to: '{PLC}', stall_ms: 100", "signals.plc.stall_ms", "from 500 to 60 000"),
    ],
)
def test_what_does_not_fit_a_signal_is_told_where_it_stands(keys, key, words):
    fault = the_fault(signal(keys), addresses=Addresses())

    assert fault.key == key
    assert words in str(fault)


def test_one_verdict_has_no_room_for_two_cameras():
    two = smallest(
        camera="  side: {source: synthetic:good}\n", top="signals: {lamp: {to: 'gpio:/dev/gpiochip0?pass=1'}}\n"
    )
    assert "GPIO lines show one verdict" in str(the_fault(two, addresses=Addresses()))
    nodes = two.replace("gpio:/dev/gpiochip0?pass=1", "opc.tcp://plc?node=ns=2;s=Edge.*")
    assert "write {camera} in node=" in str(the_fault(nodes, addresses=Addresses()))
    assert read(nodes.replace("Edge.*", "{camera}.*"), addresses=Addresses()).signals


def test_a_wrong_trigger_is_told_where_it_stands():
    fault = the_fault(smallest(camera="    trigger: modbus://plc/coils/1\n"), addresses=Addresses())

    assert fault.key == "cameras.press-3-top.trigger"
    assert "the form is modbus://HOST" in str(fault)


@pytest.mark.parametrize(
    ("trigger", "signals", "words"),
    [
        (
            "mqtt",
            {"a": PLC, "b": "modbus://10.0.0.20/holding/123"},
            "signal a (block of press-3-top), holding/100:24 and",
        ),
        (f"{PLC}?part=holding/20:4", {"a": PLC}, "the trigger of press-3-top, holding/100 and signal a"),
        (
            "modbus://10.0.0.20/coil/0?part=holding/110:4",
            {"a": PLC},
            "the trigger of press-3-top (part), holding/110:4",
        ),
        (
            "modbus://10.0.0.20/coil/0?ack=coil/0",
            {},
            "the trigger of press-3-top, coil/0 and the trigger of press-3-top (ack)",
        ),
        ("gpio:/dev/gpiochip0/5", {"a": "gpio:/dev/gpiochip0?pass=5"}, "signal a (pass) meet at /dev/gpiochip0"),
        ("mqtt", {"a": "opc.tcp://plc?node=i=*", "b": "opc.tcp://plc:4840?node=i=*"}, "signal a and signal b meet"),
    ],
)
def test_what_would_overwrite_one_another_is_refused(trigger, signals, words):
    places = "".join(f"  {name}: {{to: '{to}'}}\n" for name, to in signals.items())
    text = smallest(camera=f"    trigger: {trigger}\n", top=f"signals:\n{places}" if signals else "")

    fault = the_fault(text, addresses=Addresses())

    assert fault.key == "signals"
    assert words in str(fault)


def test_other_units_tables_and_registers_are_in_nobodys_way():
    text = smallest(
        camera="    trigger: modbus://10.0.0.20/coil/100?part=holding/124:4&ack=coil/101\n",
        top=f"signals:\n  a: {{to: '{PLC}'}}\n  b: {{to: '{PLC}?unit=2'}}\n  c: {{to: 'socket:line'}}\n"
        "  d: {to: 'modbus-server://10.0.0.20:502/holding/100'}\n",
    )
    assert len(read(text, addresses=Addresses()).signals) == 4


def test_a_signal_that_comes_goes_or_changes_reopens_no_camera():
    without, first = read(SMALLEST), read(signal(f"to: '{PLC}'"))
    second = read(signal(f"to: '{PLC}', fail_safe: FAIL"))
    for old, new in ((without, first), (first, second), (first, without)):
        changes = diff(old, new)
        assert {change.apply for change in changes} == {Apply.SIGNAL}
        assert cameras_to_reopen(changes) == frozenset()


def test_a_trigger_that_changes_reopens_its_camera():
    changes = diff(read(SMALLEST), read(smallest(camera="    trigger: mqtt\n")))

    assert cameras_to_reopen(changes) == {"press-3-top"}
