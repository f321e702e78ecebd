"""What an MJPEG camera over HTTP costs when our own source reads it, and when OpenCV's FFmpeg does: docs/capture.md.

A camera in a process of its own sends JPEGs at 20 frames/s over loopback, numbered by a row of black and white blocks.
Each run is a process of its own. `cpu_ms` is CPU time of the process per picture, from the stream to BGR pixels;
`latency_ms` the median from the camera's `send` to the decoded picture, `latency_without_length_ms` the same where the
parts state no Content-Length; `first_frame_s` ends with the first picture; `stale_frames` are pictures of the first ten
that were older than half an interval. `silence_noticed_s` is from the moment the camera stops sending to the error.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2
import numpy as np

from edge_agent.capture.addresses import Address, parse
from edge_agent.capture.picture import Image
from edge_agent.capture.source import Picture, Source, Terms
from edge_agent.capture.sources.mjpeg import MjpegSource
from edge_agent.capture.sources.opencv import FFMPEG, Capture
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from tests.bench.report import Options, Progress, run_bench

FPS = 20
BITS, BLOCK_PX = 16, 16
FIRST = 10
FIGURES = {  # and to how many digits
    "cpu_ms": 2,
    "latency_ms": 1,
    "latency_without_length_ms": 1,
    "first_frame_s": 2,
    "stale_frames": 0,
    "silence_noticed_s": 2,
}


class FfmpegSource:
    """The same stream through OpenCV's FFmpeg, as our RTSP source does it."""

    live = True
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self._url, self._terms = address.target, terms
        self._capture: Capture | None = None

    def open(self) -> None:
        milliseconds = [round(s * 1000) for s in (self._terms.open_timeout_s, self._terms.read_timeout_s)]
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds[0], cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds[1]]
        self._capture = Capture(self._url, FFMPEG, [*parameters, cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.opened:
            raise CameraError(f"{self.description}: did not open")

    def read(self) -> Picture | None:
        image = self._capture.read() if self._capture is not None else None
        if image is None:
            raise CameraError(f"{self.description}: no picture")
        return Picture(image=image)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()


READERS: dict[str, Callable[[Address, Terms], Source]] = {"ours": MjpegSource, "ffmpeg": FfmpegSource}


def configure(parser: argparse.ArgumentParser) -> None:
    """The bench's own argument."""
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT of the stream (default %(default)s)")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    width_px, height_px = (int(side) for side in options.given.size.split("x"))
    runs, frames = (1, 3 * FPS) if options.quick else (5, 5 * FPS)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in READERS}
    for turn in range(runs):
        for place, name in enumerate(READERS):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                rows[name].append(pool.submit(follow, name, width_px, height_px, frames).result())
            progress("runs", turn * len(READERS) + place + 1, runs * len(READERS))
    return {
        **{
            name: {key: statistics.median_low(round(row[key], n) for row in mine) for key, n in FIGURES.items()}
            for name, mine in rows.items()
        },
        "size": [width_px, height_px],
        "fps": FPS,
        "runs": runs,
    }


def follow(name: str, width_px: int, height_px: int, frames: int) -> dict[str, float]:
    """One reader's figures."""
    row = _watch(name, width_px, height_px, frames, length=True)
    row["latency_without_length_ms"] = _watch(name, width_px, height_px, frames, length=False)["latency_ms"]
    return row


def _watch(name: str, width_px: int, height_px: int, frames: int, *, length: bool) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    sent_s, port = context.Array("d", 1 << BITS), context.Queue()
    camera = context.Process(
        target=serve, args=(port, sent_s, width_px, height_px, frames + FIRST, length), daemon=True
    )
    camera.start()
    source = READERS[name](parse(f"http://127.0.0.1:{port.get()}/"), Terms(clock=SystemClock(), stop=threading.Event()))
    begun_s = time.monotonic()
    source.open()
    ages_s, cpu_s = [], 0.0
    try:
        while (picture := source.read()) is not None:
            now_s = time.monotonic()
            ages_s.append(now_s - sent_s[number_in(picture.image)])
            if len(ages_s) == 1:
                first_s = now_s - begun_s
            if len(ages_s) == FIRST:
                cpu_s = time.process_time()
            elif len(ages_s) == frames + FIRST - 1:  # without a length the last one never ends
                cpu_s = time.process_time() - cpu_s
    except CameraError:
        noticed_s = time.monotonic() - max(sent_s)
    source.close()
    camera.terminate()
    camera.join()
    return {
        "cpu_ms": cpu_s / (frames - 1) * 1e3,
        "latency_ms": statistics.median(ages_s[FIRST:]) * 1e3,
        "first_frame_s": first_s,
        "stale_frames": sum(age_s > 0.5 / FPS for age_s in ages_s[:FIRST]),
        "silence_noticed_s": noticed_s,
    }


def serve(port: Any, sent_s: Any, width_px: int, height_px: int, frames: int, length: bool) -> None:
    """The camera: so many pictures to the first viewer, then silence."""
    ground = np.random.default_rng(1).normal(128, 12, (height_px, width_px, 3)).clip(0, 255).astype(np.uint8)
    ground = cv2.GaussianBlur(ground, (5, 5), 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port.put(server.getsockname()[1])
        viewer, _ = server.accept()
        viewer.recv(65536)
        viewer.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n")
        never = threading.Event()
        for number in range(frames):
            body = cv2.imencode(".jpg", numbered(ground, number), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
            stated = f"Content-Length: {len(body)}\r\n" if length else ""
            head = f"--frame\r\nContent-Type: image/jpeg\r\n{stated}\r\n".encode()
            never.wait(1 / FPS)
            sent_s[number] = time.monotonic()
            viewer.sendall(head + body + b"\r\n")
        never.wait(60)


def numbered(ground: Image, number: int) -> Image:
    """A copy with its number written into the upper left corner."""
    image = ground.copy()
    for bit in range(BITS):
        image[:BLOCK_PX, bit * BLOCK_PX : (bit + 1) * BLOCK_PX] = 255 * (number >> bit & 1)
    return image


def number_in(image: Image) -> int:
    """What `numbered` wrote."""
    row = image[BLOCK_PX // 2, BLOCK_PX // 2 : BITS * BLOCK_PX : BLOCK_PX, 0]
    return sum(1 << bit for bit in range(BITS) if row[bit] > 127)


if __name__ == "__main__":
    run_bench("mjpeg", measure, configure)
