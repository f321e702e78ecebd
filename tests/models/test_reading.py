"""What a network's numbers mean: the score, the label, where, and that nothing passes by accident."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.models.bundle import BundleFile, Tolerance
from edge_agent.models.network_manifest import (
    CANDIDATES,
    ROWS,
    AnomalyTerms,
    ClassifierTerms,
    DetectorTerms,
    NetworkManifest,
)
from edge_agent.models.reading import assess, calibrated
from edge_agent.records import Region

FILE = BundleFile(name="network-fp32.onnx", size=1, sha256="0" * 64)
DETECTOR = DetectorTerms(form=ROWS, score_min=0.25, iou_max=0.5, required={})
ANOMALY = AnomalyTerms(score_good=2.0, score_bad=6.0, curve="linear", map_quiet=2.0)


def manifest(kind, terms, classes=("ok", "scratch", "dent"), good=("ok",), **fields):
    return NetworkManifest(
        name="mine",
        version="1",
        created="2026-01-02T03:04:05.000Z",
        kind=kind,
        input_px=(32, 32),
        letterbox=False,
        networks={"fp32": FILE},
        classes=classes,
        good_classes=good,
        **{"threshold": 0.6, "hold_below": 0.4, **fields},
        terms=terms,
        golden=dataclasses.replace(FILE, name="golden.safetensors"),
        tolerances={"fp32": Tolerance(vector=1e-3, score=0.01)},
        source_sha256="0" * 64,
        packages={},
        licences=(),
    )


def array(*values):
    return np.array(values, np.float32)


def rows(*values):
    return {"detections": np.array(values, np.float32).reshape(-1, 6)}


def detector(required=None, good=("screw",), classes=("screw", "dent"), **terms):
    terms = dataclasses.replace(DETECTOR, required=required or {}, **terms)
    return manifest("detector", terms, classes, good)


def test_a_classifiers_score_is_what_is_left_of_the_good_classes():
    found = assess(manifest("classifier", ClassifierTerms()), {"scores": array(0.2, 0.7, 0.1)})

    assert (found.label, found.score) == ("scratch", pytest.approx(0.8))


@pytest.mark.parametrize("scores", [(3.0, -1.0, 0.2), (0.5, 0.2, 0.1), (0.2, math.nan, 0.1), (math.inf, 0, 0)])
def test_scores_that_are_no_probabilities_give_no_score_and_so_no_pass(scores):
    assert math.isnan(assess(manifest("classifier", ClassifierTerms()), {"scores": array(*scores)}).score)


def test_a_classifier_without_good_classes_fails_everything_and_names_the_kind():
    found = assess(manifest("classifier", ClassifierTerms(), good=()), {"scores": array(0.9, 0.1, 0.0)})

    assert (found.label, found.score) == ("ok", pytest.approx(1.0))


@given(st.sampled_from(["linear", "logistic"]), st.floats(-100, 100), st.floats(-100, 100))
def test_an_anomaly_score_rises_with_the_networks_and_stays_between_0_and_1(curve, one, other):
    terms = dataclasses.replace(ANOMALY, curve=curve)
    low, high = (calibrated(score, terms) for score in sorted((one, other)))

    assert 0.0 <= low <= high <= 1.0


@pytest.mark.parametrize(("curve", "ends"), [("linear", (0.0, 1.0)), ("logistic", (0.05, 0.95))])
def test_good_and_bad_score_lie_where_the_manifest_says(curve, ends):
    terms = dataclasses.replace(ANOMALY, curve=curve)

    assert (calibrated(2.0, terms), calibrated(6.0, terms)) == pytest.approx(ends)


def test_an_anomaly_map_shows_only_what_is_above_the_quiet_value():
    heat = np.array([[1.0, 2.0], [2.5, 6.0]], np.float32)

    found = assess(manifest("anomaly", ANOMALY, ("ok", "anomaly"), ("ok",)), {"score": array(6.0), "map": heat})

    assert (found.label, found.score) == ("anomaly", 1.0)
    np.testing.assert_array_equal(found.heat, [[0.0, 0.0], [0.5, 4.0]])


@pytest.mark.parametrize("spoiled", ["score", "map"])
def test_an_anomaly_model_that_gives_nan_gives_no_score(spoiled):
    answer = {"score": array(1.0), "map": np.zeros((2, 2), np.float32)}
    answer[spoiled] = np.full_like(answer[spoiled], np.nan)

    assert math.isnan(assess(manifest("anomaly", ANOMALY, ("ok", "anomaly"), ("ok",)), answer).score)


def test_the_surest_defect_is_the_score_and_says_where_and_good_things_are_told_too():
    found = assess(
        detector(),
        rows(
            (0.1, 0.1, 0.3, 0.3, 0.99, 0),  # a screw
            (0.5, 0.5, 0.7, 0.9, 0.60, 1),
            (0.2, 0.5, 0.4, 0.6, 0.80, 1),
            (0.0, 0.0, 0.1, 0.1, 0.20, 1),  # below score_min
        ),
    )

    assert (found.label, found.score) == ("dent", pytest.approx(0.8))
    assert dataclasses.astuple(found.where) == pytest.approx((0.2, 0.5, 0.2, 0.1))
    assert [(each.label, each.defect) for each in found.detections] == [
        ("screw", False),
        ("dent", True),
        ("dent", True),
    ]


@pytest.mark.parametrize("good", [("screw",), ("screw", "dent")])
def test_where_nothing_is_found_the_part_is_ok(good):
    found = assess(detector(good=good), rows())

    assert (found.label, found.score, found.detections, found.where) == ("ok", 0.0, (), None)


@pytest.mark.parametrize(
    ("scores", "label", "score"),
    [
        ((0.9, 0.95, 0.9), "ok", 0.1),  # the third is there with 0.9
        ((0.9, 0.95, 0.45), "missing screw", 0.55),
        ((0.9, 0.95), "missing screw", 1.0),
        ((), "missing screw", 1.0),
        ((0.9,) * 7, "ok", 0.1),
    ],
)
def test_a_required_thing_counts_by_how_sure_the_last_one_needed_is(scores, label, score):
    seen = [(0.1 * n, 0.1, 0.1 * n + 0.05, 0.2, score, 0) for n, score in enumerate(scores)]

    found = assess(detector({"screw": 3}), rows(*seen))

    assert (found.label, found.score, found.where) == (label, pytest.approx(score), None)


def test_a_sure_defect_outweighs_a_thing_that_is_perhaps_missing():
    found = assess(detector({"screw": 1}), rows((0, 0, 1, 1, 0.5, 0), (0, 0, 0.5, 0.5, 0.9, 1)))

    assert (found.label, found.score) == ("dent", pytest.approx(0.9))


def test_candidates_are_suppressed_by_class_and_the_box_is_cut_to_the_picture():
    answer = {
        "boxes": np.array([[-0.2, 0.1, 0.3, 0.5], [-0.19, 0.1, 0.3, 0.5], [0.6, 0.6, 0.9, 1.4]], np.float32),
        "scores": np.array([[0.1, 0.8], [0.0, 0.9], [0.7, 0.2]], np.float32),
    }

    found = assess(detector(form=CANDIDATES), answer)

    assert [(each.label, round(each.score, 3)) for each in found.detections] == [("dent", 0.9), ("screw", 0.7)]
    assert found.detections[0].where == Region(
        x=0.0, y=pytest.approx(0.1), width=pytest.approx(0.3), height=pytest.approx(0.4)
    )
    assert found.detections[1].where.y + found.detections[1].where.height == pytest.approx(1.0)


@given(
    st.lists(st.tuples(*[st.floats(-2, 2, width=32)] * 4, st.floats(0, 1.5, width=32), st.integers(0, 1)), max_size=20)
)
def test_whatever_rows_come_every_box_lies_in_the_picture_and_every_score_between_0_and_1(values):
    found = assess(detector({"screw": 2}), rows(*values))

    assert 0.0 <= found.score <= 1.0
    for each in found.detections:
        box = each.where
        assert 0.0 <= each.score <= 1.0
        assert box.x >= 0.0
        assert box.y >= 0.0
        assert box.width >= 0.0
        assert box.height >= 0.0
        assert max(box.x + box.width, box.y + box.height) <= 1.0 + 1e-6


def test_a_detector_that_gives_nan_gives_no_score():
    assert math.isnan(assess(detector(), rows((0, 0, 1, 1, math.nan, 1))).score)
