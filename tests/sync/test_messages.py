import dataclasses
import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadMessageError
from edge_agent.records import (
    Alarm,
    Detection,
    Finding,
    HoldReason,
    Inspection,
    Latency,
    Region,
    Severity,
    Verdict,
    ulid,
)
from edge_agent.sync.alarms import ALARM_CODES, AlarmBook, Condition
from edge_agent.sync.messages import (
    EVICTION_ORDER,
    MAX_PAYLOAD_BYTES,
    Message,
    Priority,
    ack_message,
    alarm_id,
    alarm_message,
    inspection_message,
    telemetry_message,
)
from edge_agent.sync.schema import payload_schema
from edge_agent.sync.topics import Branch, check_topic, parse_tail

NOW = 1_795_514_322.12


def validator(name):
    return jsonschema.Draft202012Validator(payload_schema(name), format_checker=jsonschema.FormatChecker())


INSPECTION, ALARM, TELEMETRY, ACK = (
    validator(name) for name in ("inspection", "alarm", "telemetry", "acknowledgement")
)

fractions = st.floats(0, 1)
milliseconds = st.floats(0, 1e6)
optional_text = st.none() | st.text(max_size=40)
regions = st.builds(Region, x=fractions, y=fractions, width=fractions, height=fractions)
detections = st.lists(
    st.builds(Detection, label=st.text(max_size=64), score=fractions, where=regions, defect=st.booleans()), max_size=3
).map(tuple)
findings = st.lists(
    st.builds(
        Finding,
        name=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
        model=st.none() | st.just("b" * 64),
        verdict=st.sampled_from(Verdict),
        label=optional_text,
        score=st.none() | fractions,
        threshold=st.none() | fractions,
        reason=st.none() | st.sampled_from(HoldReason),
        where=st.none() | regions,
        detections=detections,
    ),
    max_size=3,
).map(tuple)
inspections = st.builds(
    Inspection,
    id=st.floats(0, 4e9).map(ulid),
    camera=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    sequence=st.integers(1, 2**53),
    captured_utc_s=st.floats(0, 4e9),
    verdict=st.sampled_from(Verdict),
    label=optional_text,
    score=st.none() | fractions,
    threshold=st.none() | fractions,
    reason=st.none() | st.sampled_from(HoldReason),
    where=st.none() | regions,
    model=st.none() | st.just("a" * 64),
    latency=st.none()
    | st.builds(
        Latency,
        queue_ms=milliseconds,
        prepare_ms=milliseconds,
        encode_ms=milliseconds,
        decide_ms=milliseconds,
        total_ms=milliseconds,
    ),
    part=optional_text,
    detections=detections,
    findings=findings,
)


@given(inspections)
def test_every_inspection_becomes_a_payload_that_its_schema_knows(inspection):
    message = inspection_message(inspection)
    payload = json.loads(message.payload)

    INSPECTION.validate(payload)
    assert (payload["id"], payload["camera"], payload["verdict"]) == (
        inspection.id,
        inspection.camera,
        inspection.verdict.value,
    )
    assert [found["name"] for found in payload["findings"]] == [found.name for found in inspection.findings]
    assert [found["label"] for found in payload["detections"]] == [found.label for found in inspection.detections]
    assert (message.priority is Priority.PASS) == (inspection.verdict is Verdict.PASS)
    assert parse_tail(message.topic_tail)[1] == {"camera": inspection.camera}


def test_the_largest_inspection_there_can_be_fits_every_broker():
    longest = "\U0001f529" * 64  # four bytes each
    box = Region(x=0.1234, y=0.1234, width=0.1234, height=0.1234)
    found = tuple(Detection(label=longest, score=0.1234, where=box, defect=False) for _ in range(32))
    finding = Finding(
        name="m" * 32,
        model="b" * 64,
        verdict=Verdict.HOLD,
        label="missing " + longest,
        score=0.123456,
        threshold=0.123456,
        reason=HoldReason.UNSURE,
        where=box,
        detections=found,
    )
    inspection = Inspection(
        id="0" * 26,
        camera="c" * 32,
        sequence=2**53,
        captured_utc_s=NOW,
        verdict=Verdict.HOLD,
        label=finding.label,
        score=finding.score,
        threshold=finding.threshold,
        reason=HoldReason.UNSURE,
        where=box,
        model="b" * 64,
        latency=None,
        part="p" * 255,
        detections=found,
        findings=(finding,) * 8,
    )

    # What is refused here would be lost: BadMessageError. Room is left for what else an inspection tells.
    assert len(inspection_message(inspection).payload) < MAX_PAYLOAD_BYTES - 8192


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_-]{2,20}", fullmatch=True), st.floats() | st.integers(-(2**53), 2**53), max_size=20
    )
)
def test_telemetry_is_flat_numbers_and_leaves_out_what_is_not_finite(numbers):
    payload = json.loads(telemetry_message(numbers, NOW).payload)

    TELEMETRY.validate(payload)
    assert set(payload) - {"v", "ts"} == {name for name, number in numbers.items() if math.isfinite(number)}


