"""Lanes: which model judges which camera, by whose thresholds, and what survives a rebuild."""

import dataclasses

import numpy as np
import pytest

from edge_agent.config.camera import Camera
from edge_agent.inspect.assessors import GoodOnlyAssessor, HeadAssessor
from edge_agent.inspect.lane import Absent
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.goodonly_files import GoodOnlyFiles
from edge_agent.processes.lanes import LaneBook, Overrides, rules_of, uses_head
from tests.fakes.networks import line_detector, packed
from tests.fakes.tiny_model import tiny_bundle, tiny_pictures


def camera(source="rtsp://10.0.0.12/stream1", **keys):
    return Camera.model_validate({"source": source, **keys})


@pytest.fixture
def load(tmp_path):
    store = ModelStore(tmp_path / "models")

    def load(trained_on="site"):
        digest = store.stage(tiny_bundle(tmp_path / f"bundle-{trained_on}", trained_on=trained_on))
        return store.load(digest, RuntimeOptions())

    load.store = store
    return load


@pytest.fixture
def book(tmp_path):
    return LaneBook(GoodOnlyFiles(tmp_path / "good-only"))


@pytest.mark.parametrize(
    ("mode", "trained_on", "source", "head"),
    [
        ("auto", "site", "rtsp://cam/1", True),
        ("auto", "synthetic-line", "rtsp://cam/1", False),
        ("auto", "synthetic-line", "synthetic:lyon", True),
        ("trained", "synthetic-line", "rtsp://cam/1", True),
        ("good-only", "site", "rtsp://cam/1", False),
    ],
)
def test_a_head_of_the_synthetic_line_judges_real_cameras_only_when_it_is_told_to(load, mode, trained_on, source, head):
    assert uses_head(camera(source, mode=mode), load(trained_on)) is head


def test_thresholds_come_from_the_model_then_the_configuration_then_the_command(load):
    model = load()

    assert rules_of(camera(), model, None).threshold == model.head.threshold
    assert rules_of(camera(threshold=0.8), model, None).threshold == 0.8
    assert rules_of(camera(threshold=0.8), model, 0.3).threshold == 0.3


@pytest.mark.parametrize("overridden", [0.0, 0.05, 0.5, 1.0])
def test_whatever_threshold_a_command_sets_the_band_of_doubt_stays_below_it(load, overridden):
    rules = rules_of(camera(threshold=0.9, hold_below=0.6), load(), overridden)

    assert rules.hold_below <= rules.threshold == overridden


def test_a_camera_whose_model_is_missing_has_a_lane_that_holds(book):
    lane = book.build({"press-3": camera()}, {}, Overrides())["press-3"]

    assert (lane.first, lane.digest) == (Absent(name="surface"), None)
    assert book.mode("press-3") == "no model"


def test_a_camera_that_changes_to_a_model_that_is_not_loaded_yet_is_judged_by_the_present_one_meanwhile(load, book):
    model = load()
    before = book.build({"press-3": camera()}, {"surface": model}, Overrides())["press-3"]

    during = book.build({"press-3": camera(model="other")}, {"surface": model}, Overrides())["press-3"]

    assert during.first == before.first


def test_learning_goes_on_undisturbed_when_lanes_are_built_anew_or_only_the_head_changes(load, book):
    model = load("synthetic-line")
    cameras = {"press-3": camera(good_only_parts=10)}
    first = book.build(cameras, {"surface": model}, Overrides())["press-3"]
    for picture in tiny_pictures(4):
        first.first.assessor.assess(model.encoder.encode(picture))

    other = load.store.load(load.store.with_head(model.digest, model.head, "2"), RuntimeOptions())
    other = dataclasses.replace(other, manifest=dataclasses.replace(other.manifest, trained_on="synthetic-line"))
    again = book.build(cameras, {"surface": other}, Overrides(thresholds={"press-3": 0.7}))["press-3"]

    assert again.first.assessor is first.first.assessor
    assert book.mode("press-3") == "good-only 4/10"
    assert again.first.rules.threshold == 0.7


def test_what_was_learned_good_only_is_there_after_a_restart(load, tmp_path):
    model = load("synthetic-line")
    cameras = {"press-3": camera(good_only_parts=10)}

    def start():
        book = LaneBook(GoodOnlyFiles(tmp_path / "good-only"))
        return book, book.build(cameras, {"surface": model}, Overrides())["press-3"].first.assessor

    book, assessor = start()
    assert isinstance(assessor, GoodOnlyAssessor)
    pictures = tiny_pictures(11)
    for picture in pictures[:10]:
        assessor.assess(model.encoder.encode(picture))
    before = assessor.assess(model.encoder.encode(pictures[10]))
    again_book, again = start()

    assert book.mode("press-3") == again_book.mode("press-3") == "good-only"
    assert again.assess(model.encoder.encode(pictures[10])).score == before.score


