"""What each camera sees, as a small JPEG in the runtime directory, while somebody watches on the review page.

    review --touches--> review.want      inspect thread --witness--> live/CAMERA.jpg, one a second      --> review

Nobody watching costs 0.1 us a frame. Watched, a picture of 640 x 480 / 1920 x 1080 takes 0.4 / 0.9 ms of the inspect
thread, after its verdict was told. The unit of sync cannot see the folder (systemd/edge-agent-sync.service).
"""

from __future__ import annotations

import logging
from pathlib import Path

from edge_agent.capture.picture import encode_jpeg, prepare
from edge_agent.clock import Clock
from edge_agent.errors import TransientError
from edge_agent.processes.live import FRAMES_FOLDER, is_fresh_file, watch_file
from edge_agent.records import Frame, Inspection
from edge_agent.storage import replace_file, storage_faults

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST_WIDE_PX = 640
QUALITY = 80


class Glimpses:
    """The inspect process's side: a witness of the loop. Called by the inspect thread only; never fails."""

    def __init__(self, runtime_dir: Path, clock: Clock) -> None:
        self._watch = watch_file(runtime_dir)
        self._folder = runtime_dir / FRAMES_FOLDER
        self._clock = clock
        self._next_mono_s: dict[str, float] = {}

    def witness(self, frame: Frame, _inspection: Inspection) -> None:
        """A frame that was judged."""
        now_s = self._clock.mono_s()
        if now_s < self._next_mono_s.get(frame.camera, now_s):
            return
        self._next_mono_s[frame.camera] = now_s + EVERY_S
        if not is_fresh_file(self._watch, self._clock.utc_s()):
            return
        try:
            with storage_faults(self._folder):
                self._folder.mkdir(mode=0o750, exist_ok=True)
            replace_file(self._folder / f"{frame.camera}.jpg", _small(frame), durable=False)
        except TransientError as error:
            log.warning("glimpse=unwritten camera=%s reason=%s", frame.camera, error)


def _small(frame: Frame) -> bytes:
    height, width = frame.image.shape[:2]
    shrink = max(1.0, width / MOST_WIDE_PX)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    return encode_jpeg(prepare(frame.image, size), QUALITY)
