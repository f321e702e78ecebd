"""What an RTSP camera costs when OpenCV reads it (our source), and when PyAV does: docs/capture.md decides by it.

A real GStreamer server on loopback, H.264 at 20 frames/s with a key frame each half second, both readers over TCP with
one thread, the same FFmpeg options and the same time-outs (those of `Terms`). Each run is a process of its own.

`cpu_ms` is CPU time of the process per picture, from the stream to BGR pixels; `rss_mib` its memory while it streams,
less what it held before, OpenCV loaded and idle. `open_s` ends when the stream is open, `first_frame_s` with the first
picture. `stale_frames` are pictures of the first second that came late by more than half an interval, beside those of
the settled stream. The server is then frozen (`freeze_noticed_s`: until the source raises), thawed and opened again,
killed (`kill_noticed_s`), and started anew (`frame_after_restart_s`: from the moment it listens to a picture).

PyAV is measured where `av` is installed. It is no dependency: without it, its figures are null and `absent` says so.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import util
from typing import Any

import numpy as np
import psutil

from edge_agent.capture.addresses import Address, parse
from edge_agent.capture.source import Picture, Source, Terms
from edge_agent.capture.sources.rtsp import RtspSource
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.rtsp_server import RtspServer

FPS = 20
SETTLING = 3 * FPS  # the first second, where stale pictures are looked for, and two to compare it with
# As in edge_agent/capture/sources/rtsp.py: at the time-out PyAV too gives an old picture first, as if it were new, and
# raises only after another time-out (measured: 2.0 and 4.0 s).
STALE_SHARE = 0.9
FIGURES = {  # and to how many digits
    "cpu_ms": 2,
    "rss_mib": 1,
    "open_s": 2,
    "first_frame_s": 2,
    "stale_frames": 0,
    "freeze_noticed_s": 2,
    "kill_noticed_s": 2,
    "frame_after_restart_s": 2,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The bench's own argument."""
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT of the stream (default %(default)s)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    width_px, height_px = (int(side) for side in options.given.size.split("x"))
    runs, frames = (1, 5 * FPS) if options.quick else (5, 10 * FPS)
    present = [name for name, reader in READERS.items() if util.find_spec(reader.package) is not None]
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    for turn in range(runs):
        for place, name in enumerate(present):
            rows[name].append(_apart(name, width_px, height_px, frames))
            progress("runs", turn * len(present) + place + 1, runs * len(present))
    return {
        **{name: {"version": _version(name), **_summary(rows[name])} for name in READERS},
        "absent": [f"{name}: no package {READERS[name].package}" for name in READERS if name not in present],
        "size": [width_px, height_px],
        "fps": FPS,
        "runs": runs,
    }


def _version(name: str) -> str | None:
    with contextlib.suppress(ModuleNotFoundError):
        return str(importlib.import_module(READERS[name].package).__version__)
    return None


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The median of each figure, then the least and the most; null without rows."""
    if not rows:
        return {**dict.fromkeys(FIGURES), "min_max": None}
    columns = {key: sorted(round(row[key], digits) for row in rows) for key, digits in FIGURES.items()}
    return {
        **{key: statistics.median_low(column) for key, column in columns.items()},
        "min_max": {key: [column[0], column[-1]] for key, column in columns.items()},
    }


def _apart(name: str, width_px: int, height_px: int, frames: int) -> dict[str, float]:
    """`follow` in a fresh process, so that CPU time and memory are its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(follow, name, width_px, height_px, frames).result()


def follow(name: str, width_px: int, height_px: int, frames: int) -> dict[str, float]:
    """One reader's figures, from an idle process to the picture after a restart of the camera."""
    process = psutil.Process()
    terms = Terms(clock=SystemClock(), stop=threading.Event())
    with RtspServer(width_px, height_px, FPS) as server:
        idle_bytes = process.memory_info().rss
        source = READERS[name].make(parse(server.url), terms)
        row = _stream(source, process, frames)
        row["rss_mib"] = (row.pop("rss_bytes") - idle_bytes) / 2**20
        server.freeze()
        row["freeze_noticed_s"] = _until_fault(source)
        server.thaw()
        source.open()
        source.read()
        server.kill()
        row["kill_noticed_s"] = _until_fault(source)
    with RtspServer(width_px, height_px, FPS, port=server.port):
        row["frame_after_restart_s"] = _until_picture(source)
        source.close()
    return row


