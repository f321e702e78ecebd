"""Snapshots: what is written is read back, what is stale or strange is nothing."""

import json

from edge_agent.processes.live import (
    STALE_AFTER_S,
    AlarmLine,
    CameraLive,
    InspectLive,
    VerdictLine,
    fresh_inspect,
    read_inspect,
    write_snapshot,
)


def camera(**changes):
    values = {
        "state": "streaming",
        "reason": "",
        "source": "rtsp://10.0.0.12/stream1",
        "model": "surface",
        "digest": "ab" * 32,
        "mode": "head",
        "fps": 9.9,
        "frame_age_s": 0.1,
        "captured": 10,
        "judged": 7,
        "dropped": {"overload": 2},
        "in_flight": 1,
        "skipped": {"rate": 20},
        "reconnects": 0,
        "passed": 5,
        "failed": 1,
        "held": 3,
        "held_by_reason": {"overload": 2, "unsure": 1},
        "labels": {"scratch": 1},
        "yield_share": 5 / 6,
        "latency_p50_ms": 6.0,
        "latency_p99_ms": 9.0,
        "stage_p50_ms": {"encode": 4.9},
        "paused": False,
        "recent": (VerdictLine(utc_s=1.0, verdict="FAIL", label="scratch", score=0.98, reason=None, part="p1"),),
    }
    return CameraLive(**{**values, **changes})


def live(written_utc_s=1000.0, **cameras):
    return InspectLive(
        pid=1,
        version="0.1.0",
        started_utc_s=0.0,
        written_utc_s=written_utc_s,
        profile="x86-vnni",
        provider="CPUExecutionProvider",
        config_digest="cd" * 32,
        cameras=cameras or {"press-3": camera()},
        alarms=(AlarmLine(code="hot", subject="", severity="warning", text="83 °C", since_utc_s=1.0),),
    )


def test_a_snapshot_reads_back_as_it_was_written(tmp_path):
    write_snapshot(tmp_path / "inspect.json", live())

    assert read_inspect(tmp_path / "inspect.json") == live()


def test_a_snapshot_is_nothing_once_its_process_stopped_writing(tmp_path):
    write_snapshot(tmp_path / "inspect.json", live(written_utc_s=1000.0))

    assert fresh_inspect(tmp_path / "inspect.json", 1000.0 + STALE_AFTER_S / 2) is not None
    assert fresh_inspect(tmp_path / "inspect.json", 1000.0 + STALE_AFTER_S) is None


def test_fields_of_a_newer_version_are_ignored_and_missing_ones_make_it_nothing(tmp_path):
    file = tmp_path / "inspect.json"
    write_snapshot(file, live())
    value = json.loads(file.read_bytes())

    file.write_text(json.dumps({**value, "news": 1}))
    assert read_inspect(file) == live()
    del value["cameras"]["press-3"]["fps"]
    file.write_text(json.dumps(value))
    assert read_inspect(file) is None


def test_half_a_file_is_nothing(tmp_path):
    file = tmp_path / "inspect.json"
    write_snapshot(file, live())

    file.write_bytes(file.read_bytes()[:-10])

    assert read_inspect(file) is None
