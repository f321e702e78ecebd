"""What stands on the wire, as frozen records: the JSON Schemas and the AsyncAPI document are made from these.

Integer `v`, RFC 3339 UTC milliseconds in `ts`, units in names, null where there is nothing to say. Receivers ignore
fields they do not know; a field never changes its meaning under the same `v`. Pure.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.sync.fleet_payloads import FLEET_PAYLOADS

VERSION = 1

VerdictText = Literal["PASS", "FAIL", "HOLD"]
AckState = Literal["accepted", "executing", "successful", "failed", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPayload:
    """Sent on every connect (online), on a clean end (stopped), and by the broker as our Will (offline).

    `session` is a ULID made at process start: two different ones mean a restart in between.
    """

    v: int = VERSION
    ts: str
    state: Literal["online", "offline", "stopped"]
    session: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePayload:
    """Which camera it is, as it says itself; null where it does not say."""

    vendor: str | None
    model: str | None
    serial: str | None
    firmware: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraInfo:
    """A camera as configured. `source` has its credentials removed; `model` names a bundle; `models` are those that
    judge beside it and those that recipes choose; `device` is the camera that answers there, null where it is silent.
    """

    name: str
    source: str
    model: str
    digest: str | None
    device: DevicePayload | None = None
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoPayload:
    """What this gateway is. `hardware` holds short facts by name (board, cpu, memory_mib, provider)."""

    v: int = VERSION
    ts: str
    gateway: str
    version: str
    profile: str
    hardware: Mapping[str, str]
    cameras: tuple[CameraInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryPayload:
    """Live numbers. Besides `v` and `ts` every field is a number whose name ends in its unit or is a plain count."""

    v: int = VERSION
    ts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPayload:
    """Where in the picture: fractions of its width and height, origin top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPayload:
    """Milliseconds by stage; total is frame complete in memory to verdict."""

    queue: float
    prepare: float
    encode: float
    decide: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionPayload:
    """One thing that a detector found; `defect` says whether its class speaks against the part."""

    label: str
    score: float
    where: RegionPayload
    defect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingPayload:
    """What one of several models said of the part."""

    name: str
    model: str | None
    verdict: VerdictText
    label: str | None
    score: float | None
    threshold: float | None
    reason: str | None
    where: RegionPayload | None
    detections: tuple[DetectionPayload, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionPayload:
    """One part. Deliveries may repeat: the same `id` is the same inspection.

    `ts` is when the frame was captured. `score` is the calibrated probability of a defect, 0 to 1, and `threshold` what
    it was held against. `reason` is set exactly when the verdict is HOLD. `model` is the bundle's sha256.
    `recipe` is what the trigger said beside the part; `triggered` is when the line asked, null where the camera runs
    freely; `device` is the camera that took the picture.
    `detections` are the surest things a detector found, at most 32. `findings` has one entry for each model where
    several judged the part: the worst verdict counts, and the fields above are those of that model.
    """

    v: int = VERSION
    id: str
    ts: str
    camera: str
    sequence: int
    part: str | None
    verdict: VerdictText
    label: str | None
    score: float | None
    threshold: float | None
    reason: str | None
    where: RegionPayload | None
    model: str | None
    latency_ms: LatencyPayload | None
    recipe: str | None = None
    triggered: str | None = None
    device: DevicePayload | None = None
    detections: tuple[DetectionPayload, ...] = ()
    findings: tuple[FindingPayload, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LastPayload:
    """The newest inspection of a camera, in short."""

    id: str
    ts: str
    verdict: VerdictText
    label: str | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryPayload:
    """Counts of one camera since `since`: captured = passed + failed + held + in_flight.

    `held_by_reason` splits `held`, dropped frames included: a part that was not judged is held, never silent.
    `yield_fraction` is passed / (passed + failed), null before the first of them. `picture` is what its pictures are
    like as pictures: off, learning n/of, healthy, or the reason for which they are held. `drift` says what changes in
    the long run: off, learning n/of, steady, or light, focus, moved, product, model.
    """

    v: int = VERSION
    ts: str
    camera: str
    state: Literal["running", "learning", "paused", "stalled", "stopped"]
    since: str
    captured: int
    passed: int
    failed: int
    held: int
    held_by_reason: Mapping[str, int]
    in_flight: int
    yield_fraction: float | None
    fps: float
    last: LastPayload | None
    picture: str = "off"
    drift: str = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmPayload:
    """A condition that a person should know of; `code` is one of the table of alarm codes."""

    v: int = VERSION
    ts: str
    id: str
    state: Literal["active", "acked", "cleared"]
    severity: Literal["info", "warning", "critical"]
    code: str
    subject: str
    text: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandPayload:
    """An order. `exp` is when it is no longer wanted; without it the broker's message expiry decides."""

    v: int = VERSION
    by: str
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    exp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AckPayload:
    """How the order `id` fares; `result` holds what a snapshot asked for."""

    v: int = VERSION
    ts: str
    id: str
    type: str
    state: AckState
    reason: str | None
    result: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPayload:
    """The configuration in force. `refused` says why a newer file was not taken, null when none was refused."""

    v: int = VERSION
    ts: str
    hash: str
    loaded: str
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialState:
    """A new bundle on its way into force. In the stages `shadow` and `waiting` it judges beside the active one; in
    `probation` it is active, and `reference`, which a rollback returns to, judges beside it. `parts` of `wanted` both
    have judged, on `differing` of them the verdicts differ; for `errors` the candidate gave none. `reason`: what it
    waits for.
    """

    stage: Literal["shadow", "waiting", "probation"]
    candidate: str
    reference: str
    parts: int
    wanted: int
    differing: int
    errors: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """One named model: the sha256 of the active bundle and of the one before it; `trial` is null where none is on."""

    name: str
    state: Literal["active", "loading", "failed", "missing"]
    active: str | None
    previous: str | None
    reason: str | None
    trial: TrialState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPayload:
    """The models in force."""

    v: int = VERSION
    ts: str
    models: tuple[ModelState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnState:
    """Fine-tuning of one model. `reason`: why it waits, pauses or failed; `opens`: when its window opens, where that is
    what it waits for; `eta_s` at the present pace; `last_result` and `last_ended` are those of the last run.
    """

    name: str
    state: Literal["off", "waiting", "preparing", "training", "paused", "finishing", "done", "failed", "cancelled"]
    reason: str | None
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None
    eta_s: float | None
    opens: str | None
    last_result: Literal["done", "failed", "cancelled"] | None
    last_ended: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnPayload:
    """Fine-tuning of the models in use: told when a state changes, and at most every 10 s while numbers move."""

    v: int = VERSION
    ts: str
    models: tuple[LearnState, ...]


PAYLOADS: Mapping[str, type] = {
    "status": StatusPayload,
    "info": InfoPayload,
    "telemetry": TelemetryPayload,
    "inspection": InspectionPayload,
    "summary": SummaryPayload,
    "alarm": AlarmPayload,
    "command": CommandPayload,
    "acknowledgement": AckPayload,
    "config": ConfigPayload,
    "model": ModelPayload,
    "learn": LearnPayload,
    **FLEET_PAYLOADS,
}

_FIELDS: dict[type, tuple[str, ...]] = {}


def _as_mapping(record: Any) -> dict[str, Any]:
    kind = type(record)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(record))
    return {name: getattr(record, name) for name in names}


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_as_mapping)


def encode(payload: Any) -> bytes:
    """Compact UTF-8 JSON of a payload record (or of a mapping of plain values).

    Raises:
        ValueError: a number is not finite; JSON has no word for it.
    """
    return _ENCODER.encode(payload).encode("utf-8", "replace")