def alarm(active, subject="press-3"):
    return Alarm(
        code="camera-lost",
        subject=subject,
        severity=Severity.CRITICAL,
        text="no answer",
        active=active,
        since_utc_s=NOW,
    )


def test_a_cleared_alarm_is_said_to_be_cleared_and_then_its_topic_is_emptied():
    (raised,) = alarm_message(alarm(active=True), NOW)
    (acked,) = alarm_message(alarm(active=True), NOW, acked=True)
    cleared, emptied = alarm_message(alarm(active=False), NOW)

    assert [json.loads(message.payload)["state"] for message in (raised, acked, cleared)] == [
        "active",
        "acked",
        "cleared",
    ]
    assert emptied.payload == b""
    assert {message.topic_tail for message in (raised, acked, cleared, emptied)} == {"alarm/camera-lost.press-3"}
    assert all(message.retain and message.priority is Priority.ALARM for message in (raised, acked, cleared, emptied))
    for message in (raised, acked, cleared):
        ALARM.validate(json.loads(message.payload))


@given(st.text(max_size=200), st.text(max_size=200))
def test_an_alarm_of_any_subject_has_a_legal_topic_and_two_subjects_have_two(one, other):
    for subject in (one, other):
        check_topic(
            Branch(root=("a" * 30, "b" * 30), gateway="g" * 64).topic(f"alarm/{alarm_id('camera-lost', subject)}")
        )
    assert (alarm_id("x", one) == alarm_id("x", other)) == (one == other)


def test_an_acknowledgement_says_state_reason_and_result():
    message = ack_message(
        kind="counters", identity="c-1", state="successful", utc_s=NOW, result={"press-3": {"passed": 3}}
    )

    payload = json.loads(message.payload)
    ACK.validate(payload)
    assert payload["result"] == {"press-3": {"passed": 3}}


@pytest.mark.parametrize("tail", ["", "insp/+", "insp/#", "a/b/c/d", "insp//x"])
def test_a_message_with_an_illegal_topic_cannot_be_made(tail):
    with pytest.raises(BadMessageError):
        Message(topic_tail=tail, payload=b"", qos=1, retain=False, priority=Priority.PASS)


def test_a_camera_name_cannot_smuggle_in_a_topic_level():
    inspection = Inspection(
        id="x",
        camera="a/b",
        sequence=1,
        captured_utc_s=0,
        verdict=Verdict.PASS,
        label=None,
        score=None,
        threshold=None,
        reason=None,
        where=None,
        model=None,
        latency=None,
    )

    with pytest.raises(BadMessageError):
        inspection_message(inspection)


def test_everything_but_alarms_may_be_evicted_telemetry_first_then_passed_parts():
    assert EVICTION_ORDER[:2] == (Priority.TELEMETRY, Priority.PASS)
    assert set(Priority) - set(EVICTION_ORDER) == {Priority.ALARM}


# Alarm book


def condition(code="camera-lost", *, active=True, text="found"):
    return Condition(code=code, subject="press-3", active=active, text=text)


def test_a_condition_told_often_is_news_once():
    book = AlarmBook()

    assert book.note(condition(), NOW).since_utc_s == NOW
    assert book.note(condition(), NOW + 1) is None
    assert book.note(condition(active=False), NOW + 2).active is False
    assert book.note(condition(active=False), NOW + 3) is None


@pytest.mark.parametrize("code", [code for code, row in ALARM_CODES.items() if row.latched])
def test_a_latched_alarm_ends_only_when_a_person_has_seen_it(code):
    book = AlarmBook()
    book.note(condition(code), NOW)

    assert book.note(condition(code, active=False), NOW) is None
    assert book.acknowledge(code, "press-3").active is False
    assert book.acknowledge(code, "press-3") is None
    assert book.note(condition(code), NOW) is not None


def test_an_acknowledged_alarm_whose_cause_lasts_stays_active():
    book = AlarmBook()
    raised = book.note(condition(), NOW)

    assert book.acknowledge("camera-lost", "press-3") == raised
    assert book.active == (raised,)


def test_a_code_that_nobody_explained_cannot_be_raised():
    with pytest.raises(KeyError):
        AlarmBook().note(condition("novel"), NOW)


def test_records_of_alarms_carry_the_severity_of_their_code():
    for code, row in ALARM_CODES.items():
        assert AlarmBook().note(dataclasses.replace(condition(), code=code), NOW).severity is row.severity
