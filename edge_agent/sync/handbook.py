"""The MQTT reference for people, as Markdown: topics, payloads, commands, alarms, broker settings. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edge_agent.records import (
    Alarm,
    CameraIdentity,
    HoldReason,
    Inspection,
    Latency,
    Region,
    Severity,
    Trigger,
    Verdict,
)
from edge_agent.sync.alarms import ALARM_CODES
from edge_agent.sync.commands import COMMANDS
from edge_agent.sync.fleet_payloads import (
    BlocksPayload,
    ContributionPayload,
    ManifestPayload,
    OfferPayload,
    ReceiptPayload,
)
from edge_agent.sync.messages import (
    MAX_PAYLOAD_BYTES,
    Message,
    ack_message,
    alarm_message,
    config_state_message,
    device_payload,
    info_message,
    inspection_message,
    learn_state_message,
    model_state_message,
    status_message,
    summary_message,
    telemetry_message,
)
from edge_agent.sync.payloads import (
    CameraInfo,
    CommandPayload,
    ConfigPayload,
    InfoPayload,
    LastPayload,
    LearnPayload,
    LearnState,
    ModelPayload,
    ModelState,
    SummaryPayload,
    encode,
)
from edge_agent.sync.topics import TOPICS

_UTC_S = 1_795_514_322.12
_TS = "2026-11-24T09:58:42.120Z"
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_ID = "01M86F4VDCQ0S3Y1Q2K0ZC5T9R"


def _learning() -> LearnState:
    return LearnState(
        name="surface",
        state="training",
        reason=None,
        epoch=3,
        epochs=6,
        step=154,
        steps=372,
        loss=0.218,
        eta_s=5120.4,
        opens=None,
        last_result="done",
        last_ended="2026-11-17T03:12:07.480Z",
    )


def examples() -> dict[str, bytes]:
    """One real payload of every kind, made by the code that makes them."""
    inspection = Inspection(
        id=_ID,
        camera="press-3-top",
        sequence=10_482,
        captured_utc_s=_UTC_S,
        verdict=Verdict.FAIL,
        label="scratch",
        score=0.9731,
        threshold=0.5,
        reason=None,
        where=Region(x=0.41, y=0.22, width=0.12, height=0.05),
        model=_DIGEST,
        latency=Latency(queue_ms=0.2, prepare_ms=1.1, encode_ms=8.7, decide_ms=0.2, total_ms=10.2),
        part="A-10482",
        recipe="housing-b",
        device=CameraIdentity(vendor="Basler", model="acA1300-60gm", serial="24730155", firmware="3.2.0"),
        trigger=Trigger(camera="press-3-top", utc_s=_UTC_S - 0.012, mono_s=0.0, part="A-10482", recipe="housing-b"),
    )
    last = LastPayload(id=_ID, ts=_TS, verdict="FAIL", label="scratch", score=0.9731)
    summary = SummaryPayload(
        ts=_TS,
        camera="press-3-top",
        state="running",
        since="2026-11-24T06:00:00.000Z",
        captured=10_482,
        passed=10_390,
        failed=61,
        held=30,
        held_by_reason={HoldReason.UNSURE.value: 28, HoldReason.OVERLOAD.value: 2},
        in_flight=1,
        yield_fraction=0.994163,
        fps=9.8,
        picture="healthy",
        last=last,
    )
    alarm = Alarm(
        code="camera-stalled",
        subject="press-3-top",
        severity=Severity.CRITICAL,
        text="no picture for 3.2 s; reopening",
        active=True,
        since_utc_s=_UTC_S,
    )
    camera = CameraInfo(
        name="press-3-top",
        source="rtsp://10.0.0.12/stream1",
        model="surface",
        digest=_DIGEST,
        device=device_payload(inspection.device),
    )
    info = InfoPayload(
        ts=_TS,
        gateway="gw-07",
        version="0.1.0",
        profile="x86-vnni",
        hardware={"cpu": "Intel N97", "memory_mib": "7816", "provider": "CPUExecutionProvider"},
        cameras=(camera,),
    )
    models = ModelPayload(
        ts=_TS, models=(ModelState(name="surface", state="active", active=_DIGEST, previous=None, reason=None),)
    )
    messages: dict[str, Message] = {
        "status": status_message("online", session=_ID, version="0.1.0", reason="connected", utc_s=_UTC_S),
        "info": info_message(info),
        "telemetry": telemetry_message({"cpu_c": 61.5, "press-3-top_fps": 9.8, "outbox_queued": 0}, _UTC_S),
        "inspection": inspection_message(inspection),
        "summary": summary_message(summary),
        "alarm": alarm_message(alarm, _UTC_S)[0],
        "acknowledgement": ack_message(kind="pause", identity="shift-change-1", state="successful", utc_s=_UTC_S),
        "config": config_state_message(ConfigPayload(ts=_TS, hash=_DIGEST, loaded=_TS, refused=None)),
        "model": model_state_message(models),
        "learn": learn_state_message(LearnPayload(ts=_TS, models=(_learning(),))),
    }
    command = CommandPayload(by="anna", args={"camera": "press-3-top"}, exp="2026-11-24T10:00:00.000Z")
    told = {name: message.payload for name, message in messages.items()}
    return {**told, "command": encode(command), **{name: encode(said) for name, said in _fleet().items()}}


def _fleet() -> dict[str, OfferPayload | ContributionPayload | ReceiptPayload | BlocksPayload]:
    """One round of a task, as it is said."""
    manifest = ManifestPayload(
        id=_ID,
        kind="statistics",
        size_bytes=254_502,
        sha256=_DIGEST,
        chunk_bytes=65_536,
        codec="edge-agent/statistics/1",
    )
    offer = OfferPayload(
        id=_ID,
        ts=_TS,
        task="surface",
        round=3,
        kind="statistics",
        base=_DIGEST,
        deadline="2026-11-24T10:30:00.000Z",
        min_samples=20,
        privacy="open",
        formats=("edge-agent/statistics/1",),
        max_bytes=1_000_000,
    )
    contribution = ContributionPayload(
        id=_ID,
        ts=_TS,
        gateway="gw-07",
        task="surface",
        round=3,
        offer=_ID,
        state="ready",
        base=_DIGEST,
        samples=299,
        manifest=manifest,
        reason=None,
        figures={"encode_ms": 80.1},
    )
    receipt = ReceiptPayload(
        id=_ID, ts=_TS, task="surface", round=3, offer=_ID, state="counted", sha256=_DIGEST, counted_in=3, reason=None
    )
    blocks = BlocksPayload(state="want", first=0, missing="0f")
    return {"offer": offer, "contribution": contribution, "receipt": receipt, "blocks": blocks}


def text(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    parts = [_HEAD, _topics(), _payloads(schemas), _commands(), _alarms(), _BROKER]
    return "\n".join(parts)


def _topics() -> str:
    rows = [
        "## Topics",
        "",
        "Below `<enterprise>/<plant>[/<area>]/ev1/<gateway>/`; up is from the gateway.",
        "",
        "| topic | direction | QoS | retained | content |",
        "|---|---|---|---|---|",
    ]
    for shape in TOPICS:
        will = ", Will" if shape.name == "status" else ""
        kept = "yes" + will if shape.retained else "no"
        rows.append(f"| `{shape.pattern}` | {shape.direction.value} | {shape.qos} | {kept} | {shape.purpose} |")
    return "\n".join(rows) + "\n"


def _payloads(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    shown = examples()
    lines = ["## Payloads", "", "JSON, UTF-8. Ignore fields that you do not know.", ""]
    for name, schema in schemas.items():
        lines += [f"### {name}", "", f"[`{name}.schema.json`]({name}.schema.json). {_first(schema)}", ""]
        lines += _fields(schema)
        for title, part in schema.get("$defs", {}).items():
            lines += ["", f"`{title}`: {_first(part)}", "", *_fields(part)]
        lines += ["", "```json", json.dumps(json.loads(shown[name]), indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _first(schema: Mapping[str, Any]) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _fields(schema: Mapping[str, Any]) -> list[str]:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {_type(field)} | {field['description']} |" for name, field in schema["properties"].items()]
    if isinstance(schema.get("additionalProperties"), dict):
        rows.append("| any other | number | A live number; its name ends in its unit or is a plain count. |")
    return rows


def _type(field: Mapping[str, Any]) -> str:
    if "const" in field:
        return f"{field['const']}"
    if "enum" in field:
        return ", ".join(str(word) for word in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(choice) for choice in field["anyOf"])
    if "$ref" in field:
        return f"`{field['$ref'].rsplit('/', 1)[1]}`"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(field.get("type", "anything"))


def _commands() -> str:
    rows = [
        "## Commands",
        "",
        "Publish to `cmd/<type>/<id>` with QoS 1 and **without retain**; choose an id not used before (1 to 64 of",
        "letters, digits, `. _ -`). The answer comes on `ack/<type>/<id>`: accepted, executing, then successful,",
        "failed, or rejected with the reason. The same id within 24 hours is answered again, not carried out again.",
        "",
        "| type | what it does | args |",
        "|---|---|---|",
    ]
    for name, shape in COMMANDS.items():
        rows.append(f"| `{name}` | {shape.purpose} | {shape.arguments} |")
    return "\n".join(rows) + "\n"


def _alarms() -> str:
    rows = [
        "## Alarm codes",
        "",
        "A latched alarm stays until `cmd/alarm-ack`; the others clear by themselves when their cause is gone.",
        "",
        "| code | severity | latched | meaning | what to do |",
        "|---|---|---|---|---|",
    ]
    for name, code in ALARM_CODES.items():
        latched = "yes" if code.latched else ""
        rows.append(f"| `{name}` | {code.severity.value} | {latched} | {code.meaning} | {code.advice} |")
    return "\n".join(rows) + "\n"


_HEAD = f"""# MQTT reference

