"""The beat of the inspect process: each second a snapshot and the watchdog, at their intervals telemetry and summaries.

The watchdog of systemd is fed only while work moves: the inspect loop turned since the last beat (it turns five times a
second even when no frame comes) and the outbox writer lives. A process that merely exists is restarted.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent import __version__
from edge_agent.capture.queue import FrameQueue
from edge_agent.clock import Clock, rfc3339
from edge_agent.config.redact import redact
from edge_agent.device import health
from edge_agent.device.profile import Profile
from edge_agent.errors import TransientError
from edge_agent.processes.finetuning.broadcast import Broadcast
from edge_agent.processes.floor import InspectFloor
from edge_agent.processes.live import AlarmLine, CameraLive, InspectLive, TrialLive, VerdictLine, write_snapshot
from edge_agent.processes.reports import summary, telemetry
from edge_agent.records import Inspection
from edge_agent.storage import free_bytes
from edge_agent.sync.alarms import Condition
from edge_agent.sync.messages import (
    Message,
    config_state_message,
    device_payload,
    info_message,
    model_state_message,
    summary_message,
    telemetry_message,
)
from edge_agent.sync.payloads import CameraInfo, InfoPayload, ModelPayload, ModelState

log = logging.getLogger(__name__)

BEAT_S = 1.0
FIRST_REPORT_S = 2.0
CLOCK_JUMP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What the heart looks at and speaks through."""

    floor: InspectFloor
    queue: FrameQueue
    put: Callable[[Message], None]
    writer_alive: Callable[[], bool]
    inspect_thread: threading.Thread
    profile: Profile
    providers: str
    root: Path = Path("/")


