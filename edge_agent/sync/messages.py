"""From our records to messages for the outbox. Pure.

A message knows its topic below the gateway's own branch, how it is to be published, how dear it is, and whether a
newer one of the same slot replaces it.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edge_agent.clock import rfc3339
from edge_agent.errors import BadMessageError
from edge_agent.records import Alarm, CameraIdentity, Detection, Finding, Inspection, Region, Verdict
from edge_agent.sync.payloads import (
    AckPayload,
    AckState,
    AlarmPayload,
    ConfigPayload,
    DetectionPayload,
    DevicePayload,
    FindingPayload,
    InfoPayload,
    InspectionPayload,
    LatencyPayload,
    LearnPayload,
    ModelPayload,
    RegionPayload,
    StatusPayload,
    SummaryPayload,
    encode,
)
from edge_agent.sync.topics import check_segment, check_topic

JSON_TYPE = "application/json"
# AWS IoT Core and Insights Hub take 128 KiB, the least of the brokers that we name.
MAX_PAYLOAD_BYTES = 128 * 1024
ACK_EXPIRY_S = 24 * 3600
# Room for root, version and gateway before the tail: 3 segments are left of 8.
MAX_TAIL_SEGMENTS = 3
ALARM_ID_CHARS = 96


class Priority(enum.IntEnum):
    """Sent in this order, each class oldest first: who looks at a dashboard after an outage sees now before then."""

    ALARM = 0
    ACK = 1
    STATE = 2
    TELEMETRY = 3
    DEFECT = 4
    PASS = 5


# What goes first when there is no room left. Alarms are in no such list: they are never evicted.
EVICTION_ORDER: tuple[Priority, ...] = (
    Priority.TELEMETRY,
    Priority.PASS,
    Priority.DEFECT,
    Priority.ACK,
    Priority.STATE,
)
# Committed at once rather than with the next group.
URGENT: frozenset[Priority] = frozenset({Priority.ALARM, Priority.ACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One publication to come. `slot` is the latest-wins key: a newer message of the same slot replaces this one.

    Raises:
        BadMessageError: the payload is larger than every broker takes, or the topic is not legal.
    """

    topic_tail: str
    payload: bytes
    qos: int
    retain: bool
    priority: Priority
    slot: str | None = None
    content_type: str = JSON_TYPE
    expiry_s: int | None = None

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_PAYLOAD_BYTES:
            raise BadMessageError(
                f"{self.topic_tail}: payload of {len(self.payload)} bytes, at most {MAX_PAYLOAD_BYTES} are portable"
            )
        if self.topic_tail.count("/") >= MAX_TAIL_SEGMENTS:
            raise BadMessageError(f"topic tail {self.topic_tail!r}: at most {MAX_TAIL_SEGMENTS} segments")
        check_topic(self.topic_tail)

    @property
    def size_bytes(self) -> int:
        """What the outbox counts for it: payload, topic, and a row's overhead."""
        return len(self.payload) + len(self.topic_tail) + ROW_OVERHEAD_BYTES


ROW_OVERHEAD_BYTES = 96  # measured: 100,000 inspections of 375 bytes make a file of 47.2 MB, index included


StatusState = Literal["online", "offline", "stopped"]


def status_message(state: StatusState, *, session: str, version: str, reason: str, utc_s: float) -> Message:
    """`status`, retained: online at every connect, offline as our Will, stopped at a clean end."""
    payload = StatusPayload(ts=rfc3339(utc_s), state=state, session=session, version=version, reason=reason)
    return _state_message("status", encode(payload))


def inspection_message(inspection: Inspection) -> Message:
    """`insp/<camera>`: a part that passed is a class of its own, because it is what may be evicted first."""
    latency, trigger = inspection.latency, inspection.trigger
    payload = InspectionPayload(
        id=inspection.id,
        ts=rfc3339(inspection.captured_utc_s),
        camera=inspection.camera,
        sequence=inspection.sequence,
        part=inspection.part,
        verdict=inspection.verdict.value,
        label=inspection.label,
        score=_rounded(inspection.score, 6),
        threshold=_rounded(inspection.threshold, 6),
        reason=inspection.reason.value if inspection.reason is not None else None,
        where=_region(inspection.where),
        model=inspection.model,
        latency_ms=None
        if latency is None
        else LatencyPayload(
            queue=round(latency.queue_ms, 3),
            prepare=round(latency.prepare_ms, 3),
            encode=round(latency.encode_ms, 3),
            decide=round(latency.decide_ms, 3),
            total=round(latency.total_ms, 3),
        ),
        recipe=inspection.recipe,
        triggered=None if trigger is None else rfc3339(trigger.utc_s),
        device=device_payload(inspection.device),
        detections=tuple(_detection(found) for found in inspection.detections),
        findings=tuple(_finding(found) for found in inspection.findings),
    )
    return Message(
        topic_tail=f"insp/{check_segment(inspection.camera, 'camera')}",
        payload=encode(payload),
        qos=1,
        retain=False,
        priority=Priority.PASS if inspection.verdict is Verdict.PASS else Priority.DEFECT,
    )


