from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from edge_agent.cli import main
from edge_agent.cli.init import _draft, gateway_name
from edge_agent.config.settings import load, loads
from edge_agent.config.template import render
from edge_agent.device.detect import Device, choose
from edge_agent.device.profile import profiles
from edge_agent.device.video import VideoDevice
from tests.capture.test_discovery import EYE, match
from tests.fakes.onvif_camera import Responder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_it_writes_loads_and_keeps_its_state_beside_it(here, capsys):
    assert main(["init", "--enterprise", "acme", "--plant", "lyon", "--gateway", "gw-07"]) == 0
    settings = load(here / "agent.yaml")
    assert (settings.topic_root, settings.site.gateway) == ("acme/lyon", "gw-07")
    assert settings.storage.state_dir == here / "state"
    assert settings.cameras
    assert "edge-agent check --config agent.yaml" in capsys.readouterr().out


def test_a_file_that_is_there_is_left_alone_unless_it_is_forced(here, capsys):
    file = here / "agent.yaml"
    file.write_text("mine")
    assert main(["init"]) == 1
    assert file.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert main(["init", "--force"]) == 0
    assert file.read_text() != "mine"


def test_a_name_that_topics_cannot_carry_is_refused_and_nothing_is_written(here, capsys):
    assert main(["init", "--plant", "Lyon/2"]) == 78
    assert "site.plant" in capsys.readouterr().err
    assert not (here / "agent.yaml").exists()


def test_cameras_that_were_found_stand_in_it_by_names_that_last():
    link = Path("/dev/v4l/by-id/usb-C920_123-video-index0")
    arguments = argparse.Namespace(
        output=Path("/etc/edge-agent/agent.yaml"), enterprise="a", plant="b", gateway=None, broker="mqtt://b"
    )
    choice = choose(Device(machine="aarch64", modules=("p3767-0003",), l4t="36.4.3"), profiles())
    draft = _draft(arguments, "GW_07.plant.local", choice, (VideoDevice(link=link, node=Path("/dev/video0")),))
    text = render(draft)
    settings = loads(text.encode(), file=arguments.output)
    assert settings.cameras["camera-1"].source == f"v4l2:{link}"
    assert settings.site.gateway == "gw-07"
    assert settings.storage.state_dir == Path("/var/lib/edge-agent")
    assert "jetson-orin-nano-8gb" in text


def test_without_a_camera_a_drawn_one_stands_in_and_says_so(here):
    arguments = argparse.Namespace(output=here / "a.yaml", enterprise="a", plant="b", gateway="c", broker="mqtt://b")
    text = render(_draft(arguments, "host", choose(Device(machine="x86_64"), profiles()), ()))
    assert loads(text.encode(), file=here / "a.yaml").cameras["camera-1"].source == "synthetic:scratches"
    assert "No camera was found here" in text


@pytest.mark.parametrize(
    ("host", "name"), [("GW_07.plant.local", "gw-07"), ("", "gateway"), ("ünïcode", "n-code"), ("x" * 99, "x" * 64)]
)
def test_a_host_name_becomes_the_name_of_a_gateway(host, name):
    assert gateway_name(host) == name


def test_discovery_prints_the_cameras_with_the_lines_that_the_file_needs_and_writes_nothing(here, capsys):
    with Responder(match(EYE), lambda _identity: b"nonsense") as responder:
        assert main(["init", "--discover", "{}:{}".format(*responder.target)]) == 0

    out = capsys.readouterr().out
    assert f"onvif    {EYE}\n         Acme Eye, E4\n" in out
    assert "note     onvif: 1 answers were none and are ignored" in out
    lines = out[out.index("cameras:") :]
    eye = {"source": "rtsp://10.0.0.12/PATH-OF-ITS-STREAM", "onvif": EYE}
    assert eye in yaml.safe_load(lines)["cameras"].values()
    assert not list(here.iterdir())


def test_an_address_for_discovery_that_is_none_is_refused(capsys):
    assert main(["init", "--discover", "10.0.0.12:port"]) == 2
    assert "expected HOST or HOST:PORT" in capsys.readouterr().err