class Heart:
    """Beats in the main thread. `alive` feeds the watchdog."""

    def __init__(self, body: Body, snapshot_file: Path, clock: Clock, alive: Callable[[], object]) -> None:
        self._body = body
        self._file = snapshot_file
        self._clock = clock
        self._alive = alive
        self._started_utc_s = clock.utc_s()
        self._offset_s = clock.utc_s() - clock.mono_s()
        # The first numbers a moment after the start: a camera that is still opening has nothing to say yet.
        first_s = clock.mono_s() + FIRST_REPORT_S
        self._next_s = {"beat": 0.0, "telemetry": first_s, "summary": first_s}
        self._overloaded = 0
        self._steps = -1
        self._last: dict[str, Inspection] = {}
        self._summaries: dict[str, Message] = {}
        self._finetuning = Broadcast(snapshot_file.parent, clock, body.put)

    def sink(self, inspection: Inspection) -> None:
        """Remembers each camera's newest inspection for its summary; called by the inspect thread."""
        self._last[inspection.camera] = inspection

    def seconds_to_next(self) -> float:
        """How long the main thread may sleep."""
        return max(0.0, min(self._next_s.values()) - self._clock.mono_s())

    def beat(self) -> None:
        """Do what is due; one second between two beats however often it is called."""
        now_s = self._clock.mono_s()
        if now_s < self._next_s["beat"]:
            return
        self._next_s["beat"] = now_s + BEAT_S
        self._watch_clock()
        live = self.live()
        self._watch_health(live)
        self._write(live)
        keys = self._body.floor.settings.telemetry
        if now_s >= self._next_s["telemetry"]:
            self._next_s["telemetry"] = now_s + keys.interval_s
            self._body.put(telemetry_message(telemetry(live), live.written_utc_s))
        if now_s >= self._next_s["summary"]:
            self._next_s["summary"] = now_s + keys.summary_interval_s
            self._summarise(live)
        self._finetuning.beat()
        self._body.floor.parts.desk.settle()
        if self._moved():
            self._alive()

    def _summarise(self, live: InspectLive) -> None:
        for name in self._summaries.keys() - self._body.floor.settings.cameras.keys():
            # It is retained, and would show a camera that was taken out of the configuration as running for ever.
            self._body.put(dataclasses.replace(self._summaries.pop(name), payload=b""))
        for name in live.cameras:
            self._summaries[name] = summary_message(summary(live, name, self._last.get(name)))
            self._body.put(self._summaries[name])

    def announce(self) -> None:
        """Publish the retained facts: what this gateway is, its models, its configuration."""
        floor, now = self._body.floor, rfc3339(self._clock.utc_s())
        models = floor.parts.models
        cameras = tuple(
            CameraInfo(
                name=name,
                source=redact(camera.source),
                model=camera.model,
                digest=models.models[camera.model].digest if camera.model in models.models else None,
                device=device_payload(floor.parts.identities.of(name)),
                models=camera.model_names[1:],
            )
            for name, camera in floor.settings.cameras.items()
        )
        info = InfoPayload(
            ts=now,
            gateway=floor.settings.site.gateway,
            version=__version__,
            profile=self._body.profile.name,
            hardware={"machine": os.uname().machine, "kernel": os.uname().release, "provider": self._body.providers},
            cameras=cameras,
        )
        self._body.put(info_message(info))
        self._body.put(model_state_message(ModelPayload(ts=now, models=self._model_states())))
        self._body.put(config_state_message(floor.config_state()))

    def _model_states(self) -> tuple[ModelState, ...]:
        floor = self._body.floor
        return tuple(
            dataclasses.replace(state, trial=floor.parts.release.state(state.name))
            for state in floor.parts.models.states(floor.model_names)
        )

    def live(self) -> InspectLive:
        """The snapshot of this moment."""
        floor, body = self._body.floor, self._body
        reading = health.read(body.root)
        state_dir = floor.settings.storage.state_dir
        numbers = {**reading.numbers(), "disk_free_bytes": float(free_bytes(state_dir))}
        numbers["hottest_c"] = reading.hottest_c(body.profile.thermal.zones)
        return InspectLive(
            pid=os.getpid(),
            version=__version__,
            started_utc_s=self._started_utc_s,
            written_utc_s=self._clock.utc_s(),
            profile=body.profile.name,
            provider=body.providers,
            config_digest=floor.settings.digest,
            cameras=self._cameras(),
            alarms=tuple(
                AlarmLine(
                    code=alarm.code,
                    subject=alarm.subject,
                    severity=alarm.severity.value,
                    text=alarm.text,
                    since_utc_s=alarm.since_utc_s,
                )
                for alarm in floor.parts.desk.active
            ),
            health=numbers,
            trials=self._trials(),
            triggers=floor.parts.triggers.statuses(),
            signals=floor.parts.signals.statuses(),
        )

    def _trials(self) -> dict[str, TrialLive]:
        release, found = self._body.floor.parts.release, {}
        for name in self._body.floor.model_names:
            state = release.state(name)
            if state is not None:
                found[name] = TrialLive(
                    stage=state.stage,
                    candidate=state.candidate,
                    parts=state.parts,
                    wanted=state.wanted,
                    differing=state.differing,
                    reason=state.reason,
                )
        return found

    def _cameras(self) -> dict[str, CameraLive]:
        floor = self._body.floor
        # Frames come and are judged while we look: verdicts first, so that all of them are of frames in the books.
        tallies = {name: floor.parts.counters.snapshot(name) for name in floor.settings.cameras}
        statuses, books = floor.parts.crew.statuses(), self._body.queue.accountings()
        found = {}
        for name, camera in floor.settings.cameras.items():
            status, book = statuses.get(name), books.get(name)
            if status is None or book is None:
                continue
            counts = tallies[name]
            lane = floor.parts.loop.lanes.get(name)
            found[name] = CameraLive(
                state=status.state.value,
                reason=redact(status.reason),
                source=status.source,
                model=camera.model,
                digest=lane.digest if lane else None,
                mode=floor.parts.book.mode(name),
                fps=book.fps,
                frame_age_s=book.last_frame_age_s,
                captured=book.captured,
                judged=book.judged,
                dropped={reason.value: count for reason, count in book.dropped.items()},
                in_flight=book.in_flight,
                skipped={why.value: count for why, count in book.skipped.items()},
                reconnects=book.reconnects,
                passed=counts.passed,
                failed=counts.failed,
                held=counts.held,
                held_by_reason=counts.held_by_reason,
                labels=counts.labels,
                yield_share=counts.yield_share,
                latency_p50_ms=counts.latency_p50_ms,
                latency_p99_ms=counts.latency_p99_ms,
                stage_p50_ms=counts.stage_p50_ms,
                paused=lane.paused if lane else False,
                device=floor.parts.identities.of(name),
                unheld=floor.parts.identities.unheld(name),
                picture=floor.parts.pictures.state(name),
                drift=floor.parts.drift.state(name),
                drift_signs=floor.parts.drift.numbers(name),
                recent=tuple(_line(inspection) for inspection in counts.recent),
            )
        return found

    def _watch_health(self, live: InspectLive) -> None:
        note = self._body.floor.parts.desk.note
        hottest, limit = live.health.get("hottest_c"), self._body.profile.thermal.slow_inspection_c
        hot = hottest is not None and hottest >= limit
        note(Condition(code="hot", subject="", active=hot, text=f"{hottest} °C, the limit is {limit:.0f} °C"))
        free, wanted = live.health["disk_free_bytes"] or 0.0, self._body.floor.settings.storage.min_free_bytes
        text = f"{free / 2**20:.0f} MiB free, {wanted / 2**20:.0f} MiB are wanted (storage.min_free_bytes)"
        note(Condition(code="disk-full", subject="reserve", active=free < wanted, text=text))
        overloaded = sum(camera.dropped.get("overload", 0) for camera in live.cameras.values())
        before, self._overloaded = self._overloaded, overloaded
        text = f"{overloaded - before} frames could not be judged in the last second and are HOLD"
        note(Condition(code="overload", subject="", active=overloaded > before, text=text))

    def _watch_clock(self) -> None:
        offset_s = self._clock.utc_s() - self._clock.mono_s()
        jump_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(jump_s) >= CLOCK_JUMP_S:
            self._started_utc_s += jump_s  # when we started, by the clock of now: uptime is no matter of the wall clock
            text = f"the wall clock jumped by {jump_s:+.0f} s at {rfc3339(self._clock.utc_s())}"
            self._body.floor.parts.desk.note(Condition(code="clock-jump", subject="", active=True, text=text))

    def _write(self, live: InspectLive) -> None:
        try:
            write_snapshot(self._file, live)
        except TransientError as error:
            log.warning("snapshot=unwritten reason=%s", error)

    def _moved(self) -> bool:
        steps, before = self._body.floor.parts.loop.steps, self._steps
        self._steps = steps
        return steps > before and self._body.inspect_thread.is_alive() and self._body.writer_alive()


def _line(inspection: Inspection) -> VerdictLine:
    return VerdictLine(
        utc_s=inspection.captured_utc_s,
        verdict=inspection.verdict.value,
        label=inspection.label,
        score=None if inspection.score is None else float(inspection.score),
        reason=inspection.reason.value if inspection.reason else None,
        part=inspection.part,
    )