def _stream(source: Source, process: psutil.Process, frames: int) -> dict[str, float]:
    begun_s = time.perf_counter()
    source.open()
    opened_s = time.perf_counter()
    arrivals_s = list(_arrivals(source, SETTLING))
    before_s = time.process_time()
    for _ in _arrivals(source, frames):
        pass
    return {
        "cpu_ms": (time.process_time() - before_s) / frames * 1e3,
        "rss_bytes": process.memory_info().rss,
        "open_s": opened_s - begun_s,
        "first_frame_s": arrivals_s[0] - begun_s,
        "stale_frames": stale_frames(arrivals_s),
    }


def _arrivals(source: Source, count: int) -> Iterator[float]:
    """When each of the next `count` pictures was there. It is let go at once, as a frame above the fps limit is."""
    for _ in range(count):
        if source.read() is None:
            raise CameraError(f"{source.description}: ended, expected a live stream")
        yield time.perf_counter()


def stale_frames(arrivals_s: Sequence[float]) -> int:
    """How many pictures of the first second were older when they came than those of the settled stream.

    Picture k was taken k / FPS after the first: what is left of its arrival is its delay, in a settled stream a constant.
    """
    delays_s = [arrived_s - index / FPS for index, arrived_s in enumerate(arrivals_s)]
    settled_s = statistics.median(delays_s[-FPS:])
    return sum(
        delay_s - settled_s > 0.5 / FPS
        for delay_s, arrived_s in zip(delays_s, arrivals_s, strict=True)
        if arrived_s - arrivals_s[0] < 1.0
    )


def _until_fault(source: Source) -> float:
    """Seconds until the source raises; it is closed then, as the worker would."""
    begun_s = time.perf_counter()
    try:
        while source.read() is not None:
            pass
    except CameraError:
        return time.perf_counter() - begun_s
    finally:
        source.close()
    raise AssertionError(f"{source.description}: ended without a fault")


def _until_picture(source: Source) -> float:
    """Seconds until there is a picture again, opened anew as often as it takes."""
    begun_s = time.perf_counter()
    for _ in range(20):
        try:
            source.open()
            source.read()
        except CameraError:  # noqa: PERF203 - each attempt may fail
            source.close()
        else:
            return time.perf_counter() - begun_s
    raise AssertionError(f"{source.description}: gives no picture after its restart")


class PyAvSource:
    """The same stream through PyAV, as well as we can: one thread, one converter for all frames, the same rule on silence."""

    live = True
    identity = None
    unheld = ()

    def __init__(self, address: Address, terms: Terms) -> None:
        import av  # here, so that its memory is PyAV's and the bench runs without it
        from av.video.reformatter import VideoReformatter

        self.description = str(address)
        self._av = av
        self._url = address.target
        self._timeouts_s = (terms.open_timeout_s, terms.read_timeout_s)
        self._converter = VideoReformatter()
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._streaming = False

    def open(self) -> None:
        self._streaming = False
        # As in edge_agent/capture/sources/opencv.py.
        options = {"rtsp_transport": "tcp", "analyzeduration": "100000", "probesize": "32768"}
        try:
            self._container = self._av.open(self._url, options=options, timeout=self._timeouts_s)
        except self._av.error.FFmpegError as error:
            raise CameraError(f"{self.description}: did not open: {error}") from error
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1
        self._frames = self._container.decode(stream)

    def read(self) -> Picture | None:
        begun_s = time.monotonic()
        try:
            frame = next(self._frames)
        except StopIteration:
            raise CameraError(f"{self.description}: the stream ended") from None
        except self._av.error.FFmpegError as error:
            raise CameraError(f"{self.description}: {error}") from error
        if self._streaming and time.monotonic() - begun_s > self._timeouts_s[1] * STALE_SHARE:
            raise CameraError(f"{self.description}: fell silent")
        self._streaming = True
        return Picture(image=np.asarray(self._converter.reformat(frame, format="bgr24", threads=1).to_ndarray()))

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A source, and the package it needs."""

    make: Callable[[Address, Terms], Source]
    package: str


READERS = {"opencv": Reader(make=RtspSource, package="cv2"), "pyav": Reader(make=PyAvSource, package="av")}


if __name__ == "__main__":
    run_bench("rtsp", measure, configure)
