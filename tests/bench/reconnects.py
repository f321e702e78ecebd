"""What a lost connection leaves behind: one camera whose stream breaks again and again, opened again each time.

bench process: a real server that breaks the stream      child: queue, worker, reader, source, knock, as a gateway
                                                         has them; only the wait between two attempts is taken out

python -m tests.bench.reconnects URL COUNT       the child; one JSON object
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil

from edge_agent.capture.addresses import parse
from edge_agent.capture.intake import CameraPlan, Wiring
from edge_agent.capture.knock import knock_of
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.worker import CameraWorker
from edge_agent.clock import SystemClock
from tests.bench.gateway import MALLOC
from tests.fakes.mjpeg_camera import MjpegCamera
from tests.fakes.rtsp_server import RtspServer

AT_ONCE_S = 0.001  # not 0: a wait that is none is not knocked in
WARM_UP_SHARE = 0.25  # pools fill, code is loaded
PICTURE_BYTES = 6_000  # of the test stream, after which a picture has surely come
DEADLINE_S = 30.0


def http(count: int) -> dict[str, Any]:
    """An HTTP camera that ends its answer after one picture."""
    with MjpegCamera(fps=500.0) as camera:
        return _in_a_child(camera.url("prose-before"), count)


def rtsp(count: int) -> dict[str, Any]:
    """A real RTSP server behind a cable that breaks after some pictures."""
    with RtspServer(fps=60) as server, _bad_cable(server.port, PICTURE_BYTES) as port:
        return _in_a_child(server.url.replace(str(server.port), str(port)), count)


def _in_a_child(url: str, count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.reconnects", url, str(count)]
    done = subprocess.run(command, env={**os.environ, **MALLOC}, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def endure(url: str, count: int) -> dict[str, Any]:
    """Read the stream until it broke so often; what this process took before and after."""
    clock, queue, process = SystemClock(), FrameQueue(SystemClock()), psutil.Process()
    address = parse(url)
    wiring = Wiring(
        plan=CameraPlan(name="cam"),
        make_source=lambda stop: make_source(address, Terms(clock=clock, stop=stop)),
        queue=queue,
        on_drop=lambda _drop, _why: None,
        clock=clock,
        knock=knock_of(address),
        backoff_s=lambda _failures, _chance: AT_ONCE_S,
    )
    worker = CameraWorker(wiring, lambda _status: None, np.random.default_rng(0))
    started_s = clock.mono_s()
    worker.start()
    rows = np.full(
        (count, 3), np.nan
    )  # made before: a list that grows would be the leak it looks for (148 bytes a row)
    while (number := queue.accounting("cam").reconnects) < count:
        frame = queue.get(DEADLINE_S)
        if frame is None:
            raise TimeoutError(f"no picture within {DEADLINE_S} s after {number} reconnects: {worker.status.reason}")
        queue.done(frame)
        rows[number] = process.memory_info().rss / 1024, process.num_threads(), process.num_fds()
    seconds = clock.mono_s() - started_s
    worker.stop()
    gc.collect()
    numbers = np.flatnonzero(~np.isnan(rows[:, 0]))  # a connection may break before its first picture
    numbers = numbers[numbers >= count * WARM_UP_SHARE]
    rss_kib, threads, files = rows[numbers].T
    return {
        "reconnects": count,
        "pictures": queue.accounting("cam").judged,
        "rss_slope_kib": round(float(np.polyfit(numbers, rss_kib, 1)[0]), 4),
        "rss_mib": [round(float(rss_kib[0]) / 1024, 1), round(float(rss_kib[-1]) / 1024, 1)],
        "threads": [int(threads[0]), int(threads.max()), int(threads[-1])],
        "files": [int(files[0]), int(files.max()), int(files[-1])],
        "seconds": round(seconds, 1),
    }


@contextlib.contextmanager
def _bad_cable(port: int, after_bytes: int) -> Iterator[int]:
    """A port that leads to `port`, and whose connections are cut after so many bytes of answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours: int = server.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):  # closed: the bench is over
                while True:
                    near, _ = server.accept()
                    far = socket.create_connection(("127.0.0.1", port))
                    for source, target, most in ((near, far, None), (far, near, after_bytes)):
                        threading.Thread(target=_pump, args=(source, target, most), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield ours
        finally:
            server.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket, most_bytes: int | None) -> None:
    passed = 0
    with contextlib.suppress(OSError):
        while (most_bytes is None or passed < most_bytes) and (content := source.recv(65536)):
            target.sendall(content)
            passed += len(content)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {"http": http, "rtsp": rtsp}

if __name__ == "__main__":
    print(json.dumps(endure(sys.argv[1], int(sys.argv[2]))))