def _region(where: Region | None) -> RegionPayload | None:
    return None if where is None else _box(where)


def _box(where: Region) -> RegionPayload:
    return RegionPayload(
        x=round(float(where.x), 4),
        y=round(float(where.y), 4),
        width=round(float(where.width), 4),
        height=round(float(where.height), 4),
    )


def _detection(found: Detection) -> DetectionPayload:
    return DetectionPayload(
        label=found.label, score=round(float(found.score), 4), where=_box(found.where), defect=found.defect
    )


def _finding(found: Finding) -> FindingPayload:
    return FindingPayload(
        name=found.name,
        model=found.model,
        verdict=found.verdict.value,
        label=found.label,
        score=_rounded(found.score, 6),
        threshold=_rounded(found.threshold, 6),
        reason=found.reason.value if found.reason is not None else None,
        where=_region(found.where),
        detections=tuple(_detection(each) for each in found.detections),
    )


def device_payload(identity: CameraIdentity | None) -> DevicePayload | None:
    """A camera's identity as it stands on the wire."""
    if identity is None:
        return None
    return DevicePayload(
        vendor=identity.vendor, model=identity.model, serial=identity.serial, firmware=identity.firmware
    )


def summary_message(summary: SummaryPayload) -> Message:
    """`sum/<camera>`, retained: a dashboard starts full."""
    return _state_message(f"sum/{check_segment(summary.camera, 'camera')}", encode(summary))


def telemetry_message(numbers: Mapping[str, float], utc_s: float) -> Message:
    """`tm`: flat numbers. Names end in their unit (`cpu_c`, `press-3_fps`); what is not finite is left out."""
    finite = {name: round(float(number), 6) for name, number in numbers.items() if abs(number) < float("inf")}
    payload = encode({"v": 1, "ts": rfc3339(utc_s), **finite})
    return Message(topic_tail="tm", payload=payload, qos=0, retain=False, priority=Priority.TELEMETRY, slot="tm")


def alarm_id(code: str, subject: str) -> str:
    """A topic segment that names an alarm: readable, and with a hash where the subject had to be bent."""
    plain = f"{code}.{subject}" if subject else code
    bent = re.sub(r"[^A-Za-z0-9._-]", "-", plain)[:ALARM_ID_CHARS]
    return bent if bent == plain else f"{bent}.{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def alarm_message(alarm: Alarm, utc_s: float, *, acked: bool = False) -> tuple[Message, ...]:
    """`alarm/<id>`, retained. A cleared alarm is said to be cleared, then its topic is emptied."""
    identity = alarm_id(alarm.code, alarm.subject)
    payload = AlarmPayload(
        ts=rfc3339(utc_s),
        id=identity,
        state="cleared" if not alarm.active else "acked" if acked else "active",
        severity=alarm.severity.value,
        code=alarm.code,
        subject=alarm.subject,
        text=alarm.text,
        since=rfc3339(alarm.since_utc_s),
    )
    said = Message(topic_tail=f"alarm/{identity}", payload=encode(payload), qos=1, retain=True, priority=Priority.ALARM)
    if alarm.active:
        return (said,)
    emptied = Message(topic_tail=said.topic_tail, payload=b"", qos=1, retain=True, priority=Priority.ALARM)
    return (said, emptied)


def info_message(info: InfoPayload) -> Message:
    """`info`, retained."""
    return _state_message("info", encode(info))


def model_state_message(models: ModelPayload) -> Message:
    """`model/is`, retained."""
    return _state_message("model/is", encode(models))


def learn_state_message(learning: LearnPayload) -> Message:
    """`learn/is`, retained."""
    return _state_message("learn/is", encode(learning))


def config_state_message(config: ConfigPayload) -> Message:
    """`cfg/is`, retained."""
    return _state_message("cfg/is", encode(config))


def ack_message(
    *, kind: str, identity: str, state: AckState, utc_s: float, reason: str | None = None, result: Any = None
) -> Message:
    """`ack/<type>/<id>`: one state of one command."""
    payload = AckPayload(ts=rfc3339(utc_s), id=identity, type=kind, state=state, reason=reason, result=result)
    return Message(
        topic_tail=f"ack/{check_segment(kind, 'type')}/{check_segment(identity, 'id')}",
        payload=encode(payload),
        qos=1,
        retain=False,
        priority=Priority.ACK,
        expiry_s=ACK_EXPIRY_S,
    )


def _state_message(tail: str, payload: bytes) -> Message:
    return Message(topic_tail=tail, payload=payload, qos=1, retain=True, priority=Priority.STATE, slot=tail)


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(float(number), digits)
