"""A line that listens: a whole port for signals, which may be unplugged."""

import threading

from edge_agent.errors import LineError
from edge_agent.line.signals import NOTHING_TOLD


class FakePort:
    """Implements edge_agent.line.signaller.Port. `shown` is every output written, in order: (camera, output)."""

    def __init__(self):
        self.shown = []
        self.closed = 0
        self.attempts = 0
        self._unplugged = threading.Event()

    def write(self, outputs):
        self.attempts += 1
        if self._unplugged.is_set():
            raise LineError("unplugged")
        self.shown += outputs.items()

    def close(self):
        self.closed += 1

    def unplug(self):
        self._unplugged.set()

    def plug(self):
        self._unplugged.clear()

    def last(self, camera="top"):
        """The newest output of a camera, None before the first."""
        return next((output for name, output in reversed(self.shown) if name == camera), None)

    def verdicts(self, camera="top"):
        """Each sequence number with the verdict shown for it first, in order."""
        found = {}
        for name, output in self.shown:
            if name == camera and output.sequence and output.reason != NOTHING_TOLD:
                found.setdefault(output.sequence, (output.verdict.value, output.part))
        return found
