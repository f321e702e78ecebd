"""A PLC that speaks Modbus TCP: pymodbus' own server in a process of its own, and a client to look into its cells.

    with Plc() as plc:
        plc.write_text(20, 8, "A-17")
        plc.coil(0, True)                # the trigger
        until(lambda: plc.block(100).sequence == 1)
        plc.stop(), plc.go(), plc.kill(), plc.start()

What it is asked and told goes through the same port as the gateway's requests; nothing of ours is used to read it.
"""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

from pymodbus.client import ModbusTcpClient

from tests.waiting import until

CELLS = 400


def free_port():
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Block:
    """One camera's registers, as docs/line.md says they lie."""

    state: int
    heartbeat: int
    sequence: int
    verdict: int
    reason: int
    score: int
    version: int
    part: str


def block_of(registers):
    content = b"".join(value.to_bytes(2, "big") for value in registers[8:24])
    return Block(*registers[:7], part=content.split(b"\0")[0].decode())


class Plc:
    """`port` None: any free one, and the same again after `kill` and `start`."""

    def __init__(self, port=None):
        self.port = port or free_port()
        self._child = None
        self._client = ModbusTcpClient("127.0.0.1", port=self.port, timeout=2, retries=0)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self._client.close()
        if self._child is not None:
            self.go()
            self._child.kill()
            self._child.wait()

    def start(self):
        self._child = subprocess.Popen([sys.executable, "-m", "tests.fakes.plc", str(self.port)])
        until(self._answers)
        return self

    def _answers(self):
        assert self._child.poll() is None, "the PLC ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def kill(self):
        """Power off: its cells are forgotten."""
        self._client.close()
        self._child.kill()
        self._child.wait()
        self._child = None

    def stop(self):
        """It keeps its connections and answers nothing."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def go(self):
        os.kill(self._child.pid, signal.SIGCONT)

    def coil(self, number, value=None):
        """Set a coil, or read it."""
        if value is not None:
            self._ask(self._client.write_coil, number, value)
        return bool(self._ask(self._client.read_coils, number, count=1).bits[0])

    def write(self, start, values):
        self._ask(self._client.write_registers, start, list(values))

    def read(self, start, count):
        return self._ask(self._client.read_holding_registers, start, count=count).registers

    def write_text(self, start, count, text):
        content = text.encode().ljust(2 * count, b"\0")
        self.write(start, [int.from_bytes(content[i : i + 2], "big") for i in range(0, 2 * count, 2)])

    def block(self, start):
        return block_of(self.read(start, 24))

    def _ask(self, request, *arguments, **named):
        assert self._client.connected or self._client.connect()
        answer = request(*arguments, **named)
        assert not answer.isError(), answer
        return answer


def serve(port):
    from pymodbus.server import StartTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    bits = [SimData(0, count=CELLS, values=False, datatype=DataType.BITS)]
    registers = [SimData(0, count=CELLS, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits, bits, registers, registers))
    StartTcpServer(context=device, address=("127.0.0.1", port))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
