"""From a PLC's trigger to the verdict in its registers, over loopback Modbus TCP.

The PLC is pymodbus' own server in a process of its own, with a program that raises the trigger at random moments and
takes the time until its registers are written; the gateway is the real inspect process with the default bundle, polling
every 5 ms. The camera is a folder of uncompressed 640x480 pictures, of which each trigger takes the next: exposure and
transfer of a real camera come on top. `durable` is the same with `after: durable` (the verdict is on disk first).
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_agent.inspect.counters import quantile
from edge_agent.processes.live import read_inspect
from tests.bench.footprint import write_pictures
from tests.bench.gateway import folder, running, write_cameras
from tests.bench.plc import ACK, BLOCK, PART, TRIGGER
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.plc import free_port

POLL_MS = 5
WARM_UP = 20
SEED = 20261124


@dataclasses.dataclass(frozen=True)
class Series:
    """Milliseconds from the trigger, ordered: to the poll that saw it, from there on, and all of it."""

    poll: list[float]
    rest: list[float]
    total: list[float]
    stages: dict[str, float]


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    parts = 150 if options.quick else 1000
    told = _series("verdict", parts, progress)
    durable = _series("durable", parts // 2, progress)
    return {
        "p50_ms": _at(told.total, 0.50),
        "p99_ms": _at(told.total, 0.99),
        "max_ms": round(told.total[-1], 2),
        "stages": {
            "poll_p50_ms": _at(told.poll, 0.50),
            "poll_p99_ms": _at(told.poll, 0.99),
            "seen_to_written_p50_ms": _at(told.rest, 0.50),
            "seen_to_written_p99_ms": _at(told.rest, 0.99),
            **{f"{name}_p50_ms": round(value, 2) for name, value in told.stages.items()},
        },
        "durable": {"p50_ms": _at(durable.total, 0.50), "p99_ms": _at(durable.total, 0.99)},
        "poll_ms": POLL_MS,
        "runs": len(told.total),
    }


def _at(ordered: list[float], share: float) -> float:
    return round(quantile(ordered, share) or 0.0, 2)


def _series(after: str, parts: int, progress: Progress) -> Series:
    port = free_port()
    trigger = f"modbus://127.0.0.1:{port}/holding/{TRIGGER}?part=holding/{PART}:8&ack=holding/{ACK}&poll_ms={POLL_MS}"
    signals = {"plc": {"to": f"modbus://127.0.0.1:{port}/holding/{BLOCK}", "after": after}}
    with folder() as place:
        write_pictures(place / "pictures")
        camera = {"source": f"folder:{place / 'pictures'}?loop=1", "trigger": trigger}
        config = write_cameras(place, {"cam": camera}, url="mqtt://127.0.0.1:1")
        with config.open("a") as file:
            file.write(f"signals: {json.dumps(signals)}\n")
        command = [sys.executable, "-m", "tests.bench.plc", str(port), str(parts + WARM_UP), str(SEED)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as plc, running(config, "inspect"):
            for line in plc.stderr:
                if line.strip().isdigit():
                    progress(after, max(0, int(line) - WARM_UP), parts)
            rows = json.loads(plc.stdout.read())[WARM_UP:]
            stages = _stages(place / "run" / "inspect.json")
    return Series(
        poll=sorted(seen for seen, _ in rows),
        rest=sorted(total - seen for seen, total in rows),
        total=sorted(total for _, total in rows),
        stages=stages,
    )


def _stages(snapshot: Path) -> dict[str, float]:
    live = read_inspect(snapshot)
    return {} if live is None else dict(live.cameras["cam"].stage_p50_ms)


if __name__ == "__main__":
    run_bench("trigger", measure)
