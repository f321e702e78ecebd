"""How much of the bare model's speed the whole pipeline keeps: frame in memory -> verdict committed to the outbox.

`raw` is a bare `session.run` loop over a prepared picture, `pipeline` the real queue, loop, head, rules, counters and
outbox (SQLite, fsync) with 640x480 frames that are in memory already. Same model, same threads, alternating blocks in
one run; `ratio` is the median of the blocks' ratios.
"""

from __future__ import annotations

import functools
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.capture.picture import prepare, prepare_for
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.synthetic import SyntheticLine
from edge_agent.clock import SystemClock
from edge_agent.inspect.assessors import HeadAssessor
from edge_agent.inspect.counters import Counters, quantile
from edge_agent.inspect.decide import Rules
from edge_agent.inspect.lane import Judge, Lane
from edge_agent.inspect.loop import InspectLoop
from edge_agent.models.loading import LoadedModel
from edge_agent.records import Canvas, Frame, Inspection
from edge_agent.sync.messages import inspection_message
from edge_agent.sync.outbox import OutboxWriter, WriterOptions
from tests.bench.gateway import default_model, folder
from tests.bench.report import Options, Progress, run_bench

CAMERA = "cam"
FRAMES_A_BLOCK = 300


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    blocks = 4 if options.quick else 12
    model = default_model()
    images = [SyntheticLine("lyon", 1, defect_share=0.15).part(index).image for index in range(32)]
    raws, pipelines, ratios = [], [], []
    stages: dict[str, list[float]] = {}
    with folder() as place:
        _raw(model, images, 50)
        for block in range(blocks):
            raw = _raw(model, images, FRAMES_A_BLOCK)
            pipeline, inspections = _pipeline(model, images, FRAMES_A_BLOCK, place / f"outbox-{block}.db")
            raws.append(raw)
            pipelines.append(pipeline)
            ratios.append(pipeline / raw)
            for inspection in inspections:
                latency = inspection.latency
                assert latency is not None
                for name in ("prepare_ms", "encode_ms", "decide_ms"):
                    stages.setdefault(name, []).append(getattr(latency, name))
            progress("blocks", block + 1, blocks)
    return {
        "raw_fps": round(statistics.median(raws), 1),
        "pipeline_fps": round(statistics.median(pipelines), 1),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min_max": [round(min(ratios), 3), round(max(ratios), 3)],
        "stage_ms": {
            name: {"p50": _rounded(values, 0.50), "p99": _rounded(values, 0.99)} for name, values in stages.items()
        },
        "frames": [640, 480],
        "runs": blocks,
    }


def _raw(model: LoadedModel, images: list[np.ndarray], count: int) -> float:
    """Frames a second of nothing but the session."""
    prepared = [prepare(image, model.encoder.input_px) for image in images]
    session = model.encoder.bare_session
    feeds = [{"picture": picture} for picture in prepared]
    started_s = time.perf_counter()
    for index in range(count):
        session.run(None, feeds[index % len(feeds)])
    return count / (time.perf_counter() - started_s)


def _pipeline(model: LoadedModel, images: list[np.ndarray], count: int, file: Path) -> tuple[float, list[Inspection]]:
    """Frames a second from a frame in memory to its committed verdict, the last commit included."""
    clock = SystemClock()
    queue = FrameQueue(clock)
    queue.add(CAMERA, waits=True, capacity=4)
    # The daemon's default window, so that the commit is paid as a gateway pays it.
    writer = OutboxWriter(file, clock, listener=lambda condition: None, options=WriterOptions(window_s=0.02))
    inspections: list[Inspection] = []
    counters = Counters()
    judge = Judge(
        name=model.manifest.name,
        digest=model.digest,
        canvas=Canvas(px=model.encoder.input_px),
        look=model.encoder.encode,
        assessor=HeadAssessor(model.head, model.manifest.features.map_slice.start, model.head.hold_below),
        rules=Rules(threshold=model.head.threshold, hold_below=model.head.hold_below),
    )
    loop = InspectLoop(
        frames=queue,
        lanes={CAMERA: Lane(first=judge)},
        prepare=prepare_for,
        sinks=(counters, lambda inspection: writer.put(inspection_message(inspection)), inspections.append),
        clock=clock,
        on_fault=lambda camera, text: None,
    )
    feeder = threading.Thread(target=_feed, args=(queue, images, count, clock, model.encoder.input_px))
    started_s = time.perf_counter()
    feeder.start()
    while len(inspections) < count:
        loop.step(1.0)
    assert writer.flush(10.0), "the outbox did not commit"
    fps = count / (time.perf_counter() - started_s)
    feeder.join()
    writer.close()
    return fps, inspections


def _feed(
    queue: FrameQueue, images: list[np.ndarray], count: int, clock: SystemClock, input_px: tuple[int, int]
) -> None:
    """The camera's thread: it prepares each frame, as capture does, while the inspect thread judges the one before."""
    for index in range(count):
        image = images[index % len(images)]
        captured_utc_s, captured_mono_s = clock.utc_s(), clock.mono_s()
        prepared = prepare(image, input_px)
        fields = {
            "captured_utc_s": captured_utc_s,
            "captured_mono_s": captured_mono_s,
            "image": image,
            "prepared": prepared,
            "prepare_ms": (clock.mono_s() - captured_mono_s) * 1e3,
        }
        queue.put(CAMERA, functools.partial(_frame, fields))


def _frame(fields: dict[str, Any], sequence: int) -> Frame:
    return Frame(camera=CAMERA, sequence=sequence, **fields)


def _rounded(values: list[float], share: float) -> float:
    return round(quantile(sorted(values), share) or 0.0, 3)


if __name__ == "__main__":
    run_bench("inspect", measure)
