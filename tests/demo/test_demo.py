"""The demo as a user runs it: real broker, real gateway, verdicts heard over MQTT; with a tiny model, so that it is quick."""

import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.tiny_model import tiny_bundle

pytestmark = pytest.mark.broker


@pytest.fixture
def work(tmp_path):
    """A work folder that has its default model already."""
    store = ModelStore(tmp_path / "work" / "state" / "models")
    digest = store.stage(tiny_bundle(tmp_path / "bundle", trained_on="synthetic-line"))
    store.activate("surface", digest, RuntimeOptions())
    return tmp_path / "work"


def demo(work, *words):
    command = [sys.executable, "-m", "edge_agent", "demo", "--work", str(work), "--plain", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "COLUMNS": "120"}
    )


def row(done, name):
    """The value of one row of the summary."""
    found = re.search(rf"^\s*{re.escape(name)}\s\s+(.+?)\s*$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout + done.stderr
    return found[1]


def pictures(folder, brightness, count, seed):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        image = rng.normal(brightness, 12, (48, 48, 3)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), image)


def test_once_stops_after_n_frames_with_exit_0_and_a_summary_that_adds_up(work):
    done = demo(work, "--once", "40", "--cameras", "2")

    assert done.returncode == 0, done.stderr
    counts = [int(row(done, name)) for name in ("PASS", "FAIL", "HOLD")]
    assert sum(counts) == int(row(done, "verdicts heard over MQTT")) == 40


def test_it_works_twice_in_the_same_folder_and_with_the_embedded_broker(work):
    first = demo(work, "--once", "10")
    second = demo(work, "--once", "10", "--embedded-broker")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "iotcore" in second.stdout
    assert row(second, "verdicts heard over MQTT") == "10"


def test_labelled_folders_give_a_head_from_one_part_and_a_score_on_the_other(work, tmp_path):
    pictures(tmp_path / "mine" / "ok", 90, 30, seed=1)
    pictures(tmp_path / "mine" / "dark", 30, 20, seed=2)

    done = demo(work, "--images", str(tmp_path / "mine"))

    assert done.returncode == 0, done.stderr
    judged = int(row(done, "judged").split()[0])
    learned = sum(int(number) for number in re.findall(r"\d+", row(done, "learned from")))
    assert judged + learned == 50
    assert int(row(done, "verdicts heard over MQTT")) == judged
    assert float(row(done, "macro-F1")) == 1.0
    assert row(done, "good parts failed") == "0.0%"
    assert (work / "flagged" / "sheet.png").is_file()


def test_a_manifest_with_splits_is_followed(work, tmp_path):
    mine = tmp_path / "mine"
    rows = ["path,label,split"]
    for label, brightness, seed in (("ok", 90, 1), ("dark", 30, 2)):
        pictures(mine / label, brightness, 12, seed)
        for number in range(12):
            split = "train" if number < 6 else "val" if number < 9 else "test"
            rows.append(f"{label}/{number:03}.png,{label},{split}")
    (mine / "manifest.csv").write_text("\n".join(rows))

    done = demo(work, "--images", str(mine))

    assert done.returncode == 0, done.stderr
    assert row(done, "learned from") == "12 pictures, 6 more to calibrate"
    assert row(done, "judged") == "6 pictures, 2 classes"


def test_pictures_without_labels_start_good_only_and_what_is_unlike_the_first_is_flagged(work, tmp_path):
    pictures(tmp_path / "mine", 90, 36, seed=1)
    pictures(tmp_path / "odd", 20, 4, seed=2)
    for number, file in enumerate(sorted((tmp_path / "odd").iterdir())):
        file.rename(tmp_path / "mine" / f"z{number}.png")

    done = demo(work, "--images", str(tmp_path / "mine"))

    assert done.returncode == 0, done.stderr
    assert row(done, "taken as good") == "the first 13 parts (HOLD, learning)"
    assert int(row(done, "HOLD")) >= 13
    assert int(row(done, "FAIL")) >= 4
    assert row(done, "verdicts heard over MQTT") == "40"


def test_a_picture_that_cannot_be_read_is_a_hold_and_the_others_are_judged(work, tmp_path):
    pictures(tmp_path / "mine", 90, 20, seed=1)
    (tmp_path / "mine" / "010.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")

    done = demo(work, "--images", str(tmp_path / "mine"))

    assert done.returncode == 0, done.stderr
    assert row(done, "verdicts heard over MQTT") == "20"


def test_a_folder_that_cannot_be_used_is_said_in_one_line_without_a_traceback(work, tmp_path):
    (tmp_path / "empty").mkdir()

    done = demo(work, "--images", str(tmp_path / "empty"))

    assert done.returncode != 0
    assert "no pictures found" in done.stderr
    assert "Traceback" not in done.stderr
