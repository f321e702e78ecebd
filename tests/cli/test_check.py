from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.processes.checks.table import CHECKS

MINIMAL = """\
version: 1
site: {enterprise: acme, plant: lyon, gateway: gw-07}
cameras:
  one: {source: 'synthetic:scratches', fps: 240}
mqtt: {url: 'mqtt://127.0.0.1:1'}
storage: {state_dir: state, runtime_dir: run, min_free_bytes: 0}
"""
OFFLINE = [word for group in ("broker", "model", "clock", "device") for word in ("--dont-run", group)]


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(MINIMAL)
    return path


def check(*words: str) -> int:
    return main(["check", *words])


def report(capsys, *words: str) -> tuple[int, dict]:
    code = check("--output", "json", *words)
    return code, json.loads(capsys.readouterr().out)


def test_what_works_ends_with_0_and_says_what_was_tried(file, capsys):
    assert check("--config", str(file), *OFFLINE) == 0
    out = capsys.readouterr().out
    assert "√ frames one: 640x480, 5 frames in" in out
    assert out.startswith("Configuration\n")


def test_an_invalid_configuration_ends_with_78_and_tells_every_fault(file, capsys):
    file.write_text(MINIMAL.replace("plant: lyon", "plnt: lyon").replace("fps: 240", "fps: fast"))
    code, found = report(capsys, "--config", str(file))
    assert code == found["exit_code"] == 78
    assert [fault["key"] for fault in found["faults"]] == ["site.plant", "site.plnt", "cameras.one.fps"]
    assert found["faults"][2]["line"] == 4
    levels = {entry["id"]: entry["level"] for entry in found["checks"]}
    assert levels["config-valid"] == "error"
    assert levels["camera-frames"] == "skipped"


def test_a_source_that_cannot_be_read_is_a_fault_of_the_configuration(file, capsys):
    file.write_text(MINIMAL.replace("synthetic:scratches", "usb0"))
    code, found = report(capsys, "--config", str(file))
    assert code == 78
    assert found["faults"][0]["key"] == "cameras.one.source"


def test_a_missing_file_ends_with_78(tmp_path, capsys):
    assert check("--config", str(tmp_path / "none.yaml")) == 78
    assert "no such file" in capsys.readouterr().out


def test_what_fails_ends_with_1_and_has_advice(file, capsys):
    code, found = report(capsys, "--config", str(file), "--dont-run", "model")
    assert code == 1
    broker = next(entry for entry in found["checks"] if entry["id"] == "broker-reachable")
    assert broker["level"] == "error"
    assert "connection refused" in broker["text"]
    assert broker["advice"]


def test_warnings_end_with_0_unless_they_count_as_errors(file, capsys):
    file.write_text(MINIMAL.replace("'synthetic:scratches'", "'rtsp://u:p@127.0.0.1:1/x'"))
    words = ["--config", str(file), *OFFLINE, "--dont-run", "camera-frames"]
    assert check(*words) == 0
    out = capsys.readouterr().out
    assert "‼ credentials in addresses one" in out
    assert "u:p" not in out
    assert check(*words, "--warnings-as-errors") == 1


def test_list_names_every_check_and_needs_no_configuration(capsys):
    assert check("--list") == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [entry.id for entry in CHECKS]
    assert len(set(listed)) == len(listed)


def test_a_check_or_a_group_can_be_left_out(file, capsys):
    words = ["--config", str(file), "--dont-run", "camera-frames", "--dont-run", "broker", "--dont-run", "model"]
    _, found = report(capsys, *words)
    ids = {entry["id"] for entry in found["checks"]}
    assert "camera-address" in ids
    assert not ids & {"camera-frames", "broker-reachable", "model-active"}


def test_an_unknown_check_cannot_be_left_out(file, capsys):
    assert check("--config", str(file), "--dont-run", "camera") == 2
    assert "--list" in capsys.readouterr().err


def test_it_leaves_nothing_behind(file, tmp_path):
    check("--config", str(file), *OFFLINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.yaml"]


def test_a_terminal_without_unicode_gets_plain_signs(file, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", terminal)
    assert check("--config", str(file), *OFFLINE) == 0
    terminal.flush()
    assert b"\nok frames one: 640x480" in terminal.buffer.getvalue()
