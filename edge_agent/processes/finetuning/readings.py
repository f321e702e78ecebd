"""The machine as a fine-tuning run must know it: heat, power, memory, the clock, and whether inspection keeps up."""

from __future__ import annotations

import collections
import datetime
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.device import health
from edge_agent.models.finetune.budget import Reading
from edge_agent.processes.live import InspectLive, fresh_inspect

# Of the last so many seconds; fewer frames than this say nothing yet.
FRAMES_S = 10.0
FRAMES_MIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    mono_s: float
    captured: int
    dropped: int


class Readings:
    """Reads the machine below `root` and what inspect says of itself in `runtime_dir`."""

    def __init__(self, runtime_dir: Path, zones: tuple[str, ...], clock: Clock, root: Path = Path("/")) -> None:
        self._file = runtime_dir / "inspect.json"
        self._zones = zones
        self._clock = clock
        self._root = root
        self._counts: collections.deque[_Count] = collections.deque()

    def read(self, cpu_s: float) -> Reading:
        """The machine now; `cpu_s` is what the run has used tonight."""
        found = health.read(self._root)
        return Reading(
            time_of_day=local_time(self._clock).time(),
            cpu_s=cpu_s,
            hottest_c=found.hottest_c(self._zones),
            available_bytes=found.memory_available_bytes,
            power_w=found.power_w,
            frames_share=self._frames_share(),
        )

    def _frames_share(self) -> float | None:
        """Of the frames captured in the last seconds, the share that was not dropped; None where nobody can say."""
        live = fresh_inspect(self._file, self._clock.utc_s())
        if live is None:
            self._counts.clear()
            return None
        now = _count(live, self._clock.mono_s())
        if self._counts and now.captured < self._counts[-1].captured:  # inspect was started again
            self._counts.clear()
        self._counts.append(now)
        while now.mono_s - self._counts[0].mono_s > FRAMES_S:
            self._counts.popleft()
        captured = now.captured - self._counts[0].captured
        dropped = now.dropped - self._counts[0].dropped
        return None if captured < FRAMES_MIN else 1 - dropped / captured


def _count(live: InspectLive, mono_s: float) -> _Count:
    cameras = live.cameras.values()
    # Frames that waited too long or found no room; those that were bad as pictures are no matter of ours.
    dropped = sum(camera.dropped.get("overload", 0) + camera.dropped.get("late", 0) for camera in cameras)
    return _Count(mono_s=mono_s, captured=sum(camera.captured for camera in cameras), dropped=dropped)


def local_time(clock: Clock) -> datetime.datetime:
    """Now, in the zone of this machine."""
    return datetime.datetime.fromtimestamp(clock.utc_s(), tz=datetime.timezone.utc).astimezone()
