"""What inspect reports besides verdicts: live numbers and summaries, made from its snapshot. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edge_agent.clock import rfc3339
from edge_agent.processes.live import CameraLive, InspectLive, SignalLive, TriggerLive
from edge_agent.records import Inspection
from edge_agent.sync.payloads import LastPayload, SummaryPayload

SummaryState = Literal["running", "learning", "paused", "stalled", "stopped"]

# Camera states as capture names them -> what a dashboard shows.
SUMMARY_STATE: Mapping[str, SummaryState] = {
    "opening": "stalled",
    "streaming": "running",
    "stalled": "stalled",
    "waiting": "stalled",
    "ended": "stopped",
    "stopped": "stopped",
}


def telemetry(live: InspectLive) -> dict[str, float]:
    """Flat numbers for `tm`; names end in their unit, or are plain counts."""
    numbers: dict[str, float] = {"uptime_s": live.written_utc_s - live.started_utc_s, "alarms": len(live.alarms)}
    numbers.update({name: value for name, value in live.health.items() if value is not None})
    numbers.update({f"outbox_{name}": value for name, value in live.outbox.items()})
    for name, camera in live.cameras.items():
        numbers.update({f"{name}_{key}": value for key, value in _camera_numbers(camera).items()})
    for name, trigger in live.triggers.items():
        numbers.update({f"{name}_triggers_{key}": value for key, value in _trigger_numbers(trigger).items()})
    for name, signal in live.signals.items():
        numbers.update({f"signal_{name}_{key}": value for key, value in _signal_numbers(signal).items()})
    return numbers


def _trigger_numbers(trigger: TriggerLive) -> dict[str, float]:
    lost = {f"lost_{reason}": float(count) for reason, count in trigger.lost.items()}
    return {"fired": trigger.fired, "waiting": trigger.waiting, "connected": float(trigger.connected), **lost}


def _signal_numbers(signal: SignalLive) -> dict[str, float]:
    numbers = {"written": signal.written, "missed": signal.missed, "connected": float(signal.connected)}
    optional = {"trigger_p50_ms": signal.trigger_p50_ms, "trigger_p99_ms": signal.trigger_p99_ms}
    return {**numbers, **{name: value for name, value in optional.items() if value is not None}}


def _camera_numbers(camera: CameraLive) -> dict[str, float]:
    numbers: dict[str, float] = {
        "fps": camera.fps,
        "captured": camera.captured,
        "judged": camera.judged,
        "in_flight": camera.in_flight,
        "skipped": sum(camera.skipped.values()),
        "reconnects": camera.reconnects,
        "passed": camera.passed,
        "failed": camera.failed,
        "held": camera.held,
    }
    if camera.picture != "off":
        numbers["picture_sound"] = int(camera.picture == "healthy" or camera.picture.startswith("learning"))
    numbers.update({f"drift_{sign}": strength for sign, strength in camera.drift_signs.items()})
    numbers.update({f"dropped_{reason}": count for reason, count in camera.dropped.items()})
    numbers.update({f"skipped_{reason}": count for reason, count in camera.skipped.items()})
    optional = {
        "latency_p50_ms": camera.latency_p50_ms,
        "latency_p99_ms": camera.latency_p99_ms,
        "frame_age_s": camera.frame_age_s,
        "yield_fraction": camera.yield_share,
    }
    numbers.update({name: value for name, value in optional.items() if value is not None})
    return numbers


def summary(live: InspectLive, name: str, last: Inspection | None) -> SummaryPayload:
    """The retained summary of one camera."""
    camera = live.cameras[name]
    told = camera.passed + camera.failed + camera.held
    state: SummaryState = SUMMARY_STATE.get(camera.state, "stopped")
    if camera.paused:
        state = "paused"
    elif state == "running" and "/" in camera.mode:
        state = "learning"
    return SummaryPayload(
        ts=rfc3339(live.written_utc_s),
        camera=name,
        state=state,
        since=rfc3339(live.started_utc_s),
        captured=camera.captured,
        passed=camera.passed,
        failed=camera.failed,
        held=camera.held,
        held_by_reason=camera.held_by_reason,
        # Of the same moment as the verdicts: the queue's own number is taken a little later.
        in_flight=camera.captured - told,
        yield_fraction=camera.yield_share,
        fps=round(camera.fps, 2),
        picture=camera.picture,
        drift=camera.drift,
        last=None if last is None else _last(last),
    )


def _last(inspection: Inspection) -> LastPayload:
    return LastPayload(
        id=inspection.id,
        ts=rfc3339(inspection.captured_utc_s),
        verdict=inspection.verdict.value,
        label=inspection.label,
        score=None if inspection.score is None else round(float(inspection.score), 6),
    )
