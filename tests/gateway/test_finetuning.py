"""Labels become a trained encoder by real processes: on request and at night, resumed, cancelled, within its budgets."""

import datetime
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from edge_agent.models.build.bundle import Plan, build
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.finetuning.news import read_news
from edge_agent.processes.finetuning.order import Folder
from tests.gateway.conftest import picture, save
from tests.waiting import until

pytestmark = pytest.mark.train
PX = (32, 32)
CAMERA = {"top": {"source": "synthetic:mixed", "mode": "trained", "health": []}}
EVIDENCE = {"min_free_bytes": 0, "sealed_share": 0.1}
# Whatever else this machine does while tests run.
BUDGETS = {"pause_c": 110, "available_bytes": 0, "cpu_minutes": 60, "frames_share": 0}
KEYS = {"enabled": True, "window": None, "min_labels": 8, "min_new_labels": 1, "epochs": 1, "budgets": BUDGETS}
MANY_EPOCHS = 400


@pytest.fixture(scope="session")
def trainable(tmp_path_factory):
    """A store whose active bundle has a float encoder of ours, of 32 px."""
    folder = tmp_path_factory.mktemp("trainable")
    plan = Plan(name="surface", input_px=PX, parts=24, calibration=4, flavours=("fp32", "u8s8"))
    build(folder / "bundle", plan, 1.79e9)
    store = ModelStore(folder / "models")
    store.activate("surface", store.stage(folder / "bundle"), RuntimeOptions())
    return store.root


def spotted(seed):
    pixels = picture(seed)
    pixels[8:24, 8:24] = 5
    return pixels


@pytest.fixture
def labelled(gateway_with, ground, trainable):
    """Makes a gateway with 24 labelled parts; nothing of it runs yet."""

    def make(**keys):
        gateway = gateway_with(CAMERA, models=trainable, evidence=EVIDENCE, learning={"fine_tuning": {**KEYS, **keys}})
        for number in range(12):
            save(ground / "labelled" / "ok" / f"{number}.png", picture(1000 + number))
            save(ground / "labelled" / "spot" / f"{number}.png", spotted(2000 + number))
        done = gateway.cli("evidence", "import", ground / "labelled", "--by", "ana", "--task", "surface")
        assert done.returncode == 0, done.stdout + done.stderr
        return gateway

    return make


def news(gateway):
    found = read_news(gateway.runtime)
    return found.models[0] if found and found.models else None


def folder(gateway):
    return Folder(gateway.state, "surface")


def staged(gateway):
    return {model.digest: model for model in ModelStore(gateway.state / "models").list()}


def training(gateway):
    found = news(gateway)
    return found if found and found.state == "training" and found.step > 1 else None


def child_of(gateway):
    """The pid of the child that trains for this gateway."""
    words = str(folder(gateway).job).encode()

    def find():
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and words in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
        return None

    return until(find, 30)


def test_labels_become_a_candidate_with_an_encoder_of_its_own_that_the_gate_rules_on(labelled):
    gateway = labelled()
    before = set(staged(gateway))

    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0, gateway.log

    assert news(gateway).state == "done", gateway.log
    digest = folder(gateway).handed()
    candidate = staged(gateway)[digest]
    base = next(model for known, model in staged(gateway).items() if known in before)
    assert digest not in before
    assert candidate.manifest.encoders.keys() == {"fp32", "u8s8"}
    assert all(candidate.manifest.encoder(f).sha256 != base.manifest.encoder(f).sha256 for f in ("fp32", "u8s8"))
    assert (candidate.manifest.trained_on, candidate.manifest.classes) == ("site", ("ok", "spot"))
    assert not folder(gateway).job.exists()
    assert folder(gateway).order() is None

    gateway.launch("learn")
    assert gateway.wait("learn") == 0
    assert f"fine-tuned={digest[:12]} outcome=" in gateway.log
    assert folder(gateway).handed() is None
    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0
    assert "0 new labels since the last run" in news(gateway).reason
