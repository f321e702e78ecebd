"""`edge-agent inspect`: files judged as the daemon judges frames."""

import json

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.networks import line_detector, packed
from tests.fakes.tiny_model import tiny_bundle


@pytest.fixture
def state(tmp_path):
    store = ModelStore(tmp_path / "state" / "models")
    store.activate("surface", store.stage(tiny_bundle(tmp_path / "bundle")), RuntimeOptions())
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_picture_of_a_folder_gets_exactly_one_verdict(state, folder, capsys):
    code = main(["inspect", str(folder), "--state", str(state), "--output", "json"])

    found = lines(capsys)
    assert code == 0
    assert [line["path"] for line in found] == [str(folder / f"{number}.png") for number in range(3)]
    assert {line["verdict"] for line in found} <= {"PASS", "FAIL", "HOLD"}
    assert all((line["verdict"] == "HOLD") == (line["reason"] is not None) for line in found)


def test_a_picture_that_cannot_be_read_says_why_the_others_are_judged_and_the_exit_code_tells(state, folder, capsys):
    (folder / "1.png").write_bytes(b"no picture")

    code = main(["inspect", str(folder), "--state", str(state), "--output", "json"])

    found = lines(capsys)
    assert code == 1
    assert "verdict" not in found[1]
    assert "expected JPEG, PNG" in found[1]["fault"]
    assert "verdict" in found[0]
    assert "verdict" in found[2]


def test_save_writes_a_picture_of_each_verdict(state, folder, tmp_path):
    main(["inspect", str(folder), "--state", str(state), "--save", str(tmp_path / "drawn")])

    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0.png", "1.png", "2.png"]
    assert cv2.imread(str(tmp_path / "drawn" / "0.png")).shape == (360, 480, 3)  # room to write


def test_a_camera_judges_its_own_region_with_its_own_threshold(state, folder, tmp_path, capsys):
    image = cv2.imread(str(folder / "0.png"))
    cv2.imwrite(str(folder / "corner.png"), image[30:, 40:])
    config = tmp_path / "agent.yaml"
    config.write_text(
        "version: 1\nsite: {enterprise: acme, plant: lyon, gateway: gw-07}\n"
        "cameras:\n"
        "  corner: {source: 'folder:/x', mode: trained, roi: [0.5, 0.5, 0.5, 0.5], threshold: 0.0}\n"
        f"mqtt: {{url: 'mqtt://localhost'}}\nstorage: {{state_dir: '{state}', runtime_dir: '{tmp_path}'}}\n"
    )

    main(["inspect", str(folder / "0.png"), "--config", str(config), "--camera", "corner", "--output", "json"])
    seen = lines(capsys)[0]
    main(["inspect", str(folder / "corner.png"), "--state", str(state), "--output", "json"])
    cut = lines(capsys)[0]

    assert seen["score"] == cut["score"]
    assert (seen["threshold"], seen["verdict"]) == (0.0, "FAIL")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["nowhere.png", "--state", "{state}"], 1, "no such file or folder"),
        (["{folder}", "--state", "{state}", "--model", "other"], 1, "no bundle is active for model other"),
        (["{folder}", "--state", "{folder}"], 1, "no models in"),
        (["{folder}", "--state", "{state}", "--camera", "x"], 78, "--camera needs a configuration"),
        (["{folder}", "--config", "missing.yaml"], 78, "no such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(state, folder, capsys, words, code, text):
    found = main(["inspect", *(word.format(state=state, folder=folder) for word in words)])

    said = capsys.readouterr().err
    assert found == code
    assert text in said
    assert "Traceback" not in said


def test_a_camera_with_a_letterboxed_detector_and_recipes_judges_files_as_it_judges_frames(state, tmp_path, capsys):
    store = ModelStore(state / "models")
    letterbox = packed(tmp_path / "lines", line_detector(), name="lines", input={"letterbox": True})
    store.activate("lines", store.stage(letterbox), RuntimeOptions())
    image = np.full((60, 120, 3), 100, np.uint8)
    image[38:46] = 250  # a line across the picture, below its middle
    cv2.imwrite(str(tmp_path / "part.png"), image)
    config = tmp_path / "agent.yaml"
    config.write_text(
        "version: 1\nsite: {enterprise: acme, plant: lyon, gateway: gw-07}\n"
        "cameras:\n"
        "  top: {source: 'folder:/x', mode: trained, models: [lines], recipes: {only-lines: lines}}\n"
        f"mqtt: {{url: 'mqtt://localhost'}}\nstorage: {{state_dir: '{state}', runtime_dir: '{tmp_path}'}}\n"
    )

    def judged(*words):
        part = str(tmp_path / "part.png")
        main(["inspect", part, "--config", str(config), "--camera", "top", "--output", "json", *words])
        return lines(capsys)[0]

    both, one, unknown = judged(), judged("--recipe", "only-lines"), judged("--recipe", "other")

    assert [found["name"] for found in both["findings"]] == ["surface", "lines"]
    assert both["verdict"] == "FAIL"
    assert (one["findings"], one["label"], unknown["reason"]) == ([], "line", "recipe")
    box = one["detections"][0]["where"]
    # Of the picture, not of the canvas, of which the picture takes the middle half.
    assert (box["x"], box["width"]) == (0.0, 1.0)
    assert box["y"] <= 38 / 60 + 0.15
    assert box["y"] + box["height"] >= 46 / 60 - 0.15
    assert 0.1 < box["height"] < 0.5
