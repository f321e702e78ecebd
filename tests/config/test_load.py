from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_agent.config.faults import InvalidConfigError
from edge_agent.config.reference import SMALLEST
from edge_agent.config.settings import load
from edge_agent.errors import EXIT_CONFIG, ConfigError
from tests.config.samples import FILE, faults, read, smallest, the_fault


def test_the_smallest_file_of_the_manual_is_valid():
    settings = read(SMALLEST)
    camera = settings.cameras["press-3-top"]
    assert (camera.source, camera.fps, camera.model) == ("rtsp://10.0.0.12/stream1", 10.0, "surface")
    assert camera.roi == (0.1, 0.1, 0.8, 0.8)
    assert settings.mqtt.url == "mqtts://broker.plant.local:8883"
    assert settings.topic_root == "acme/lyon"
    assert settings.site.gateway == "gw-07"


def test_what_is_dumped_loads_to_the_same_settings():
    settings = read(SMALLEST)
    assert read(settings.as_yaml()) == settings
    assert read(settings.as_yaml()).digest == settings.digest


def test_settings_cannot_be_changed():
    settings = read(SMALLEST)
    with pytest.raises(ValidationError):
        settings.site.plant = "other"


def test_a_camera_takes_what_inspection_says_and_may_repeat_any_key():
    text = smallest(
        camera="    threshold: 0.9\n  other:\n    source: synthetic:scratches\n",
        top="inspection: {threshold: 0.6, n_of_m: [2, 3]}\n",
    )
    cameras = read(text.replace("mqtt:", "mqtt:")).cameras
    assert cameras["press-3-top"].threshold == 0.9
    assert cameras["press-3-top"].n_of_m == (2, 3)
    assert cameras["other"].threshold == 0.6


def test_a_fault_in_a_shared_key_is_told_once_and_where_it_is_written():
    fault = the_fault(smallest(top="inspection:\n  threshold: 1.5\n"))
    assert fault.key == "inspection.threshold"
    assert (fault.line, fault.column) == (12, 14)


def test_a_camera_that_clashes_with_a_shared_key_is_told():
    fault = the_fault(smallest(camera="    hold_below: 0.7\n", top="inspection: {threshold: 0.6}\n"))
    assert fault.key == "cameras.press-3-top.hold_below"
    assert fault.expected == "at most threshold (0.6)"


def test_an_empty_section_means_its_defaults():
    assert read(smallest(top="logging:\n  # level: debug\n")).logging.level == "info"


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path):
    file = tmp_path / "agent.yaml"
    file.write_text(smallest(top="storage: {state_dir: state}\n"))
    settings = load(file)
    assert settings.storage.state_dir == tmp_path / "state"
    assert settings.storage.runtime_dir == Path("/run/edge-agent")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InvalidConfigError, match="no such file, expected a readable configuration; edge-agent init"):
        load(tmp_path / "agent.yaml")


def test_a_folder_instead_of_a_file_is_one_fault(tmp_path):
    with pytest.raises(InvalidConfigError, match="Is a directory"):
        load(tmp_path)


def test_an_invalid_configuration_ends_the_program_with_78():
    with pytest.raises(ConfigError) as caught:
        read("version: 1")
    assert caught.value.exit_code == EXIT_CONFIG == 78


def test_all_faults_are_told_at_once_in_the_order_of_the_file():
    text = smallest(
        camera="    fsp: 5\n    rotation: 45\n    password: !secret nowhere\n",
        mqtt="  keepalive_s: 1\n",
        top="loging: {}\n",
    ).replace("gw-07", "GW 7")
    found = faults(text)
    assert [fault.key for fault in found] == [
        "site.gateway",
        "cameras.press-3-top.fsp",
        "cameras.press-3-top.rotation",
        "cameras.press-3-top.password",
        "mqtt.keepalive_s",
        "loging",
    ]
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)


def test_a_line_of_a_fault_can_be_clicked_in_an_editor():
    fault = the_fault(smallest(camera="    rotation: 45\n"))
    expected = f"{FILE}:9:15: cameras.press-3-top.rotation: found 45, expected one of 0, 90, 180, 270"
    assert str(fault) == expected


class Knowing:
    """An address book that knows sources only."""

    def __init__(self, check):
        self._check = check

    def fault(self, kind, text):
        return self._check(text) if kind == "source" else None

    def overlap(self, triggers, signals):
        return None


def test_the_source_of_a_camera_is_checked_by_whoever_knows_sources():
    fault = the_fault(SMALLEST, addresses=Knowing(lambda text: None if text.startswith("v4l2:") else "only v4l2 here"))
    assert (fault.key, fault.line, fault.column) == ("cameras.press-3-top.source", 5, 13)
    assert fault.hint == "only v4l2 here"


def test_credentials_in_an_address_are_never_repeated():
    text = SMALLEST.replace("rtsp://10.0.0.12", "rtsp://admin:hunter2@10.0.0.12")
    assert "hunter2" not in repr(read(text))
    assert "hunter2" not in read(text).as_yaml()
    assert "hunter2" in read(text).cameras["press-3-top"].source
    fault = the_fault(text, addresses=Knowing(lambda _: "no"))
    assert "hunter2" not in str(fault)
    assert "rtsp://***@10.0.0.12/stream1" in str(fault)
    assert "hunter2" not in str(the_fault(SMALLEST.replace("mqtts://", "mqtts://user:hunter2@")))


def test_a_profile_that_does_not_exist_is_refused_with_the_ones_that_do():
    fault = the_fault(smallest(top="device: {profile: x86-vnii}\n"))
    assert "x86-vnni" in fault.expected
    assert fault.hint == "did you mean x86-vnni?"


def test_the_digest_follows_every_value_but_no_secret():
    base = read(SMALLEST)
    assert base.digest != read(SMALLEST.replace("fps: 10", "fps: 11")).digest
    assert base.digest == read("# a comment\n" + SMALLEST).digest
    with_secret = smallest(mqtt="  username: u\n  password: !secret p\n")
    digests = {read(with_secret, {"EDGE_AGENT_SECRET_P": value}).digest for value in ("one", "two")}
    assert len(digests) == 1


def test_plain_values_are_json():
    assert json.loads(json.dumps(read(SMALLEST).plain()))["site"]["plant"] == "lyon"
