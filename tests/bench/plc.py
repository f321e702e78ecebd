"""A PLC program for the bench `trigger`, beside pymodbus' own server, in a process of its own.

    python -m tests.bench.plc PORT PARTS SEED

For each part: write its name, raise the trigger at a random moment, await the verdict, finish the handshake. Prints one
JSON list of [trigger to the poll that saw it, trigger to the verdict written] in milliseconds, a pair for each part.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TRIGGER, PART, ACK, BLOCK = 0, 1, 40, 100
STATE, SEQUENCE = BLOCK, BLOCK + 2
RUNNING = 2
READ_HOLDING, WRITE_HOLDING = 3, 16
PAUSE_S = (0.03, 0.08)  # between two parts: a quick line


class Program:
    """Watches its own registers; `changed` is set by each write of the gateway."""

    def __init__(self) -> None:
        self.registers: list[int] = []
        self.changed = asyncio.Event()
        self.seen_s: float | None = None
        self.written_s = 0.0

    async def access(
        self, function: int, _start: int, address: int, _count: int, registers: list[int], values: list[int] | None
    ) -> None:
        """Called by the server at each request, before it is carried out."""
        now_s = time.perf_counter()
        self.registers = registers
        if function == READ_HOLDING and address == TRIGGER and registers[TRIGGER] and self.seen_s is None:
            self.seen_s = now_s
        if function == WRITE_HOLDING and values is not None:
            if address == BLOCK and values[2] != registers[SEQUENCE]:
                self.written_s = now_s
            registers[address : address + len(values)] = values
            self.changed.set()

    async def until(self, address: int, value: int) -> None:
        while not self.registers or self.registers[address] != value:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 30)

    async def part(self, number: int, chance: random.Random) -> tuple[float, float]:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        name = f"P{number:07}".encode()
        self.registers[PART : PART + 4] = [int.from_bytes(name[i : i + 2], "big") for i in range(0, 8, 2)]
        before, self.seen_s = self.registers[SEQUENCE], None
        asked_s, self.registers[TRIGGER] = time.perf_counter(), 1
        await self.until(SEQUENCE, before + 1)
        done_s = self.written_s
        await self.until(ACK, 1)
        self.registers[TRIGGER] = 0
        await self.until(ACK, 0)
        assert self.seen_s is not None
        return (self.seen_s - asked_s) * 1e3, (done_s - asked_s) * 1e3


async def main(port: int, parts: int, seed: int) -> None:
    program, chance = Program(), random.Random(seed)
    bits = [SimData(0, count=64, values=False, datatype=DataType.BITS)]
    registers = [SimData(0, count=200, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits, bits, registers, registers), action=program.access)
    server = ModbusTcpServer(device, address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    await program.until(STATE, RUNNING)
    rows = []
    for number in range(parts):
        rows.append(await program.part(number, chance))
        print(number + 1, file=sys.stderr, flush=True)
    await server.shutdown()
    print(json.dumps(rows))


if __name__ == "__main__":
    asyncio.run(main(*(int(word) for word in sys.argv[1:])))
