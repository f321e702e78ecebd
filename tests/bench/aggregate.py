"""What it costs the coordinator to aggregate 100 updates of 1.5 million float32: memory above the imports, CPU seconds.

Each row is a process of its own. `sum` adds the updates one by one as they come, exactly; `coded` decodes each from its
message first; the robust rules read rows from a scratch file by tiles. With `--flower` as many updates go through
Flower's strategies in an environment of its own (made once, 0.3 GB).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests import flower
from tests.bench.report import Options, Progress, run_bench

COUNT, SIZE = 100, 1_500_000
RULES = ("median", "trimmed", "multikrum")
FLOWER = ("fedavg", *RULES)
MODULE = "tests.bench.aggregate"


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    """Each row once; `--quick` leaves the robust rules out, whose scratch file has 600 MB."""
    names = ["sum", "coded"] + ([] if options.quick else list(RULES))
    if options.given.flower:
        names += [f"flower-{label}" for label in (FLOWER[:1] if options.quick else FLOWER)]
    rows = {}
    for done, name in enumerate(names):
        progress("aggregating", done, len(names))
        label = name.removeprefix("flower-")
        rows[name] = _flower(label) if label != name else _child([sys.executable, "-m", MODULE, "--child", name])
    progress("aggregating", len(names), len(names))
    return {
        "runs": 1,
        "updates": COUNT,
        "parameters": SIZE,
        "aggregate_100x1m5_mib": rows["sum"]["mib"],
        "flower_100x1m5_mib": rows.get("flower-fedavg", {}).get("mib"),
        "rows": rows,
    }


def _flower(label: str) -> dict[str, float]:
    side = Path(flower.__file__).parent / "coordinator" / "flower_side.py"
    return _child([str(flower.python()), str(side), "cost", str(COUNT), str(SIZE), label])


def _child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=flower.environ())
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {name: round(value, 3) for name, value in figures.items()}


# --- in the child ---------------------------------------------------------------------------------------------------


def cost(name: str, folder: Path) -> dict[str, float]:
    """Peak memory above what the imports take, CPU and wall seconds of one row."""
    prepare = {"sum": _sum, "coded": _coded}.get(name) or (lambda folder: _rows(name, folder))
    work = prepare(folder)
    before_kib = _resident_kib()
    cpu_s, wall_s = time.process_time(), time.monotonic()
    work()
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"mib": (peak_kib - before_kib) / 1024, "cpu_s": cpu_s, "wall_s": wall_s}


def _resident_kib() -> int:
    """What is resident now. The peak so far must not be higher by much, or it would hide what the work takes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024


def _update() -> np.ndarray[Any, np.dtype[np.float32]]:
    generator = np.random.default_rng(0)
    return generator.standard_normal(SIZE, np.float32) * np.float32(1e-3)


def _sum(_folder: Path) -> Callable[[], object]:
    from edge_agent.coordinator.aggregate import sums
    from edge_agent.coordinator.aggregate.weights import weigh

    update = _update()

    def work() -> object:
        total = sums.empty(SIZE)
        for number in range(COUNT):
            total.add(update, weigh(number + 1))
        return total.mean()

    return work


def _coded(folder: Path) -> Callable[[], object]:
    """In two processes, since writing a message takes more memory than reading it."""
    message = folder / "message"
    subprocess.run([sys.executable, "-m", MODULE, "--message", str(message)], check=True)
    from edge_agent.coordinator.aggregate.averaging import fed_avg
    from edge_agent.coordinator.aggregate.weights import weigh
    from edge_agent.coordinator.matter import DeltaMatter

    matter = DeltaMatter(method=fed_avg(), model=message.with_suffix(".model").read_bytes())
    payload = message.read_bytes()

    def work() -> object:
        running = matter.begin()
        for number in range(COUNT):
            running.add(matter.read(payload, "0" * 64, number + 1), weigh(number + 1))
        return matter.solve(running, population=COUNT)

    return work


def write_message(path: Path) -> None:
    """A coded delta and the model it belongs to."""
    from edge_agent.coordinator.matter import model_to_bytes
    from edge_agent.federate import delta_code

    path.write_bytes(delta_code.to_bytes({"w": _update()}, "0" * 64)[0])
    path.with_suffix(".model").write_bytes(model_to_bytes({"w": np.zeros(SIZE, np.float32)}))


def _rows(name: str, folder: Path) -> Callable[[], object]:
    from edge_agent.coordinator.aggregate import robust
    from edge_agent.coordinator.aggregate.weights import weigh
    from edge_agent.coordinator.payloads import RowFile

    rows, update = RowFile(folder / "rows", SIZE), _update()
    for number in range(COUNT):
        rows.append(np.roll(update, number))
    weights = [weigh(number + 1) for number in range(COUNT)]
    rules: dict[str, Callable[[], object]] = {
        "median": lambda: robust.median(rows),
        "trimmed": lambda: robust.trimmed(rows),
        "multikrum": lambda: robust.krum(rows, weights, liars=5, keep=50),
    }
    return rules[name]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flower", action="store_true", help="Flower's strategies beside ours")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--message"]:
        write_message(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--child"]:
        with tempfile.TemporaryDirectory(prefix="ea") as scratch:
            print(json.dumps(cost(sys.argv[2], Path(scratch))))
    else:
        run_bench("aggregate", measure, _arguments)
