"""What a running process tells about itself: a small JSON file in the runtime directory, replaced each second.

`edge-agent status`, the demo and the support bundle read these files; nobody opens a second camera or a second
connection. The files mean nothing after a crash, so they are replaced without fsync. A reader trusts a snapshot only
while its process holds its lock and the snapshot is fresh.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.records import CameraIdentity
from edge_agent.storage import replace_file

STALE_AFTER_S = 5.0
SNAPSHOT_LIMIT_BYTES = 1024 * 1024
# Frames for the review page: written only while its file says that somebody watches.
FRAMES_FOLDER, WATCH_FILE = "live", "review.want"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """One recent FAIL or HOLD, for people."""

    utc_s: float
    verdict: str
    label: str | None
    score: float | None
    reason: str | None
    part: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLive:
    """One camera now. Counts since the process started; captured = judged + dropped + in_flight."""

    state: str
    reason: str
    source: str
    model: str
    digest: str | None
    mode: str  # "head", "good-only", or "good-only 12/50" while it learns
    fps: float
    frame_age_s: float | None
    captured: int
    judged: int
    dropped: dict[str, int]
    in_flight: int
    skipped: dict[str, int]
    reconnects: int
    passed: int
    failed: int
    held: int
    held_by_reason: dict[str, int]
    labels: dict[str, int]
    yield_share: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    stage_p50_ms: dict[str, float]
    paused: bool
    picture: str = "off"  # "learning 12/30", "healthy", or what is wrong with its pictures
    drift: str = "off"  # "learning 120/500", "steady", or what drifted
    drift_signs: dict[str, float] = field(default_factory=dict)  # by sign how near an alarm is, which it is at 1
    device: CameraIdentity | None = None  # the camera that answers, as far as it says
    unheld: tuple[str, ...] = ()  # locks of `controls` that do not hold, a line each
    recent: tuple[VerdictLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmLine:
    """One active alarm."""

    code: str
    subject: str
    severity: str
    text: str
    since_utc_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerLive:
    """What asks a camera for pictures. fired = claimed + lost (by reason) + waiting."""

    source: str
    connected: bool
    reason: str
    fired: int
    claimed: int
    waiting: int
    lost: dict[str, int]
    last_age_s: float | None
    last_part: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalLive:
    """One line signal. `written` counts verdicts shown, `missed` those that were not; `states` by camera; the
    milliseconds are from a trigger to its verdict written.
    """

    to: str
    connected: bool
    reason: str
    written: int
    missed: int
    states: dict[str, str]
    last_verdict: str | None
    last_part: str | None
    heartbeat_age_s: float | None
    trigger_p50_ms: float | None
    trigger_p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLive:
    """A candidate on its way into force: `parts` of `wanted` have had two opinions, which differ on `differing`."""

    stage: str
    candidate: str
    parts: int
    wanted: int
    differing: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectLive:
    """The inspect process now."""

    pid: int
    version: str
    started_utc_s: float
    written_utc_s: float
    profile: str
    provider: str
    config_digest: str
    cameras: dict[str, CameraLive]
    alarms: tuple[AlarmLine, ...]
    health: dict[str, float | None] = field(default_factory=dict)
    outbox: dict[str, float] = field(default_factory=dict)
    triggers: dict[str, TriggerLive] = field(default_factory=dict)  # by camera
    signals: dict[str, SignalLive] = field(default_factory=dict)
    trials: dict[str, TrialLive] = field(default_factory=dict)  # by model


def write_snapshot(path: Path, live: InspectLive) -> None:
    """Replace the snapshot at `path`.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the runtime directory cannot be written.
    """
    replace_file(path, json.dumps(dataclasses.asdict(live), separators=(",", ":")).encode(), durable=False)


def read_json(path: Path) -> dict[str, Any] | None:
    """The snapshot at `path` as plain JSON, None when there is none or it is not one."""
    try:
        with path.open("rb") as file:
            content = file.read(SNAPSHOT_LIMIT_BYTES)
        value = json.loads(content)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_inspect(path: Path) -> InspectLive | None:
    """The inspect process's snapshot, None when there is none; one of another version is read as far as it fits."""
    value = read_json(path)
    if value is None:
        return None
    try:
        cameras = {name: _camera(camera) for name, camera in value["cameras"].items()}
        alarms = tuple(AlarmLine(**_known(AlarmLine, alarm)) for alarm in value["alarms"])
        triggers = {name: TriggerLive(**_known(TriggerLive, one)) for name, one in value.get("triggers", {}).items()}
        signals = {name: SignalLive(**_known(SignalLive, one)) for name, one in value.get("signals", {}).items()}
        trials = {name: TrialLive(**_known(TrialLive, one)) for name, one in value.get("trials", {}).items()}
        own = {"cameras": cameras, "alarms": alarms, "triggers": triggers, "signals": signals, "trials": trials}
        return InspectLive(**{**_known(InspectLive, value), **own})
    except (KeyError, TypeError, AttributeError):
        return None


def fresh_json(path: Path, now_utc_s: float) -> dict[str, Any] | None:
    """The snapshot at `path` if its process still writes it, else None."""
    value = read_json(path)
    return value if value is not None and _is_fresh(value.get("written_utc_s"), now_utc_s) else None


def fresh_inspect(path: Path, now_utc_s: float) -> InspectLive | None:
    """The inspect process's snapshot if it still writes it, else None."""
    live = read_inspect(path)
    return live if live is not None and _is_fresh(live.written_utc_s, now_utc_s) else None


def watch_file(runtime_dir: Path) -> Path:
    """The file that the review page touches while somebody watches the cameras."""
    return runtime_dir / WATCH_FILE


def is_fresh_file(path: Path, now_utc_s: float) -> bool:
    """Whether the file was written within the last seconds."""
    try:
        return _is_fresh(path.stat().st_mtime, now_utc_s)
    except OSError:
        return False


def _is_fresh(written_utc_s: object, now_utc_s: float) -> bool:
    return isinstance(written_utc_s, (int, float)) and abs(now_utc_s - written_utc_s) < STALE_AFTER_S


def _camera(value: dict[str, Any]) -> CameraLive:
    recent = tuple(VerdictLine(**_known(VerdictLine, line)) for line in value.get("recent", ()))
    said = value.get("device")
    device = CameraIdentity(**_known(CameraIdentity, said)) if said is not None else None
    unheld = tuple(value.get("unheld", ()))
    return CameraLive(**{**_known(CameraLive, value), "recent": recent, "device": device, "unheld": unheld})


def _known(record: type, value: dict[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(record)}
    return {key: entry for key, entry in value.items() if key in names}
