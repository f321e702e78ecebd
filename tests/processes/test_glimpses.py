"""Frames for the review page: only while somebody watches, small, one a second, and never in the way of a verdict."""

import os

import numpy as np
import pytest

from edge_agent.capture.picture import decode
from edge_agent.processes.glimpses import Glimpses
from edge_agent.processes.live import watch_file
from edge_agent.records import Frame
from tests.evidence.samples import inspection
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def glimpses(tmp_path, clock):
    return Glimpses(tmp_path, clock)


def frame(level=100, *, camera="top", height=480, width=640):
    image = np.full((height, width, 3), level, np.uint8)
    return Frame(camera=camera, sequence=1, captured_utc_s=0.0, captured_mono_s=0.0, image=image)


def watched(tmp_path, clock, *, ago_s=0.0):
    watch_file(tmp_path).touch()
    os.utime(watch_file(tmp_path), (clock.utc_s() - ago_s,) * 2)


def seen(tmp_path, camera="top"):
    path = tmp_path / "live" / f"{camera}.jpg"
    return decode(path.read_bytes()) if path.exists() else None


def test_nobody_watching_nothing_is_written(tmp_path, glimpses, clock):
    glimpses.witness(frame(), inspection())
    clock.advance(2)
    watched(tmp_path, clock, ago_s=10)
    glimpses.witness(frame(), inspection())

    assert not (tmp_path / "live").exists()


def test_somebody_watching_sees_each_camera_once_a_second(tmp_path, glimpses, clock):
    watched(tmp_path, clock)
    glimpses.witness(frame(50), inspection())
    glimpses.witness(frame(90, camera="side"), inspection())
    glimpses.witness(frame(200), inspection())
    assert (round(seen(tmp_path).mean()), round(seen(tmp_path, "side").mean())) == (50, 90)

    clock.advance(1.1)
    glimpses.witness(frame(200), inspection())
    assert round(seen(tmp_path).mean()) == 200


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (480, 640)), (1080, 1920, (360, 640)), (40, 2000, (13, 640)), (2000, 30, (2000, 30))],
)
def test_a_wide_picture_becomes_small_and_keeps_its_proportions(tmp_path, glimpses, clock, height, width, expected):
    watched(tmp_path, clock)
    glimpses.witness(frame(height=height, width=width), inspection())

    assert seen(tmp_path).shape[:2] == expected


def test_a_folder_that_cannot_be_written_is_said_and_nothing_is_raised(tmp_path, glimpses, clock, caplog):
    watched(tmp_path, clock)
    (tmp_path / "live").write_text("a file where the folder should be")

    glimpses.witness(frame(), inspection())
    assert "glimpse=unwritten camera=top" in caplog.text
