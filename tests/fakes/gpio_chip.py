"""A GPIO chip without hardware: stands for the package `gpiod` (libgpiod 2), as far as we use it.

    chip = FakeChip(lines=8)
    GpioPort(address, chip.package)      the package whose only chip is this one
    chip.edge(3)                         a rising edge on line 3
    chip.levels                          what the outputs show

Settings and values are the real package's own classes; only the chip behind `request_lines` is ours.
"""

import errno
import os
import queue
import time
from types import SimpleNamespace

import gpiod

PATH = "/dev/gpiochip0"


class FakeChip:
    def __init__(self, lines=8):
        self.lines = lines
        self.levels = {}  # line -> electrical level of an output
        self.requests = []  # those not released
        self.history = []  # every set of outputs, as it was asked for
        self.package = SimpleNamespace(
            LineSettings=gpiod.LineSettings, line=gpiod.line, request_lines=self.request_lines
        )

    def request_lines(self, path, config, consumer=None):
        if path != PATH:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        wanted = {}
        for lines, settings in config.items():
            for line in lines if isinstance(lines, tuple) else (lines,):
                if line >= self.lines:
                    raise ValueError(errno.EINVAL, "line offset out of range")
                if any(line in request.settings for request in self.requests):
                    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
                wanted[line] = settings
        request = FakeRequest(self, wanted, consumer)
        self.requests.append(request)
        return request

    def edge(self, line, *, falling=False):
        """An edge on a line; True when somebody asked for it."""
        kind = gpiod.line.Edge.FALLING if falling else gpiod.line.Edge.RISING
        found = [r for r in self.requests if line in r.settings and r.settings[line].edge_detection is kind]
        for request in found:
            request.events.put(SimpleNamespace(line_offset=line, timestamp_ns=time.monotonic_ns()))
        return bool(found)

    def unplug(self):
        """The chip goes away: every request fails from now on."""
        self.lines = 0
        for request in self.requests:
            request.gone = True
            request.events.put(None)


class FakeRequest:
    def __init__(self, chip, settings, consumer):
        self.settings = settings
        self.consumer = consumer
        self.events = queue.SimpleQueue()
        self.gone = False
        self._chip = chip
        outputs = {
            line: one.output_value for line, one in settings.items() if one.direction is gpiod.line.Direction.OUTPUT
        }
        if outputs:
            self.set_values(outputs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def set_values(self, values):
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        active = {line: value is gpiod.line.Value.ACTIVE for line, value in values.items()}
        self._chip.history.append(active)
        for line, on in active.items():
            self._chip.levels[line] = on is not self.settings[line].active_low

    def wait_edge_events(self, timeout=None):
        try:
            self._next = self.events.get(timeout=timeout)
        except queue.Empty:
            return False
        return True

    def read_edge_events(self):
        if self.gone or self._next is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return [self._next]

    def release(self):
        if self in self._chip.requests:
            self._chip.requests.remove(self)
