"""What a gateway costs at rest: cold start, memory, whether torch is loaded, and CPU beside pure inference.

Real processes as the units start them, one 640x480 camera at 10 frames/s (a folder of uncompressed pictures, so that no
decoder is measured), the default bundle, int8, one thread. `cold_start_s` is exec to the first verdict committed to the
outbox, the median of several starts. `cpu_ratio_10fps` is the CPU time of the inspect process over that of a process
that does nothing but run the model ten times a second; `cpu_ratio_same_work` compares with one that reads and prepares
the same pictures as well.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import psutil

from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.sync.outbox_file import inspect_outbox
from tests.bench.gateway import default_store, folder, loads, pause, running, until, write_config
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.broker import Broker

FPS = 10.0
PICTURES = 64
INFER_ALONE = """
import sys, time
from pathlib import Path
import cv2
from edge_agent.capture.picture import prepare
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
store = ModelStore(Path(sys.argv[1]))
model = store.load(store.active("surface"), RuntimeOptions())
def ready(path):
    return prepare(cv2.imread(str(path)), model.encoder.input_px)
paths = sorted(Path(sys.argv[2]).iterdir())
pictures = [ready(path) for path in paths]
for picture in pictures[:10]:
    model.encoder.encode(picture)
seconds, whole, due = float(sys.argv[3]), sys.argv[4] == "whole", time.monotonic()
before = time.process_time()
for index in range(int(seconds * 10)):
    place = index % len(pictures)
    model.encoder.encode(ready(paths[place]) if whole else pictures[place])
    due += 0.1
    time.sleep(max(0.0, due - time.monotonic()))
print((time.process_time() - before) / seconds)
"""


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    starts = 3 if options.quick else 7
    seconds = 15.0 if options.quick else 60.0
    default_store()
    with folder() as place, Broker(place / "broker") as broker:
        pictures = place / "pictures"
        write_pictures(pictures)
        config = write_config(place, url=broker.url, source=f"folder:{pictures}?loop=1", fps=FPS)
        cold = []
        for number in range(starts):
            cold.append(_cold_start(config, place / "state" / "outbox.db"))
            progress("starts", number + 1, starts)
        with running(config, "sync") as sync, running(config, "inspect") as inspect:
            pause(5.0)
            before = _cpu_s(inspect), _cpu_s(sync), time.monotonic()
            pause(seconds)
            passed_s = time.monotonic() - before[2]
            cpu_inspect = (_cpu_s(inspect) - before[0]) / passed_s
            cpu_sync = (_cpu_s(sync) - before[1]) / passed_s
            rss = {name: process.memory_info().rss / 2**20 for name, process in (("inspect", inspect), ("sync", sync))}
            torch = loads(inspect, "libtorch") or loads(sync, "libtorch")
        progress("running", 1, 1)
        alone, whole = (_alone(place / "state" / "models", pictures, seconds, work) for work in ("infer", "whole"))
    return {
        "cold_start_s": round(statistics.median(cold), 3),
        "cold_start_min_max_s": [round(min(cold), 3), round(max(cold), 3)],
        "rss_inspect_mib": round(rss["inspect"], 1),
        "rss_sync_mib": round(rss["sync"], 1),
        "torch_loaded": torch,
        "cpu_ratio_10fps": round(cpu_inspect / alone, 2),
        "cpu_ratio_same_work": round(cpu_inspect / whole, 2),
        "cpu_share": {
            "inspect": round(cpu_inspect, 4),
            "inference_alone": round(alone, 4),
            "read_prepare_infer_alone": round(whole, 4),
            "sync": round(cpu_sync, 4),
        },
        "runs": starts,
    }


def write_pictures(directory: Path) -> None:
    """Uncompressed 640x480 pictures of the synthetic line."""
    directory.mkdir()
    line = SyntheticLine("lyon", 1, defect_share=0.15)
    for index in range(PICTURES):
        cv2.imwrite(str(directory / f"{index:03}.bmp"), line.part(index).image)


def _cold_start(config: Path, outbox: Path) -> float:
    for file in outbox.parent.glob(f"{outbox.name}*"):
        file.unlink()
    started_s = time.perf_counter()
    with running(config, "inspect"):
        until(lambda: _has_verdict(outbox))
        return time.perf_counter() - started_s


def _has_verdict(outbox: Path) -> bool:
    if not outbox.is_file():
        return False
    with inspect_outbox(outbox) as connection:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message'").fetchone()
        return found is not None and (
            connection.execute("SELECT 1 FROM message WHERE topic LIKE 'insp/%' LIMIT 1").fetchone() is not None
        )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _alone(models: Path, pictures: Path, seconds: float, work: str) -> float:
    """CPU seconds a second of a process that does only the `work`."""
    command = [sys.executable, "-c", INFER_ALONE, str(models), str(pictures), str(seconds), work]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    run_bench("footprint", measure)
