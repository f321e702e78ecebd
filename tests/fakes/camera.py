"""A camera that follows a script: a whole source, without a device.

    FakeCamera(stop, [image, image, BAD, HANG, image, END])

Images are given as they come; what follows the script is END for a file, HANG for a live camera.
"""

import threading

from edge_agent.capture.source import Picture
from edge_agent.errors import BadPictureError, CameraError

BAD = "bad"  # a picture that cannot be decoded
FAULT = "fault"  # the connection breaks
HANG = "hang"  # read blocks in the driver until `release` is called, whatever `stop` says
END = "end"


class FakeCamera:
    """Implements edge_agent.capture.source.Source.

    `opens` may be "ok", FAULT or HANG. `pace` is a semaphore that lets one read pass each time it is released; None
    lets all pass.
    """

    def __init__(self, stop, script=(), *, live=True, opens="ok", description="fake", pace=None, identity=None):
        self.live = live
        self.description = description
        self.identity = identity
        self.unheld = ()
        self.decoding = None
        self.closed = threading.Event()
        self.hanging = threading.Event()
        self._stop = stop
        self._script = list(script)
        self._opens = opens
        self._open = False
        self._released = threading.Event()
        self._pace = pace

    def open(self):
        if self._opens == HANG:
            self._hang()
        if self._opens == FAULT:
            raise CameraError(f"{self.description}: did not open")
        self._open = True

    def read(self):
        if not self._open:
            raise CameraError(f"{self.description}: is not open")
        if self._pace is not None:
            self._pace.acquire()
        if self._stop.is_set():
            return None
        step = self._script.pop(0) if self._script else (HANG if self.live else END)
        if isinstance(step, str):
            return self._do(step)
        return Picture(image=step.copy())

    def close(self):
        self._open = False
        self.closed.set()

    def release(self):
        """Let a hanging call return."""
        self._released.set()

    def _do(self, step):
        if step == BAD:
            raise BadPictureError(f"{self.description}: cannot be decoded")
        if step == FAULT:
            raise CameraError(f"{self.description}: connection lost")
        if step == HANG:
            self._hang()

    def _hang(self):
        self.hanging.set()
        self._released.wait()
