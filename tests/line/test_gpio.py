"""GPIO edges and outputs, against a fake chip behind the real package's classes; no hardware was at hand."""

import contextlib
import inspect

import gpiod
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import LineError
from edge_agent.line.addresses import parse_signal, parse_trigger
from edge_agent.line.gpio import CONSUMER, EdgeTrigger, GpioPort, load_gpiod
from edge_agent.line.signals import LineEvent, first_output, moved, told, untold
from edge_agent.line.triggers import TriggerLine
from edge_agent.records import Verdict
from tests.fakes.gpio_chip import PATH, FakeChip, FakeRequest
from tests.line.parts import Notes, inspection
from tests.waiting import until


@pytest.mark.parametrize(
    ("fake", "real"),
    [
        (FakeChip.request_lines, gpiod.request_lines),
        (FakeRequest.set_values, gpiod.LineRequest.set_values),
        (FakeRequest.wait_edge_events, gpiod.LineRequest.wait_edge_events),
        (FakeRequest.read_edge_events, gpiod.LineRequest.read_edge_events),
        (FakeRequest.release, gpiod.LineRequest.release),
    ],
)
def test_the_fake_takes_nothing_that_the_real_package_does_not_take(fake, real):
    taken = [name for name in inspect.signature(fake).parameters if name != "self"]
    known = inspect.signature(real).parameters
    assert set(taken) <= set(known)


@pytest.mark.parametrize("request_lines", [gpiod.request_lines, FakeChip().request_lines])
def test_a_chip_that_is_not_there_is_the_same_fault_in_both(request_lines):
    with pytest.raises(FileNotFoundError):
        request_lines("/dev/gpiochip99", config={0: gpiod.LineSettings()}, consumer="tests")


def test_the_package_is_found_where_it_is_installed():
    assert load_gpiod() is gpiod


class Gate:
    def __init__(self):
        self.fired = []

    def fire(self, trigger):
        self.fired.append(trigger.mono_s)


@pytest.fixture
def watch():
    with contextlib.ExitStack() as stack:

        def make(text, package):
            gate, notes = Gate(), Notes()
            line = TriggerLine(camera="top", gate=gate, clock=SystemClock(), note=notes)
            trigger = EdgeTrigger(parse_trigger(text), package, line)
            trigger.start()
            stack.callback(trigger.close)
            return gate, notes

        yield make


def test_each_edge_is_a_part_at_the_moment_the_kernel_saw_it(watch):
    chip = FakeChip()
    gate, notes = watch(f"gpio:{PATH}/3?debounce_us=700", chip.package)
    until(lambda: notes.told)
    before_s = SystemClock().mono_s()
    for _ in range(3):
        assert chip.edge(3)
    until(lambda: len(gate.fired) == 3)

    assert all(before_s <= moment_s <= SystemClock().mono_s() for moment_s in gate.fired)
    (request,) = chip.requests
    assert request.consumer == CONSUMER
    assert request.settings[3].debounce_period.microseconds == 700


def test_a_falling_edge_is_asked_for_where_it_is_meant(watch):
    chip = FakeChip()
    gate, notes = watch(f"gpio:{PATH}/3?edge=falling", chip.package)
    until(lambda: notes.told)

    assert not chip.edge(3)
    assert chip.edge(3, falling=True)
    until(lambda: gate.fired)


def test_a_line_is_let_go_when_the_trigger_is_closed(watch):
    chip = FakeChip()
    notes = Notes()
    line = TriggerLine(camera="top", gate=Gate(), clock=SystemClock(), note=notes)
    trigger = EdgeTrigger(parse_trigger(f"gpio:{PATH}/3"), chip.package, line)
    trigger.start()
    until(lambda: chip.requests)
    trigger.close()

    assert chip.requests == []


@pytest.mark.parametrize(
    ("text", "package", "words"),
    [
        ("gpio:/dev/gpiochip9/3", FakeChip().package, "No such file"),
        (f"gpio:{PATH}/99", FakeChip().package, "out of range"),
        (f"gpio:{PATH}/3", None, "the package gpiod is not installed"),
    ],
)
def test_a_line_that_cannot_be_had_is_told_of_and_tried_for_ever(watch, text, package, words):
    _, notes = watch(text, package)
    until(lambda: len(notes.told) >= 3)

    assert notes.active
    assert words in notes.text


def test_a_chip_that_is_taken_away_is_told_of(watch):
    chip = FakeChip()
    _, notes = watch(f"gpio:{PATH}/3", chip.package)
    until(lambda: notes.told)
    chip.unplug()
    until(lambda: notes.active)


ALL = "pass=0&fail=1&hold=2&ready=3&strobe=4&heartbeat=5"
RUNNING = moved(first_output(Verdict.HOLD), LineEvent.TURNING)


def port_of(chip, more=""):
    return GpioPort(parse_signal(f"gpio:{PATH}?{ALL}{more}"), chip.package)


@pytest.mark.parametrize(
    ("output", "active"),
    [
        (first_output(Verdict.HOLD), {2}),
        (first_output(Verdict.FAIL), {1}),
        (told(RUNNING, inspection(Verdict.PASS), 1), {0, 3, 4}),
        (told(RUNNING, inspection(Verdict.FAIL), 2), {1, 3}),
        (moved(told(RUNNING, inspection(Verdict.PASS), 1), LineEvent.SILENT), {2, 4}),
        (untold(RUNNING, 2), {2, 3}),
    ],
)
def test_lines_show_the_verdict_and_whether_it_may_be_relied_on(output, active):
    chip = FakeChip()
    port_of(chip).write({"top": output})

    assert {line for line, on in chip.levels.items() if on} == active


def test_pass_and_fail_are_never_active_together_and_change_in_one_call():
    chip = FakeChip()
    port = port_of(chip)
    for number, verdict in enumerate([Verdict.PASS, Verdict.FAIL, Verdict.HOLD] * 3, 1):
        port.write({"top": told(RUNNING, inspection(verdict), number)})

    assert all(len(values) == 6 and values[0] + values[1] + values[2] <= 1 for values in chip.history)
    assert chip.history[0] == dict.fromkeys(range(6), False)


def test_active_low_lines_are_high_while_nothing_is_said():
    chip = FakeChip()
    port_of(chip, "&active=low").write({"top": told(RUNNING, inspection(Verdict.PASS), 1)})

    assert chip.levels == {0: False, 1: True, 2: True, 3: False, 4: False, 5: True}


def test_outputs_that_cannot_be_had_are_told_of_and_had_when_they_are_free():
    chip = FakeChip()
    other = chip.request_lines(PATH, config={0: gpiod.LineSettings()})
    port = port_of(chip)
    with pytest.raises(LineError, match="busy"):
        port.write({"top": first_output(Verdict.HOLD)})
    other.release()
    port.write({"top": first_output(Verdict.HOLD)})
    port.close()
    port.close()

    assert chip.requests == []


def test_a_chip_that_is_taken_away_is_a_line_that_is_lost():
    chip = FakeChip()
    port = port_of(chip)
    port.write({"top": first_output(Verdict.HOLD)})
    chip.unplug()
    with pytest.raises(LineError, match="No such device"):
        port.write({"top": first_output(Verdict.HOLD)})
    with pytest.raises(LineError, match="the package gpiod is not installed"):
        GpioPort(parse_signal(f"gpio:{PATH}?pass=1"), None).write({"top": first_output(Verdict.HOLD)})
