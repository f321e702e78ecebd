"""Picture health in the process: references on disk, findings as alarms, and what a configuration means."""

import numpy as np
import pytest

from edge_agent.capture.addresses import parse
from edge_agent.capture.picture_health import ALL_CHECKS
from edge_agent.config.camera import Camera
from edge_agent.errors import StorageReadOnlyError
from edge_agent.processes.picture_watch import PictureWatch, ReferenceFiles, health_plan
from edge_agent.records import HoldReason
from tests.capture.scenes import scene

FRAMES = 10
WATCHED = {"source": "folder:/srv/parts?watch=1", "health_frames": FRAMES}


def camera(**keys):
    return Camera.model_validate({**WATCHED, **keys})


class Watched:
    """A process's watch over one camera, with the alarms that it raised."""

    def __init__(self, folder, **keys):
        self.heard = []
        self.watch = PictureWatch(ReferenceFiles(folder), self.heard.append)
        self.begin(**keys)

    def begin(self, **keys):
        configured = camera(**keys)
        self.examine = self.watch.begin("top", configured, parse(configured.source))

    def see(self, *pictures):
        return [self.examine(picture) for picture in pictures]

    @property
    def state(self):
        return self.watch.state("top")

    @property
    def active(self):
        """The texts of the alarms now, as an alarm book would keep them."""
        active = {}
        for condition in self.heard:
            if not condition.active:
                active.pop((condition.code, condition.subject), None)
            else:
                active.setdefault((condition.code, condition.subject), condition.text)
        return active


def sound(count, start=0):
    return [scene(start + number) for number in range(count)]


def test_what_was_learned_is_known_after_a_restart(tmp_path):
    Watched(tmp_path).see(*sound(FRAMES))

    again = Watched(tmp_path)

    assert again.state == "healthy"
    assert HoldReason.BLURRED in again.see(*(scene(seed, blur_px=3) for seed in range(10)))


def test_a_damaged_file_is_said_and_learned_again(tmp_path, caplog):
    Watched(tmp_path).see(*sound(FRAMES))
    (tmp_path / "top.json").write_bytes(b'{"version": 1, "view"')

    again = Watched(tmp_path)

    assert again.state == f"learning 0/{FRAMES}"
    assert "picture_reference=learn-again" in caplog.text
    again.see(*sound(FRAMES))
    assert Watched(tmp_path).state == "healthy"


@pytest.mark.parametrize("change", [{"roi": (0.1, 0.1, 0.5, 0.5)}, {"rotation": 90}, {"mask": ((0.0, 0.0, 0.2, 0.2),)}])
def test_a_changed_view_learns_anew(tmp_path, change):
    Watched(tmp_path).see(*sound(FRAMES))

    assert Watched(tmp_path, **change).state == f"learning 0/{FRAMES}"
    assert Watched(tmp_path).state == "healthy"


def test_the_alarm_names_what_is_wrong_follows_it_and_ends_with_it(tmp_path):
    watched = Watched(tmp_path)
    watched.see(*sound(FRAMES + 5))
    assert watched.active == {}

    watched.see(*(np.zeros_like(scene(0)) + np.uint8(number) for number in range(5)))
    assert watched.active[("picture-unhealthy", "top")].startswith("dark: ")
    watched.see(*[scene(99)] * 5)
    assert watched.active[("picture-unhealthy", "top")].startswith("frozen: ")
    watched.see(*sound(5, start=200))
    assert watched.active == {}


def test_a_camera_that_is_stopped_has_no_alarm_and_no_state(tmp_path):
    watched = Watched(tmp_path)
    watched.see(*[scene(1)] * 5)
    assert watched.active

    watched.watch.end("top")

    assert (watched.active, watched.state) == ({}, "off")


def test_learning_again_forgets_the_file_first_and_then_the_camera(tmp_path):
    watched = Watched(tmp_path)
    watched.see(*sound(FRAMES))

    watched.watch.relearn("top")

    assert not (tmp_path / "top.json").exists()
    assert set(watched.see(*(scene(seed, light=0.4) for seed in range(FRAMES)))) == {None}
    assert (tmp_path / "top.json").exists()


def test_a_disk_that_cannot_be_written_costs_the_memory_not_the_pictures(tmp_path, caplog, monkeypatch):
    def refuse(*_arguments, **_keys):
        raise StorageReadOnlyError("read-only")

    monkeypatch.setattr("edge_agent.processes.picture_watch.replace_file", refuse)
    watched = Watched(tmp_path)

    assert set(watched.see(*sound(FRAMES + 5))) == {None}
    assert watched.state == "healthy"
    assert "picture_reference=unsaved" in caplog.text


def test_what_is_checked_is_the_default_of_the_source_or_what_is_asked_for():
    def checks(**keys):
        configured = camera(**keys)
        return health_plan(configured, parse(configured.source)).checks

    assert checks() == ALL_CHECKS
    assert checks(source="synthetic:mixed") == frozenset()
    assert checks(source="synthetic:mixed", health=("dark", "blurred")) == {HoldReason.DARK, HoldReason.BLURRED}
    assert checks(health=()) == frozenset()
