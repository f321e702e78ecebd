"""What drifted: each cause named on streams that are known, nothing said of what is no drift."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import CorruptStoreError
from edge_agent.learn.drift import CHANNELS, SIGN_OF, Cause, Kind, Sign, charts_of, explain, followed
from edge_agent.learn.drift_chart import BATCH, MOST, Chart
from edge_agent.learn.drift_file import Kept, arrays_of, from_json, to_json
from edge_agent.learn.drift_measure import Judged
from edge_agent.learn.drift_monitor import Monitor
from edge_agent.records import Verdict

D = 24
FRAMES = 250


class Scene:
    """A camera on which things happen: light in octaves, blur, a move in px, other parts, a model that is off."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.directions = np.random.default_rng(99).standard_normal((3, D))
        self.monitor = Monitor(frames=FRAMES)
        self.digest = "model-1"

    def see(self, *, light=0.0, blur=0.0, move=0.0, parts=0.0, bias=0.0, defect=None):
        rng = self.rng
        bad = rng.random() < 0.05 if defect is None else defect
        readings = {
            "scene_light": 7.0 + light + rng.normal(0, 0.02),
            "light": 6.5 + light + parts * 0.3 + rng.normal(0, 0.1) - 0.8 * bad,
            "burnt": 0.0,
            "fineness": 0.5 - blur - parts * 0.4 + rng.normal(0, 0.1),
            "coarse_fineness": 0.4 - blur / 2 + rng.normal(0, 0.1),
            "detail": -9.0 - blur + rng.normal(0, 0.3),
            "right_px": move + rng.normal(0, 0.1),
            "down_px": rng.normal(0, 0.1),
        }
        vector = rng.standard_normal(D) + np.array([light + move / 9, blur, parts]) @ self.directions * 1.5 + 3 * bad
        odds = rng.normal(-4, 1) + 6 * bad + bias + 0.3 * parts
        score = 1 / (1 + math.exp(-odds))
        verdict = Verdict.FAIL if score >= 0.5 else Verdict.HOLD if score >= 0.3 else Verdict.PASS
        self.monitor.take(Kind.PICTURES, "view", readings)
        self.monitor.take(Kind.FEATURES, "encoder", vector.astype(np.float32))
        self.monitor.take(Kind.VERDICTS, self.digest, Judged(label="ok", score=score, verdict=verdict))
        self.monitor.learn()

    def learn(self):
        for _ in range(FRAMES):
            self.see()
        return self

    def frames_to_finding(self, most=3000, **change):
        for count in range(1, most + 1):
            self.see(**{name: value(count) if callable(value) else value for name, value in change.items()})
            if self.monitor.finding is not None:
                return count
        return None