def test_a_damaged_good_only_file_means_learning_again_not_a_crash(load, tmp_path):
    (tmp_path / "good-only").mkdir()
    (tmp_path / "good-only" / "press-3.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    book = LaneBook(GoodOnlyFiles(tmp_path / "good-only"))

    book.build({"press-3": camera(good_only_parts=10)}, {"surface": load("synthetic-line")}, Overrides())

    assert book.mode("press-3") == "good-only 0/10"


def test_a_part_below_the_models_band_is_still_asked_where_when_the_camera_is_stricter(load, book):
    model = load()
    lane = book.build({"press-3": camera(threshold=0.0, hold_below=0.0)}, {"surface": model}, Overrides())["press-3"]
    assert isinstance(lane.first.assessor, HeadAssessor)

    found = [lane.first.assessor.assess(model.encoder.encode(picture)).heat for picture in tiny_pictures(6)]

    assert all(isinstance(heat, np.ndarray) for heat in found)


def test_overrides_survive_a_restart_and_damage_is_no_crash(tmp_path):
    file = tmp_path / "overrides.json"
    overrides = Overrides(paused=frozenset({"press-4"})).with_threshold("press-3", 0.7, camera(threshold=0.5))

    overrides.write(file)
    assert Overrides.read(file) == overrides
    file.write_bytes(b'{"thresholds": []')
    assert Overrides.read(file) == Overrides()


def test_editing_the_threshold_in_the_configuration_ends_the_one_a_command_set_also_while_stopped(tmp_path):
    file = tmp_path / "overrides.json"
    Overrides().with_threshold("press-3", 0.7, camera(threshold=0.5)).write(file)

    same, edited = {"press-3": camera(threshold=0.5)}, {"press-3": camera(threshold=0.6)}

    assert Overrides.read(file).settled(same).thresholds == {"press-3": 0.7}
    assert Overrides.read(file).settled(edited).thresholds == {}
    assert Overrides.read(file).settled({}).thresholds == {}


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The line detector of the tests as two models, `lines` and `screws`, each loaded once."""
    folder = tmp_path_factory.mktemp("networks")
    store = ModelStore(folder / "models")

    def load(name, **keys):
        return store.load(store.stage(packed(folder / name, line_detector(), name=name, **keys)), RuntimeOptions())

    return {"lines": load("lines"), "screws": load("screws", threshold=0.9, hold_below=0.1)}


def seats(lane):
    return [(seat.name, seat.rules.threshold) for seat in (lane.first, *lane.others, *lane.recipes.values())]


def test_a_network_of_ones_own_judges_by_its_own_thresholds_whatever_the_mode(networks, book):
    lane = book.build({"press-3": camera(model="lines", mode="good-only")}, networks, Overrides())["press-3"]

    assert seats(lane) == [("lines", 0.6)]
    assert book.mode("press-3") == "detector"


def test_the_cameras_thresholds_are_for_its_first_model_and_further_models_keep_their_own(load, networks, book):
    models = {**networks, "surface": load()}
    cameras = {"press-3": camera(threshold=0.8, models=("lines",), recipes={"A12": "screws"}, n_of_m=(2, 3))}

    lane = book.build(cameras, models, Overrides())["press-3"]
    overridden = book.build(cameras, models, Overrides(thresholds={"press-3": 0.3}))["press-3"]

    assert seats(lane) == [("surface", 0.8), ("lines", 0.6), ("screws", 0.9)]
    assert seats(overridden) == [("surface", 0.3), ("lines", 0.6), ("screws", 0.9)]
    assert {seat.rules.looks for seat in (lane.first, *lane.others)} == {3}


def test_several_cameras_on_one_model_share_one_session(networks, book):
    lanes = book.build({name: camera(model="lines") for name in ("left", "right")}, networks, Overrides())

    assert lanes["left"].first.look.__self__ is lanes["right"].first.look.__self__


def test_a_further_model_that_is_not_loaded_yet_has_an_empty_seat_and_keeps_the_one_it_had(networks, book):
    cameras = {"press-3": camera(model="lines", models=("screws",))}
    only_lines = {"lines": networks["lines"]}

    assert book.build(cameras, only_lines, Overrides())["press-3"].others == (Absent(name="screws"),)
    book.build(cameras, networks, Overrides())
    assert book.build(cameras, only_lines, Overrides())["press-3"].others[0].digest == networks["screws"].digest


def test_two_good_only_models_on_one_camera_learn_into_two_files(load, tmp_path):
    first = load("synthetic-line")
    other = dataclasses.replace(first, manifest=dataclasses.replace(first.manifest, name="seal"))
    book = LaneBook(GoodOnlyFiles(tmp_path / "good-only"))
    cameras = {"press-3": camera(good_only_parts=10, models=("seal",))}

    lane = book.build(cameras, {"surface": first, "seal": other}, Overrides())["press-3"]
    for picture in tiny_pictures(10):
        for seat in (lane.first, *lane.others):
            seat.assessor.assess(seat.look(picture))

    assert sorted(path.name for path in (tmp_path / "good-only").glob("*.safetensors")) == [
        "press-3.safetensors",
        "press-3.seal.safetensors",
    ]
