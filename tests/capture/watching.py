"""What the tests of cameras wait with: every wait has a deadline and ends at the moment the thing happens."""

import threading

import numpy as np

from edge_agent.capture.intake import CameraPlan, Wiring
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.worker import CameraWorker
from edge_agent.clock import SystemClock

DEADLINE_S = 20.0


def picture(level=100, size=(48, 64)):
    return np.full((*size, 3), level, np.uint8)


class Watcher:
    """Hears of states and drops; lets a test wait for one."""

    def __init__(self):
        self.statuses = []
        self.drops = []
        self._heard = threading.Condition()

    def changed(self, status):
        with self._heard:
            self.statuses.append(status)
            self._heard.notify_all()

    def dropped(self, drop, reason):
        with self._heard:
            self.drops.append((drop, reason))
            self._heard.notify_all()

    def wait_state(self, state, after=0):
        """The first status of this state from position `after` on."""
        return self._wait(lambda: next((s for s in self.statuses[after:] if s.state.value == state), None), state)

    def wait_drops(self, count):
        return self._wait(lambda: self.drops[:count] if len(self.drops) >= count else None, f"{count} drops")

    def states(self):
        return [status.state.value for status in self.statuses]

    def _wait(self, look, what):
        with self._heard:
            found = self._heard.wait_for(look, DEADLINE_S)
            assert found, f"no {what} within {DEADLINE_S} s; heard {[(s.state.value, s.reason) for s in self.statuses]}"
            return found


class Rig:
    """One queue and any number of cameras on it; leaving the `with` stops them all. `wired` are keys of Wiring."""

    def __init__(self, clock=None, **wired):
        self.clock = clock or SystemClock()
        self._wired = wired
        self.queue = FrameQueue(self.clock)
        self.workers = []

    def start(self, make_source, name="cam", **plan):
        watcher = Watcher()
        wiring = Wiring(
            plan=CameraPlan(name=name, **plan),
            make_source=make_source,
            queue=self.queue,
            on_drop=watcher.dropped,
            clock=self.clock,
            **self._wired,
        )
        worker = CameraWorker(wiring, watcher.changed, np.random.default_rng(0))
        self.workers.append(worker)
        worker.start()
        return worker, watcher

    def frame(self):
        """The next frame, already counted as judged."""
        frame = self.queue.get(DEADLINE_S)
        assert frame is not None, f"no frame within {DEADLINE_S} s: {[worker.status for worker in self.workers]}"
        self.queue.done(frame)
        return frame

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        for worker in self.workers:
            worker.stop()
