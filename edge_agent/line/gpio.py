"""GPIO lines through libgpiod 2 (package `gpiod`): edges that trigger, outputs that show the verdict.

Not tried on hardware: the tests run against a whole fake of the package (docs/line.md).
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from edge_agent.errors import LineError
from edge_agent.line.addresses import GpioSignal, GpioTrigger
from edge_agent.line.backoff import backoff_s
from edge_agent.line.signals import LineState, Output
from edge_agent.line.triggers import JOIN_S, TriggerLine
from edge_agent.records import Verdict

CONSUMER = "edge-agent"  # what gpioinfo shows beside the line
# How long a wait for an edge lasts before it looks whether it should end.
TURN_S = 0.2
# No such chip or line, no permission, the chip was taken away; the package makes a ValueError of EINVAL.
FAULTS = (OSError, ValueError)


def load_gpiod() -> ModuleType | None:
    """The package, None where it is not installed: then every use says so, and is tried again."""
    try:
        import gpiod  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    module: ModuleType = gpiod
    return module


def _installed(gpiod: ModuleType | None) -> Any:
    if gpiod is None:
        raise LineError("the package gpiod is not installed; pip install 'edge-agent[gpio]'")
    return gpiod


class EdgeTrigger:
    """Each edge is a part, at the moment the kernel saw it."""

    def __init__(self, address: GpioTrigger, gpiod: ModuleType | None, line: TriggerLine) -> None:
        self._address = address
        self._gpiod = gpiod
        self._line = line
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"trigger-{line.camera}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        pause_s, failures = 0.0, 0
        while not self._line.clock.wait(self._stop, pause_s):
            failures = self._session(failures)
            pause_s = backoff_s(failures)

    def _session(self, failures: int) -> int:
        """Hear edges until stopped or until the chip fails; how many failures in a row that makes."""
        try:
            gpiod = _installed(self._gpiod)
            with self._request(gpiod) as request:
                failures = 0
                self._line.note(False, "the trigger is heard")
                while not self._stop.is_set():
                    if request.wait_edge_events(TURN_S):
                        for event in request.read_edge_events():
                            self._line.fire(None, None, event.timestamp_ns / 1e9)
        except (*FAULTS, LineError) as error:
            self._line.note(True, f"{self._address.chip}/{self._address.line}: {error}")
        return failures + 1

    def _request(self, gpiod: Any) -> Any:
        settings = gpiod.LineSettings(
            edge_detection=gpiod.line.Edge.FALLING if self._address.falling else gpiod.line.Edge.RISING,
            debounce_period=datetime.timedelta(microseconds=self._address.debounce_us),
            event_clock=gpiod.line.Clock.MONOTONIC,
        )
        return gpiod.request_lines(self._address.chip, consumer=CONSUMER, config={self._address.line: settings})


def check_line(chip: str, line: int, gpiod: ModuleType | None) -> None:
    """Whether the line can be had now, as an input: nothing is driven.

    Raises:
        LineError: no such chip or line, no permission, or another program has it.
    """
    try:
        package = _installed(gpiod)
        settings = package.LineSettings(direction=package.line.Direction.INPUT)
        package.request_lines(chip, consumer=CONSUMER, config={line: settings}).release()
    except FAULTS as error:
        raise LineError(f"{chip}/{line}: {error}") from error


def levels(output: Output, roles: Mapping[str, int]) -> dict[str, bool]:
    """Which lines are active: `pass`, `fail` and `hold` show the verdict, `ready` that it may be relied on, `strobe`
    changes with every verdict, `heartbeat` with every beat.
    """
    wanted = {
        "pass": output.verdict is Verdict.PASS,
        "fail": output.verdict is Verdict.FAIL,
        "hold": output.verdict is Verdict.HOLD,
        "ready": output.state is LineState.RUNNING,
        "strobe": output.sequence % 2 == 1,
        "heartbeat": output.heartbeat % 2 == 1,
    }
    return {role: wanted[role] for role in roles}


class GpioPort:
    """Sets the lines of one camera. Before it is opened, and after it is closed, none is active."""

    def __init__(self, address: GpioSignal, gpiod: ModuleType | None) -> None:
        self._address = address
        self._gpiod = gpiod
        self._request: Any = None

    def write(self, outputs: Mapping[str, Output]) -> None:
        try:
            gpiod = _installed(self._gpiod)
            if self._request is None:
                self._request = self._open(gpiod)
            for output in outputs.values():
                self._set(gpiod, levels(output, self._address.lines))
        except FAULTS as error:
            raise LineError(f"{self._address.chip}: {error}") from error

    def close(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()

    def _open(self, gpiod: Any) -> Any:
        settings = gpiod.LineSettings(
            direction=gpiod.line.Direction.OUTPUT,
            output_value=gpiod.line.Value.INACTIVE,
            active_low=self._address.active_low,
        )
        lines = tuple(self._address.lines.values())
        return gpiod.request_lines(self._address.chip, consumer=CONSUMER, config={lines: settings})

    def _set(self, gpiod: Any, wanted: Mapping[str, bool]) -> None:
        active, inactive = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
        # All lines in one call of the kernel: pass and fail never stand together.
        self._request.set_values({self._address.lines[role]: active if on else inactive for role, on in wanted.items()})
