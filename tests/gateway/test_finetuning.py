"""Labels become a trained encoder by real processes: on request and at night, resumed, cancelled, within its budgets."""

import contextlib
import datetime
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
    return until(lambda: next((pid for pid in pids() if words in command_line(pid)), None), 30)


def pids():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


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


def test_a_run_that_was_killed_goes_on_where_it_was_and_a_cancel_ends_it_within_a_second(labelled):
    gateway = labelled(epochs=MANY_EPOCHS)
    gateway.launch("finetune")
    until(lambda: training(gateway), 60)
    child = child_of(gateway)
    gateway.kill("finetune")
    until(lambda: not command_line(child))  # it dies with its parent

    assert news(gateway).state == "waiting"
    assert "interrupted" in news(gateway).reason
    order = folder(gateway).order()
    gateway.launch("finetune")
    until(lambda: training(gateway), 60)
    assert folder(gateway).order().begun_utc_s == order.begun_utc_s
    assert "finetune=resume" in gateway.log

    child = child_of(gateway)
    asked = gateway.cli("finetune", "--cancel", "--by", "ana")
    answered_s = time.monotonic()
    until(lambda: not command_line(child))
    # Within a second, by design; a machine that is busy with other tests gets one more.
    assert time.monotonic() - answered_s < 2.0
    assert asked.returncode == 0
    assert gateway.wait("finetune") == 0
    assert news(gateway).state == "cancelled"
    assert (folder(gateway).order(), folder(gateway).job.exists()) == (None, False)
    assert folder(gateway).handed() is None


def test_started_and_cancelled_over_mqtt_told_on_learn_is_and_labels_are_learned_meanwhile(labelled, witness):
    gateway = labelled(enabled=False, epochs=MANY_EPOCHS, window=closed_window()).start()

    witness.command("finetune", "go", action="start")
    until(lambda: witness.acks("finetune", "go")[-1:] == ["successful"])
    until(lambda: (witness.latest("learn/is") or {"models": [{"state": ""}]})["models"][0]["state"] == "training", 60)
    told = until(lambda: training(gateway), 60)
    assert (told.epochs, told.steps > 0) == (MANY_EPOCHS, True)
    assert "fine-tuning surface: training, epoch " in gateway.cli("status", "--once").stdout
    before = gateway.log.count("pass=learn")
    witness.command("learn", "now")
    until(lambda: gateway.log.count("pass=learn") > before, 30)

    witness.command("finetune", "stop", action="cancel")
    until(lambda: witness.latest("learn/is")["models"][0]["state"] == "cancelled")
    assert news(gateway).reason


def test_outside_of_its_window_it_waits_and_says_when_it_opens(labelled):
    gateway = labelled(window=closed_window())
    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0

    assert news(gateway).state == "waiting"
    assert "due; waits for its window" in news(gateway).reason
    assert news(gateway).opens_utc_s > time.time()
    assert "waits for its window" in gateway.cli("finetune").stdout
    assert folder(gateway).order() is None


def closed_window():
    """Two hours that begin three hours from now."""
    begin = datetime.datetime.now().astimezone() + datetime.timedelta(hours=3)
    return f"{begin:%H:%M}-{begin + datetime.timedelta(hours=2):%H:%M}"


@pytest.mark.long
def test_too_little_memory_pauses_it_with_the_reason_and_it_goes_on_when_there_is_enough(labelled):
    gateway = labelled(epochs=MANY_EPOCHS, budgets={**BUDGETS, "available_bytes": 2**39})
    gateway.launch("finetune")
    until(lambda: (found := news(gateway)) and found.state == "paused", 60)
    assert "memory available" in news(gateway).reason
    until(lambda: state_of(child_of(gateway)) == "T")
    gateway.kill("finetune")

    gateway.settings["learning"]["fine_tuning"]["budgets"]["available_bytes"] = 0
    gateway.write()
    gateway.launch("finetune")
    until(lambda: training(gateway), 60)


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.long
def test_a_fault_of_the_disk_or_a_damaged_picture_is_told_and_costs_nothing_else(labelled):
    gateway = labelled()
    pictures = sorted((gateway.state / "evidence" / "open").rglob("*.png"))
    pictures[0].write_bytes(b"not a picture")
    gateway.settings["storage"]["min_free_bytes"] = 2**40
    gateway.write()

    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0
    assert news(gateway).state == "failed"
    assert "MiB stay free" in news(gateway).reason
    assert (folder(gateway).order(), folder(gateway).job.exists()) == (None, False)

    gateway.settings["storage"]["min_free_bytes"] = 0
    gateway.write()
    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0
    assert news(gateway).state == "done", gateway.log
    assert "skipped reason=" in gateway.log


def test_without_torch_it_says_how_to_get_it_and_statistics_go_on(labelled, ground, monkeypatch):
    hidden = ground / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(WITHOUT_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(hidden))
    gateway = labelled()

    gateway.launch("finetune")
    assert gateway.wait("finetune") == 0
    assert news(gateway).state == "failed"
    assert "pip install 'edge-agent[train]'" in gateway.cli("finetune").stdout
    assert not folder(gateway).job.exists()
    gateway.launch("learn")
    assert gateway.wait("learn") == 0
    assert "pass=learn result=" in gateway.log
    assert "result=later" not in gateway.log


WITHOUT_TORCH = """
import sys

class Hidden:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden)
"""
