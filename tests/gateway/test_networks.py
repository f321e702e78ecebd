"""Networks of your own beside the encoder, in a running gateway: several on a camera, one chosen by recipe, one that
breaks on what it sees.
"""

import json

import pytest

from edge_agent.models import bundle
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.sync.messages import alarm_id
from tests.fakes.networks import line_detector, packed
from tests.gateway.witness import without_gaps
from tests.waiting import until


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Bundles by name: one that finds the line, one with other thresholds, one that fails where there is a line."""
    folder = tmp_path_factory.mktemp("detectors")
    return {
        "lines": packed(folder / "lines", line_detector(), name="lines"),
        "blind": packed(folder / "blind", line_detector(), name="blind", good=["line"]),
        "fragile": packed(folder / "fragile", line_detector(fragile=True), name="fragile"),
    }


@pytest.fixture(scope="module")
def models(bundles, detectors, tmp_path_factory):
    """A store with the encoder of the other tests and the detectors, each active under its name."""
    store = ModelStore(tmp_path_factory.mktemp("store") / "models")
    for directory in (bundles[0], *detectors.values()):
        digest = store.stage(directory)
        store.activate(store.manifest(digest).name, digest, RuntimeOptions())
    return store.root


def verdicts(parts):
    return {(part["verdict"], part["label"]) for part in parts.values()}


def test_an_encoder_and_a_detector_judge_one_camera_and_each_part_has_one_inspection_with_both_findings(
    gateway_with, line, witness
):
    gateway = gateway_with({"top": {**line, "models": ["lines"]}}).start()

    until(lambda: len(witness.parts("top")) >= 6)

    parts = witness.parts("top")
    assert without_gaps(parts)
    assert {part["verdict"] for part in parts.values()} == {"PASS", "FAIL"}
    for part in parts.values():
        surface, lines = part["findings"]
        assert (surface["name"], lines["name"]) == ("surface", "lines")
        assert surface["verdict"] == lines["verdict"] == part["verdict"]
        assert {found["label"] for found in lines["detections"]} == ({"line"} if part["verdict"] == "FAIL" else set())
        assert part["model"] == surface["model"] != lines["model"]
    box = next(part for part in parts.values() if part["verdict"] == "FAIL")["findings"][1]["where"]
    assert (box["x"], box["width"]) == (0.0, 1.0)
    states = {model["name"]: model["state"] for model in witness.latest("model/is")["models"]}
    assert states == {"lines": "active", "surface": "active"}
    assert gateway.camera("top")["mode"] == "head"


def test_the_recipe_of_a_trigger_chooses_the_model_and_an_unknown_one_is_a_hold(gateway_with, ground, line, witness):
    camera = {**line, "trigger": "mqtt", "recipes": {"with-line": "blind", "plain": "lines"}}
    gateway_with({"top": camera}).start()
    until(lambda: witness.latest("sum/top"))

    for number, recipe in enumerate(("with-line", "with-line", "plain", "plain", "unheard-of", None)):
        witness.command(
            "trigger", f"t-{number}", camera="top", part=f"p-{number}", **({"recipe": recipe} if recipe else {})
        )
        until(lambda number=number: f"p-{number}" in {part["part"] for part in witness.parts("top").values()})

    said = {part["part"]: part for part in witness.parts("top").values()}
    assert {said["p-0"]["verdict"], said["p-1"]["verdict"]} == {"PASS"}  # a line is no defect of this recipe
    assert {said["p-2"]["verdict"], said["p-3"]["verdict"]} == {"PASS", "FAIL"}
    assert (said["p-4"]["verdict"], said["p-4"]["reason"], said["p-4"]["recipe"]) == ("HOLD", "recipe", "unheard-of")
    assert len({said[f"p-{number}"]["model"] for number in (0, 2, 5)}) == 3


def test_a_detector_whose_outputs_disagree_with_its_manifest_is_refused_and_the_gateway_does_not_notice(
    gateway_with, line, detectors, witness, tmp_path
):
    gateway = gateway_with({"top": {**line, "model": "lines"}}).start()
    until(lambda: witness.parts("top"))
    folder = tmp_path / "wrong"
    folder.mkdir()
    for path in detectors["lines"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / bundle.MANIFEST_NAME).read_bytes())
    manifest["terms"]["form"] = "rows"
    (folder / bundle.MANIFEST_NAME).write_bytes(bundle.canonical(manifest))

    said = gateway.cli("models", "import", str(folder), "--activate")

    assert said.returncode == 1
    assert "its manifest says a detector of 1 classes: detections [any, 6]" in said.stderr
    assert said.stderr.count("\n") == 1
    before = len(witness.parts("top"))
    until(lambda: len(witness.parts("top")) > before + 2)
    assert len(witness.judged_by("top")) == 1
    assert witness.alarm("model-failed.lines") is None


def test_a_detector_that_breaks_on_a_picture_holds_that_part_tells_a_person_and_the_other_camera_goes_on(
    gateway_with, line, witness
):
    gateway_with({"top": {**line, "model": "fragile"}, "side": line}).start()

    raised = f"alarm/{alarm_id('model-failed', 'camera top')}"
    alarm = until(lambda: next((said for said in witness.said(raised) if said and said["state"] == "active"), None))

    assert alarm["subject"] == "camera top"
    assert "fragile: CPUExecutionProvider failed while running the model" in alarm["text"]
    until(lambda: len(witness.parts("top")) >= 6 and len(witness.parts("side")) >= 6)
    top, side = witness.parts("top"), witness.parts("side")
    assert verdicts(top) == {("PASS", "ok"), ("HOLD", None)}
    assert {part["reason"] for part in top.values()} == {None, "model"}
    assert {part["verdict"] for part in side.values()} == {"PASS", "FAIL"}
    assert without_gaps(top)
    assert without_gaps(side)


def test_a_broken_detector_beside_an_encoder_never_lets_a_part_pass_and_lets_a_bad_one_fail(
    gateway_with, line, witness
):
    gateway_with({"top": {**line, "models": ["fragile"]}}).start()

    until(lambda: len(witness.parts("top")) >= 6)

    # The picture with the line: the encoder fails it, the detector breaks. The one without: both pass it.
    assert verdicts(witness.parts("top")) == {("PASS", "ok"), ("FAIL", "scratch")}
    failed = next(part for part in witness.parts("top").values() if part["verdict"] == "FAIL")
    assert [(found["verdict"], found["reason"]) for found in failed["findings"]] == [("FAIL", None), ("HOLD", "model")]


def test_a_model_is_added_to_a_camera_and_taken_away_again_while_parts_flow(gateway_with, line, witness):
    gateway = gateway_with({"top": dict(line)}).start()
    until(lambda: witness.parts("top"))

    gateway.settings["cameras"]["top"]["models"] = ["lines"]
    gateway.reload()
    until(lambda: witness.last("top")["findings"] and witness.last("top")["findings"][1]["reason"] is None)
    gateway.settings["cameras"]["top"]["models"] = []
    gateway.reload()
    until(lambda: not witness.last("top")["findings"])

    parts = witness.parts("top")
    assert without_gaps(parts)
    # While it is being loaded no part passes by the other alone.
    waiting = [part for part in parts.values() if part["findings"] and part["findings"][1]["reason"] == "model"]
    assert "PASS" not in {part["verdict"] for part in waiting}