CHANGES = {
    "light fades": (Cause.LIGHT, {"light": lambda n: -0.4 * n / 1000}),
    "light steps": (Cause.LIGHT, {"light": 0.3}),
    "lens fogs": (Cause.FOCUS, {"blur": lambda n: 0.5 * n / 1000}),
    "camera creeps": (Cause.MOVED, {"move": lambda n: n / 200}),
    "camera is knocked": (Cause.MOVED, {"move": 3.0}),
    "another product": (Cause.PRODUCT, {"parts": 1.0}),
    "the model is off": (Cause.MODEL, {"bias": 2.0}),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_each_cause_is_named(name, seed):
    cause, change = CHANGES[name]
    scene = Scene(seed).learn()

    took = scene.frames_to_finding(**change)

    assert took is not None
    assert scene.monitor.finding.cause is cause


def test_nothing_is_said_while_nothing_changes():
    scene = Scene(5).learn()

    assert scene.frames_to_finding(most=6000) is None


def test_a_run_of_defective_parts_is_no_drift_of_light():
    scene = Scene(6).learn()

    assert scene.frames_to_finding(most=40, defect=True) is None
    assert scene.frames_to_finding(most=500) is None


@pytest.mark.parametrize("fixed", [True, False])
def test_any_signs_together_have_a_cause(fixed):
    own = {Sign.FIXED_LIGHT, Sign.PLACE}
    channels = [channel for some in CHANNELS.values() for channel in some if fixed or channel.sign not in own]
    still, moved = Chart(centre=0.0, spread=1.0, now=0.0), Chart(centre=0.0, spread=1.0, above=MOST, now=3.0)

    assert explain({channel.name: still for channel in channels}) is None
    signs = sorted({channel.sign for channel in channels}, key=lambda sign: sign.value)
    for count in range(1, len(signs) + 1):
        for some in itertools.combinations(signs, count):
            charts = {channel.name: moved if channel.sign in some else still for channel in channels}
            assert explain(charts) in Cause


def test_the_text_says_what_moved_from_where_to_where_since_when_and_what_did_not():
    scene = Scene(7).learn()
    scene.frames_to_finding(light=-0.4)

    text = scene.monitor.finding.text

    assert text.startswith("brightness of what is fixed 127 -> 1")
    assert " over " in text
    assert " pictures" in text
    assert "unchanged: " in text
    assert "place" in text.partition("unchanged: ")[2]


def test_it_ends_when_the_light_is_as_it_was():
    scene = Scene(8).learn()
    scene.frames_to_finding(light=-0.4)

    for _ in range(16 * BATCH):
        scene.see()

    assert scene.monitor.finding is None


def test_another_model_is_learned_anew_and_what_does_not_hang_on_it_is_kept():
    scene = Scene(9).learn()
    charts = set(scene.monitor.charts)
    scene.frames_to_finding(bias=3.0)
    assert scene.monitor.finding.cause is Cause.MODEL

    scene.digest = "model-2"
    scene.see(bias=3.0)

    assert scene.monitor.finding is None
    assert {SIGN_OF[name] for name in charts - set(scene.monitor.charts)} == {Sign.LABELS, Sign.VERDICTS}
    assert scene.frames_to_finding(most=1000, bias=3.0) is None


@pytest.mark.parametrize("batches", [2, 6])
def test_a_restart_goes_on_where_it_was(batches):
    scene, twin = Scene(10).learn(), Scene(10).learn()
    for _ in range(batches * BATCH):
        scene.see(light=-0.4)
        twin.see(light=-0.4)
    kept = Kept(
        known={kind: stream.known for kind, stream in twin.monitor.streams.items()}, finding=twin.monitor.finding
    )

    again = from_json(to_json(kept), arrays_of(kept))
    twin.monitor = Monitor(frames=FRAMES)
    twin.monitor.restore(again.known, again.finding)

    assert twin.monitor.charts == scene.monitor.charts
    assert twin.monitor.finding == scene.monitor.finding
    for _ in range(4 * BATCH):
        scene.see(light=-0.4)
        twin.see(light=-0.4)
    assert twin.monitor.finding == scene.monitor.finding
    assert twin.monitor.finding.cause is Cause.LIGHT


def test_features_of_another_learning_are_not_taken():
    scene = Scene(11).learn()
    kept = Kept(known={kind: stream.known for kind, stream in scene.monitor.streams.items()})
    other = {**arrays_of(kept), "mean": arrays_of(kept)["mean"] + 1}

    for arrays in (None, other):
        found = from_json(to_json(kept), arrays)
        assert set(found.known) == {Kind.PICTURES, Kind.VERDICTS}


@given(st.binary(max_size=300))
def test_any_bytes_are_a_drift_or_refused(content):
    with pytest.raises(CorruptStoreError):
        from_json(content, None)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_drift_with_one_value_changed_is_read_or_refused(data):
    plain = json.loads(KEPT)
    places = [(plain, key) for key in plain] + [(plain["known"], kind) for kind in plain["known"]]
    places += [(one, key) for one in plain["known"].values() for key in one]
    place = data.draw(st.sampled_from(places))
    place[0][place[1]] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.floats(), max_size=3))
    )
    try:
        found = from_json(json.dumps(plain).encode(), None)
    except CorruptStoreError:
        return
    assert all(math.isfinite(chart.centre) for known in found.known.values() for chart in known.charts.values())


def _kept():
    scene = Scene(12).learn()
    return to_json(Kept(known={kind: stream.known for kind, stream in scene.monitor.streams.items()}))


KEPT = _kept()


@given(st.lists(st.floats(), min_size=BATCH, max_size=BATCH))
@settings(max_examples=100)
def test_numbers_that_are_none_never_reach_a_chart(values):
    rng = np.random.default_rng(13)
    charts = charts_of(rng.normal(0, 1, (FRAMES, 9)), Kind.PICTURES)

    with np.errstate(invalid="ignore", over="ignore"):
        after = followed(charts, np.array(values)[:, None].repeat(9, axis=1), Kind.PICTURES)

    assert all(math.isfinite(chart.now) and math.isfinite(chart.strength) for chart in after.values())


def test_readings_and_vectors_that_are_no_numbers_do_no_harm():
    scene = Scene(14).learn()
    for _ in range(4 * BATCH):
        scene.monitor.take(Kind.PICTURES, "view", {"light": math.nan})
        scene.monitor.take(Kind.FEATURES, "encoder", np.full(D, np.nan, np.float32))
        scene.monitor.take(Kind.FEATURES, "encoder", np.zeros(3, np.float32))

    assert scene.monitor.finding is None
    assert scene.frames_to_finding(move=3.0) is not None
