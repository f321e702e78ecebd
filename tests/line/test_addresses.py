"""Addresses of triggers and signals: what is written is what is meant, and what is wrong is said with the form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ConfigError
from edge_agent.line.addresses import (
    SIGNALS,
    TRIGGERS,
    GpioSignal,
    GpioTrigger,
    ModbusSignal,
    ModbusTrigger,
    MqttTrigger,
    OpcUaSignal,
    Socket,
    parse_signal,
    parse_trigger,
    signal_fault,
    trigger_fault,
)
from edge_agent.line.modbus import Cells, Table

COIL, HOLDING = Table.COIL, Table.HOLDING


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt", MqttTrigger()),
        ("socket:line-1", Socket(name="line-1")),
        ("modbus://10.0.0.20/coil/7", ModbusTrigger(host="10.0.0.20", port=502, cell=Cells(table=COIL, start=7))),
        (
            "modbus://plc:1502/holding/0?mode=counter&part=holding/1:8&recipe=input/9:2n&ack=holding/3&unit=9&poll_ms=20",
            ModbusTrigger(
                host="plc",
                port=1502,
                cell=Cells(table=HOLDING, start=0),
                counter=True,
                part=Cells(table=HOLDING, start=1, count=8),
                recipe=Cells(table=Table.INPUT, start=9, count=2, number=True),
                ack=Cells(table=HOLDING, start=3),
                unit=9,
                poll_s=0.02,
            ),
        ),
        (
            "modbus-server://[::1]/coil/0",
            ModbusTrigger(host="[::1]", port=5020, cell=Cells(table=COIL, start=0), serve=True),
        ),
        ("gpio:/dev/gpiochip0/17", GpioTrigger(chip="/dev/gpiochip0", line=17)),
        (
            "gpio:/dev/gpiochip2/3?edge=falling&debounce_us=0",
            GpioTrigger(chip="/dev/gpiochip2", line=3, falling=True, debounce_us=0),
        ),
    ],
)
def test_a_trigger_is_read_as_it_is_written(text, address):
    assert parse_trigger(text) == address
    assert trigger_fault(text) is None


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (
            "modbus://10.0.0.20/holding/100?unit=255&timeout_ms=100",
            ModbusSignal(host="10.0.0.20", port=502, table=HOLDING, start=100, unit=255, timeout_s=0.1),
        ),
        (
            "modbus-server://10.0.0.1:5021/input/0",
            ModbusSignal(host="10.0.0.1", port=5021, table=Table.INPUT, start=0, serve=True),
        ),
        ("gpio:/dev/gpiochip0?pass=5&ready=6", GpioSignal(chip="/dev/gpiochip0", lines={"pass": 5, "ready": 6})),
        ("socket:line", Socket(name="line")),
        (
            "opc.tcp://10.0.0.30/edge?node=ns=2;s=Cam.*",
            OpcUaSignal(url="opc.tcp://10.0.0.30:4840/edge", node="ns=2;s=Cam.*"),
        ),
        (
            'opc.tcp://plc:4841?node=ns=3;s="DB_{camera}"."*"',
            OpcUaSignal(url="opc.tcp://plc:4841", node='ns=3;s="DB_{camera}"."*"'),
        ),
    ],
)
def test_a_signal_is_read_as_it_is_written(text, address):
    assert parse_signal(text) == address
    assert signal_fault(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("profinet:x", "expected one of: mqtt, modbus://"),
        ("mqtt:x", "stands behind mqtt"),
        ("modbus://10.0.0.20", "is no //HOST[:PORT]/TABLE/N"),
        ("modbus://10.0.0.20/coils/1", "is no //HOST[:PORT]/TABLE/N"),
        ("modbus://10.0.0.20:0/coil/1", "port 0, expected 1 to 65535"),
        ("modbus://10.0.0.20/coil/65536", "cells are numbered from 0 to 65535"),
        ("modbus://10.0.0.20/coil/1?mode=counter", "mode=counter needs a register"),
        ("modbus://10.0.0.20/coil/1?mode=level", "expected edge or counter"),
        ("modbus://10.0.0.20/coil/1?part=coil/2", "expected registers"),
        ("modbus://10.0.0.20/coil/1?part=holding/2:99", "expected 1 to 32 registers"),
        ("modbus://10.0.0.20/coil/1?part=holding/2:5n", "expected 1 to 4 registers"),
        ("modbus://10.0.0.20/coil/1?part=holding/65535:2", "below 65536"),
        ("modbus://10.0.0.20/coil/1?ack=input/2", "expected one coil or holding register"),
        ("modbus://10.0.0.20/coil/1?ack=coil/2:2", "expected one coil or holding register"),
        ("modbus://10.0.0.20/coil/1?unit=256", "expected a number from 0 to 255"),
        ("modbus://10.0.0.20/coil/1?poll_ms=0", "expected a number from 1 to 10000"),
        ("modbus://10.0.0.20/coil/1?pol_ms=5", "unknown option 'pol_ms', known are: ack, mode, part, poll_ms"),
        ("modbus://10.0.0.20/coil/1?unit=1&unit=2", "given twice"),
        ("modbus-server://0.0.0.0/discrete/1", "cannot be written by the PLC"),
        ("modbus-server://0.0.0.0/coil/1?poll_ms=5", "unknown option 'poll_ms'"),
        ("gpio:/dev/gpiochip0", "no chip and line"),
        ("gpio:/dev/gpiochip0/1?edge=both", "expected rising or falling"),
        ("socket:../x", "expected a name of 1 to 32"),
    ],
)
def test_what_is_wrong_with_a_trigger_is_said_with_the_form_it_should_have(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_trigger(text)
    assert words in str(caught.value)
    assert "the form is" in str(caught.value) or "expected one of" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt", "expected one of: modbus://"),
        ("modbus://10.0.0.20/coil/1", "a verdict is written into holding/N"),
        ("modbus://10.0.0.20/holding/64001", "the blocks of 64 cameras must fit"),
        ("modbus-server://0.0.0.0/coil/1", "a verdict stands in holding/N or input/N"),
        ("gpio:/dev/gpiochip0", "option pass is missing"),
        ("gpio:/dev/gpiochip0?pass=1&fail=1", "one line has two roles"),
        ("gpio:gpiochip0?pass=1", "is no chip"),
        ("opc.tcp://plc:4840", "option node is None"),
        ("opc.tcp://plc:4840?node=ns=2;s=Cam", "in which * stands for"),
        ("opc.tcp://me:hunter2@plc:4840?node=ns=2;s=*", "write the user as username"),
        ("opc.tcp://?node=ns=2;s=*", "names no host"),
    ],
)
def test_what_is_wrong_with_a_signal_is_said(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_signal(text)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


@settings(deadline=None)
@given(st.sampled_from(sorted(TRIGGERS.keys() | SIGNALS.keys())), st.text(max_size=60))
def test_any_text_is_an_address_or_a_fault_with_words(scheme, rest):
    for fault in (trigger_fault(f"{scheme}:{rest}"), signal_fault(f"{scheme}:{rest}")):
        assert fault is None or "expected" in fault or "the form is" in fault
