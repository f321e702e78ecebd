from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from edge_agent.cli import main
from edge_agent.config.settings import load
from tests.config.samples import smallest


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_AGENT_SECRET_P", "hunter2")
    path = tmp_path / "agent.yaml"
    path.write_text(smallest(mqtt="  username: u\n  password: !secret p\n").replace("rtsp://", "rtsp://a:swordfish@"))
    return path


def test_show_prints_what_differs_from_the_defaults(file, capsys):
    assert main(["config", "show", "--config", str(file)]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert "keepalive_s" not in shown["mqtt"]
    assert shown["site"]["plant"] == "lyon"


def test_show_effective_prints_every_key_and_no_secret(file, capsys):
    assert main(["config", "--config", str(file), "show", "--effective"]) == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out) == load(file).plain()
    assert "hunter2" not in out
    assert "swordfish" not in out


def test_show_as_json(file, capsys):
    assert main(["config", "show", "--output", "json", "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


def test_show_of_a_file_with_faults_ends_with_78(file, capsys):
    file.write_text("version: 1\n")
    assert main(["config", "show", "--config", str(file)]) == 78
    assert f"{file}:1:1: site: found nothing" in capsys.readouterr().err


def test_schema_prints_the_json_schema(capsys):
    assert main(["config", "schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_doc_explains_a_key_a_section_or_everything(capsys):
    assert main(["config", "doc", "mqtt.keepalive_s"]) == 0
    one = capsys.readouterr().out
    assert one.startswith("mqtt.keepalive_s\n")
    assert "default 30" in one
    assert main(["config", "doc", "mqtt"]) == 0
    section = capsys.readouterr().out
    assert one in section
    assert "cameras.NAME" not in section
    assert main(["config", "doc"]) == 0
    assert section in capsys.readouterr().out


def test_doc_of_an_unknown_key_names_the_nearest(capsys):
    assert main(["config", "doc", "mqtt.keepalive"]) == 1
    assert "did you mean mqtt.keepalive_s?" in capsys.readouterr().err