Made by `python -m edge_agent.sync.schema docs/mqtt`; do not edit by hand.
The same, for programs: [asyncapi.yaml](asyncapi.yaml) (AsyncAPI 3.0) and one JSON Schema (2020-12) for each payload.

MQTT 5 is the default; 3.1.1 works but hides refused messages (the broker says success and drops them). Payloads have at
most {MAX_PAYLOAD_BYTES // 1024} KiB, topics at most 8 levels and 256 bytes; QoS is 0 or 1. No payload holds a picture.

**Deliveries may repeat.** After an outage or a crash a message may come twice; the same `id` is the same inspection.
What is committed to the outbox is sent until the broker takes it, over restarts and power cuts. A broker's word is not
an archive: mosquitto, killed after its acknowledgement, may lose what it took (see its settings below).
After an outage alarms come first, then answers to commands, state, live numbers, failed and held parts, passed parts.
"""

_BROKER = """## Broker: mosquitto

Settings that matter (2.0; comments must be on their own lines):

```
per_listener_settings true
persistence true
persistence_location /var/lib/mosquitto/
# what a power cut may lose; the default is 1800 s
autosave_interval 60
# for offline subscribers; the default of 1000 drops the newest while the publisher sees success
max_queued_messages 20000
max_packet_size 262144
persistent_client_expiration 14d
set_tcp_nodelay true

listener 8883
cafile /etc/mosquitto/ca.crt
certfile /etc/mosquitto/broker.crt
keyfile /etc/mosquitto/broker.key
require_certificate true
# the name of a gateway is the CN of its certificate
use_identity_as_username true
# else one gateway's certificate could throw another off by using its client id; one connection for each certificate
use_username_as_clientid true
acl_file /etc/mosquitto/ev.acl
allow_anonymous false
```

Use a CA of its own for `cafile`: every certificate that it signed may log in.

ACL for gateways, one pattern for each topic they write, and their own commands to read; `acme/lyon` is your root:

```
pattern write acme/lyon/ev1/%u/status
pattern write acme/lyon/ev1/%u/info
pattern write acme/lyon/ev1/%u/tm
pattern write acme/lyon/ev1/%u/insp/#
pattern write acme/lyon/ev1/%u/sum/#
pattern write acme/lyon/ev1/%u/alarm/#
pattern write acme/lyon/ev1/%u/ack/#
pattern write acme/lyon/ev1/%u/cfg/is
pattern write acme/lyon/ev1/%u/model/is
pattern write acme/lyon/ev1/%u/learn/is
pattern write acme/lyon/ev1/%u/fl/up
pattern write acme/lyon/ev1/%u/xf/#
pattern read acme/lyon/ev1/%u/cmd/#
pattern read acme/lyon/ev1/%u/fl/offer
pattern read acme/lyon/ev1/%u/fl/receipt
pattern read acme/lyon/ev1/%u/xf/#

user dashboard
topic read acme/lyon/ev1/#

user operator
topic read acme/lyon/ev1/#
topic write acme/lyon/ev1/+/cmd/#

user coordinator
topic read acme/lyon/ev1/+/fl/up
topic readwrite acme/lyon/ev1/+/xf/#
topic write acme/lyon/ev1/+/fl/offer
topic write acme/lyon/ev1/+/fl/receipt
```

A gateway must not be able to write its own `cmd`. Test an ACL by what is delivered: mosquitto grants a forbidden
subscription and stays silent. What it refuses to a gateway appears as the alarm `broker-denied`. mosquitto 2.0.11 also
closes the connection with each refusal, so a refused topic is tried again only every ten minutes, or on `--requeue`.

For a dashboard in a browser add a `protocol websockets` listener; it must not be the only one (mosquitto 2.0.11).
"""
