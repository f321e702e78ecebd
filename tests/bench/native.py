"""What it costs that native camera stacks run in a process of their own: docs/capture.md.

A GStreamer test source (1920 x 1080, BGR, 30 frames/s, `--size` for another) is read three ways, in turn:

    ours        our source: the pipeline in its camera process, pictures through shared memory, copied once on each side
    within      the same pipeline inside one process of the system's Python, each picture copied once out of GStreamer
    alone       the same pipeline ending in a fakesink: what the test source itself costs

`cpu_ms` is CPU time per picture of all processes that take part; `daemon_cpu_ms` and `camera_cpu_ms` are the two halves
of ours. `handover_ms` is from the picture's arrival at the end of the pipeline to the return of `read()`, median and
99th percentile; `open_s` from nothing to the first picture; `rss_mib` the memory of the camera process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import threading
import time
from typing import Any

import numpy as np
import psutil

from edge_agent.capture.addresses import parse
from edge_agent.capture.bridge import interpreter
from edge_agent.capture.source import Terms
from edge_agent.capture.sources.gstreamer import GstreamerSource
from edge_agent.clock import SystemClock
from tests.bench.report import Options, Progress, run_bench

FPS = 30
MIB = 1024 * 1024
FIGURES = {  # and to how many digits
    "open_s": 2,
    "cpu_ms": 2,
    "daemon_cpu_ms": 2,
    "camera_cpu_ms": 2,
    "handover_ms": 2,
    "handover_p99_ms": 2,
    "rss_mib": 0,
}
# For the system's Python, which has no numpy: the copy is the child's own (native/gstreamer.py).
WITHIN = """
import ctypes, json, sys, time
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import Gst, GstApp
Gst.init(None)
library = ctypes.CDLL("libgstreamer-1.0.so.0")
library.gst_buffer_extract.restype = ctypes.c_size_t
library.gst_buffer_extract.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
text, frames, copy = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "within"
pipeline = Gst.parse_launch(text + (" ! appsink name=end drop=true max-buffers=1 sync=false" if copy else
                                    " ! fakesink name=end sync=false num-buffers=%d" % frames))
end = pipeline.get_by_name("end")
pipeline.set_state(Gst.State.PLAYING)
begun_s = None
if copy:
    for number in range(frames):
        buffer = end.pull_sample().get_buffer()
        begun_s = begun_s if begun_s is not None else time.process_time()
        memory = (ctypes.c_char * buffer.get_size())()
        library.gst_buffer_extract(hash(buffer), 0, ctypes.addressof(memory), len(memory))
else:
    pipeline.get_state(Gst.CLOCK_TIME_NONE)
    begun_s = time.process_time()
    pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, Gst.MessageType.EOS | Gst.MessageType.ERROR)
print(json.dumps({"cpu_ms": (time.process_time() - begun_s) / (frames - 1) * 1e3}))
pipeline.set_state(Gst.State.NULL)
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The bench's own argument."""
    parser.add_argument("--size", default="1920x1080", help="WIDTHxHEIGHT of the pictures (default %(default)s)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    width_px, height_px = (int(side) for side in options.given.size.split("x"))
    runs, frames = (1, 3 * FPS) if options.quick else (5, 5 * FPS)
    text = (
        f"videotestsrc is-live=true pattern=white ! video/x-raw,format=BGR,"
        f"width={width_px},height={height_px},framerate={FPS}/1"
    )
    rows: dict[str, list[dict[str, float]]] = {"ours": [], "within": [], "alone": []}
    for turn in range(runs):
        rows["ours"].append(_ours(text, frames))
        for name in ("within", "alone"):
            rows[name].append(_by_itself(name, text, frames))
        progress("runs", turn + 1, runs)
    return {
        **{
            name: {
                key: statistics.median_low(round(row[key], n) for row in mine)
                for key, n in FIGURES.items()
                if key in mine[0]
            }
            for name, mine in rows.items()
        },
        "size": [width_px, height_px],
        "fps": FPS,
        "runs": runs,
    }


def _ours(text: str, frames: int) -> dict[str, float]:
    source = GstreamerSource(parse(f"gstreamer:{text}"), Terms(clock=SystemClock(), stop=threading.Event()))
    begun_s = time.monotonic()
    source.open()
    source.read()
    open_s = time.monotonic() - begun_s
    camera = psutil.Process(source._camera.pid)
    daemon_s, camera_s = time.process_time(), sum(camera.cpu_times()[:2])
    ages_s = []
    for _ in range(frames):
        picture = source.read()
        ages_s.append(time.monotonic() - picture.captured_mono_s)
    daemon_ms = (time.process_time() - daemon_s) / frames * 1e3
    camera_ms = (sum(camera.cpu_times()[:2]) - camera_s) / frames * 1e3
    rss_mib = camera.memory_info().rss / MIB
    source.close()
    return {
        "open_s": open_s,
        "cpu_ms": daemon_ms + camera_ms,
        "daemon_cpu_ms": daemon_ms,
        "camera_cpu_ms": camera_ms,
        # The test source stamps a picture when it begins to draw it.
        "handover_ms": statistics.median(ages_s) * 1e3,
        "handover_p99_ms": float(np.percentile(ages_s, 99)) * 1e3,
        "rss_mib": rss_mib,
    }


def _by_itself(name: str, text: str, frames: int) -> dict[str, float]:
    done = subprocess.run(
        [interpreter(), "-I", "-c", WITHIN, text, str(frames), name], capture_output=True, text=True, check=True
    )
    row: dict[str, float] = json.loads(done.stdout)
    return row


if __name__ == "__main__":
    run_bench("native", measure, configure)
