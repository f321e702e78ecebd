"""A real GigE Vision camera on loopback: aravis' simulated one, a process of its own that can be frozen and killed."""

import os
import signal
import socket
import subprocess

from tests.waiting import until

PACKAGES = "aravis-tools gir1.2-aravis-0.8 python3-gi"
PROGRAM = "arv-fake-gv-camera-0.8"
ADDRESS = "127.0.0.1"
# GigE Vision Control Protocol: "who is there?", to be acknowledged.
DISCOVERY = bytes.fromhex("42 11 0002 0000 ffff")
CONTROL_PORT = 3956
START_S = 30.0


class VisionCamera:
    """A camera that gives 25 grey pictures of 512 x 512 a second. A context manager: leaving it kills the process.

    `lost_per_mille` packets of its stream never leave.
    """

    def __init__(self, serial="GV01", *, lost_per_mille=0):
        self.serial = serial
        self._process = None
        until(lambda: not self._answers(), START_S)  # one that was killed, or that of another run of the tests
        arguments = [PROGRAM, "-i", ADDRESS, "-s", serial, "-r", str(lost_per_mille)]
        try:
            self._process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise AssertionError(f"the GenICam tests need {PROGRAM}: apt-get install {PACKAGES}") from error
        until(self._answers, START_S)

    def freeze(self):
        """The camera hangs (SIGSTOP)."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self):
        """It goes on as if nothing had been (SIGCONT)."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self):
        """Power cut (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.kill()

    def _answers(self):
        assert self._process is None or self._process.poll() is None, f"{PROGRAM} ended at once"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
            ask.settimeout(0.1)
            try:
                ask.sendto(DISCOVERY, (ADDRESS, CONTROL_PORT))
                return bool(ask.recv(2048))
            except OSError:
                return False
