"""Drift in the process: who is watched, what a restart and a command keep and forget, alarms once for each change."""

import math

import numpy as np
import pytest

from edge_agent.capture.addresses import parse
from edge_agent.capture.picture_health import MARGINS, REACH
from edge_agent.capture.picture_reference import learn
from edge_agent.capture.picture_statistics import statistics_of
from edge_agent.config.camera import Camera
from edge_agent.errors import StorageReadOnlyError
from edge_agent.inspect.decide import Rules
from edge_agent.inspect.lane import Absent, Judge, Lane
from edge_agent.processes.drift_files import DriftFiles
from edge_agent.processes.drift_watch import KEEP_EVERY_S, DriftWatch, is_watched
from edge_agent.processes.picture_watch import health_plan
from edge_agent.records import Canvas, Features, Frame, HoldReason, Inspection, Latency, Verdict
from tests.capture.scenes import scene
from tests.fakes.clock import FakeClock

FRAMES = 250
D = 16
PICTURE = np.zeros((4, 4, 3), np.uint8)
REFERENCE = learn([statistics_of(scene(seed)) for seed in range(5)], "whole", (240, 320), MARGINS, REACH)
LATENCY = Latency(queue_ms=0, prepare_ms=0, encode_ms=1, decide_ms=0, total_ms=1)


def camera(**keys):
    plain = {"source": "folder:/srv/parts?watch=1", "drift": {"frames": FRAMES}, **keys}
    return Camera.model_validate(plain)


def plan(configured):
    return health_plan(configured, parse(configured.source))


class Station:
    """One camera under watch, as the threads of the process would feed it."""

    def __init__(self, folder, **keys):
        self.active = {}
        self.clock = FakeClock()
        self.watch = DriftWatch(DriftFiles(folder), self._note, self.clock)
        self.rng = np.random.default_rng(1)
        configured = camera(**keys)
        self.hear = self.watch.begin("top", configured, plan(configured))
        self.use("1" * 64)

    def use(self, digest, threshold=0.5):
        def look(_picture):
            return Features(vector=self.rng.standard_normal(D).astype(np.float32), map=np.zeros((1, 1, D), np.float32))

        judge = Judge(
            name="surface",
            digest=digest,
            canvas=Canvas(px=(4, 4)),
            look=look,
            assessor=None,
            rules=Rules(threshold=threshold, hold_below=threshold),
        )
        self.lane = self.watch.listening({"top": Lane(first=judge)}, {})["top"]

    def see(self, count, *, light=0.0, odds=0.0, reason=None):
        for _ in range(count):
            self.hear(REFERENCE, {"light": 6 + light + self.rng.normal(0, 0.05), "scene_light": 6 + light})
            self.lane.first.look(PICTURE)
            score = 1 / (1 + math.exp(4 - odds + self.rng.normal(0, 0.5)))
            self.watch.witness(*judged(score, reason))
            self.watch.step()

    def _note(self, condition):
        if condition.active:
            assert condition.code not in self.active, "told twice"
            self.active[condition.code] = condition.text
        else:
            self.active.pop(condition.code, None)


def judged(score, reason):
    frame = Frame(camera="top", sequence=1, captured_utc_s=0.0, captured_mono_s=0.0, image=PICTURE)
    inspection = Inspection(
        id="0" * 26,
        camera="top",
        sequence=1,
        captured_utc_s=0.0,
        verdict=Verdict.PASS if reason is None else Verdict.HOLD,
        label="ok",
        score=score,
        threshold=0.5,
        reason=reason,
        where=None,
        model="1" * 64,
        latency=LATENCY,
    )
    return frame, inspection


@pytest.mark.parametrize(
    ("keys", "watched"),
    [
        ({}, True),
        ({"health": ()}, False),
        ({"source": "synthetic:good"}, False),
        ({"source": "synthetic:good", "drift": {"enabled": True}}, True),
        ({"recipes": {"A": "lid"}}, False),
        ({"recipes": {"A": "lid"}, "drift": {"enabled": True}}, True),
        ({"drift": {"enabled": False}}, False),
        ({"drift": None}, True),
    ],
)
def test_a_camera_is_watched_where_its_pictures_are_checked_or_somebody_says_so(keys, watched):
    configured = camera(**keys)

    assert is_watched(configured, plan(configured)) is watched


