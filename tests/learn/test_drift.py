"""What drifted: each cause named on streams that are known, nothing said of what is no drift."""

import math

import numpy as np
import pytest

from edge_agent.learn.drift import Cause, Kind
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
    "light fades": (Cause.LIGHT, {"light": lambda n: -0.3 * n / 1000}),
    "light steps": (Cause.LIGHT, {"light": 0.2}),
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