def test_it_learns_says_what_drifted_once_and_ends_it(tmp_path):
    station = Station(tmp_path)
    station.see(100)
    assert station.watch.state("top") == "learning 100/250"
    station.see(FRAMES - 100)
    assert station.watch.state("top") == "steady"

    station.see(300, light=-0.5)
    assert list(station.active) == ["drift-light"]
    assert station.watch.state("top") == "light"
    assert station.watch.numbers("top")["fixed_light"] > 1

    station.see(500)
    assert station.active == {}


def test_a_restart_goes_on_with_the_same_charts_and_says_what_stands(tmp_path):
    station = Station(tmp_path)
    station.see(FRAMES)
    station.see(300, light=-0.5)
    station.watch.close()

    again = Station(tmp_path)

    assert list(again.active) == ["drift-light"]
    assert again.watch.numbers("top") == station.watch.numbers("top")
    again.see(500)
    assert again.active == {}


def test_charts_are_kept_now_and_then_not_with_each_frame(tmp_path):
    station = Station(tmp_path)
    station.see(FRAMES)
    written = (tmp_path / "top.json").stat().st_mtime_ns

    station.see(60)
    assert (tmp_path / "top.json").stat().st_mtime_ns == written

    station.clock.advance(KEEP_EVERY_S)
    station.see(1)
    assert (tmp_path / "top.json").stat().st_mtime_ns > written


def test_what_is_damaged_is_learned_again(tmp_path):
    station = Station(tmp_path)
    station.see(FRAMES)
    station.watch.close()
    for name in ("top.json", "top.safetensors"):
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(kept[: len(kept) // 2])
        assert Station(tmp_path).watch.state("top").startswith("learning")
        (tmp_path / name).write_bytes(kept)

    assert Station(tmp_path).watch.state("top") == "steady"


def test_relearning_forgets_all_of_it_also_on_the_disk(tmp_path):
    station = Station(tmp_path)
    station.see(FRAMES)
    station.see(300, light=-0.5)

    station.watch.relearn("top")

    assert station.active == {}
    assert list(tmp_path.iterdir()) == []
    assert station.watch.state("top") == "learning 0/250"
    station.see(FRAMES + 300, light=-0.5)
    assert station.watch.state("top") == "steady"


def test_a_relearning_that_cannot_be_made_durable_changes_nothing(tmp_path, monkeypatch):
    station = Station(tmp_path)
    station.see(FRAMES)

    def refuse(path):
        raise StorageReadOnlyError(f"{path}: read-only")

    monkeypatch.setattr("edge_agent.processes.drift_files.remove_file", refuse)
    with pytest.raises(StorageReadOnlyError):
        station.watch.relearn("top")

    assert station.watch.state("top") == "steady"


@pytest.mark.parametrize("change", [{"digest": "2" * 64}, {"digest": "1" * 64, "threshold": 0.9}])
def test_another_model_or_threshold_is_no_drift_of_verdicts(tmp_path, change):
    station = Station(tmp_path)
    station.see(FRAMES)
    station.see(200, odds=4.0)
    assert list(station.active) == ["drift-model"]

    station.use(**change)
    station.see(300, odds=4.0)

    assert station.active == {}


def test_parts_that_are_still_being_learned_from_say_nothing_of_the_model(tmp_path):
    station = Station(tmp_path)

    station.see(FRAMES, reason=HoldReason.LEARNING)

    assert set(station.watch.numbers("top")) == {"fixed_light", "light"}


def test_an_absent_model_is_no_trouble(tmp_path):
    station = Station(tmp_path)
    lane = Lane(first=Absent(name="surface"))

    assert station.watch.listening({"top": lane}, {}) == {"top": lane}


def test_a_camera_that_ends_is_told_of_no_more(tmp_path):
    station = Station(tmp_path)
    station.see(FRAMES)
    station.see(300, light=-0.5)

    station.watch.end("top")

    assert station.active == {}
    assert station.watch.state("top") == "off"
    assert (tmp_path / "top.json").exists()
