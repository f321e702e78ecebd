"""People say what parts are; one pass later the running gateway judges so, and a worse head never gets there."""

import re
import shutil

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.store import EvidenceStore
from edge_agent.learn.book import new_book, put
from edge_agent.learn.book_file import write_book
from edge_agent.models.store import ModelStore
from edge_agent.processes.learn_request import ask, asked_ns
from edge_agent.records import KeepReason
from tests.gateway.conftest import picture, save
from tests.waiting import until

BEFORE = 24
CLASSES = {"ok": {}, "spot": {}}


def spotted(seed):
    """Good noise with a dark disc: a defect that the tiny head was not taught."""
    pixels = picture(seed)
    pixels[8:24, 8:24] = 5
    return pixels


def taught(folder, *, count=30, swap=False):
    """A labelled folder: class sub-folders of good and spotted parts."""
    for number in range(count):
        for label, make in (("ok", picture), ("spot", spotted)):
            said = {"ok": "spot", "spot": "ok"}[label] if swap else label
            save(folder / said / f"{label}-{number:03}.png", make(1000 + number if label == "ok" else 2000 + number))
    return folder


def active(gateway):
    return ModelStore(gateway.state / "models").active("surface")


def learn(gateway):
    gateway.launch("learn")
    assert gateway.wait("learn") == 0
    return gateway.log


def test_labels_become_a_head_that_the_running_gateway_uses_and_a_second_pass_has_nothing_to_do(
    gateway_with, witness, ground
):
    parts = ground / "parts"
    parts.mkdir()
    camera = {"source": f"folder:{parts}?watch=1", "fps": 20, "mode": "trained", "health": []}
    gateway = gateway_with({"top": camera}, evidence={"min_free_bytes": 0})
    gateway.settings["models"] = {"release": {"wait_s": 1.0}}
    gateway.write()
    gateway.start()
    before = active(gateway)
    save(parts / "before.png", spotted(1))
    # As on a line, most parts are good: on these the new head says what the old one said.
    for number in range(BEFORE - 1):
        save(parts / f"good-{number}.png", picture(4000 + number))
    until(lambda: len(witness.parts("top")) == BEFORE)

    imported = gateway.cli("evidence", "import", taught(ground / "labelled"), "--by", "ana", "--task", "surface")
    assert imported.returncode == 0, imported.stdout + imported.stderr
    # The import asked for it: the supervisor starts the process that learns.
    until(lambda: "pass=learn result=on-trial" in gateway.log)
    until(lambda: active(gateway) != before)
    until(lambda: witness.latest("model/is")["models"][0]["active"] == active(gateway))
    save(parts / "after-bad.png", spotted(2))
    save(parts / "after-good.png", picture(3))
    judged = until(
        lambda: (
            {part["part"]: part for part in witness.said("insp/top")}
            if len(witness.parts("top")) == BEFORE + 2
            else None
        )
    )
    assert (judged["after-bad.png"]["verdict"], judged["after-bad.png"]["label"]) == ("FAIL", "spot")
    assert judged["after-good.png"]["verdict"] == "PASS"
    assert judged["after-bad.png"]["model"] == active(gateway)

    now, process = active(gateway), gateway.pid("learn")
    ask(gateway.state)
    until(lambda: "result=nothing-new" in gateway.log)
    assert active(gateway) == now
    assert gateway.pid("learn") == process  # it had stayed for the next label


def test_a_part_is_labelled_over_mqtt_by_the_id_of_its_inspection_once_however_often_it_comes(
    gateway_with, witness, ground
):
    parts = ground / "parts"
    parts.mkdir()
    camera = {"source": f"folder:{parts}?watch=1", "fps": 20, "mode": "trained", "health": []}
    gateway = gateway_with({"top": camera}, evidence={"min_free_bytes": 0, "pass_share": 1}).start()
    save(parts / "a.png", spotted(1))
    until(lambda: len(witness.parts("top")) == 1)
    identity = witness.last("top")["id"]
    until(lambda: _samples(gateway))

    for _ in range(2):
        witness.command("label", "say-1", sample=identity, label="spot", new_class=True)
    witness.command("label", "say-2", sample=identity, label="sopt")
    witness.command("label", "say-3", sample="01M86F4VDCQ0S3Y1Q2K0ZC5T9R", label="spot")

    until(lambda: witness.acks("label", "say-1")[-1:] == ["successful"])
    until(lambda: all(witness.acks("label", name)[-1:] == ["failed"] for name in ("say-2", "say-3")))
    reasons = {name: witness.latest(f"ack/label/{name}")["reason"] for name in ("say-2", "say-3")}
    assert "did you mean 'spot'" in reasons["say-2"]
    assert "no sample" in reasons["say-3"]
    (sample,) = _samples(gateway)
    assert sample.truth == "spot"
    assert asked_ns(gateway.state) is not None


def test_one_class_only_is_told_and_changes_nothing(gateway_with, ground):
    gateway = gateway_with({"top": {"source": "synthetic:mixed", "mode": "trained"}}, evidence={"min_free_bytes": 0})
    gateway.write()
    before = active(gateway)
    for number in range(12):
        save(ground / "labelled" / "ok" / f"{number}.png", picture(number))
    assert gateway.cli("evidence", "import", ground / "labelled", "--by", "ana", "--task", "surface").returncode == 0

    said = learn(gateway)

    assert "result=unlearnable" in said
    assert "label parts of a second one" in said
    assert active(gateway) == before


def test_labels_that_make_it_worse_on_the_sealed_parts_are_refused_by_the_gate(gateway_with, ground):
    gateway = gateway_with(
        {"top": {"source": "synthetic:mixed", "mode": "trained"}}, evidence={"min_free_bytes": 0, "sealed_share": 0.5}
    )
    gateway.write()
    assert (
        gateway.cli("evidence", "import", taught(ground / "a", count=60), "--by", "ana", "--task", "surface").returncode
        == 0
    )
    assert "result=on-trial" in learn(gateway)
    assert gateway.cli("models", "shadow", "--confirm", "--by", "eva").returncode == 0
    good = active(gateway)

    # The same parts, and somebody who mixes the two up: among those learned from only, as a fault of people is.
    samples = _samples(gateway)
    rng = np.random.default_rng(20261124)
    for sample in samples:
        if not sample.sealed and rng.random() < 0.95:
            other = {"ok": "spot", "spot": "ok"}[sample.truth]
            _say(gateway, sample.id, other)
    said = learn(gateway)

    assert "result=refused" in said
    assert "right answers" in said or "defects found" in said
    assert active(gateway) == good


@pytest.mark.long
def test_a_part_unlike_anything_taught_is_kept_for_a_label_and_held_where_the_camera_wants_that(
    gateway_with, witness, ground
):
    parts = ground / "parts"
    parts.mkdir()
    camera = {"source": f"folder:{parts}?watch=1", "fps": 20, "mode": "trained", "health": [], "hold_unlike": 1}
    keeping = {"min_free_bytes": 0, "keep": ["unlike"], "alike_bits": None, "unlike_from": 1}
    gateway = gateway_with({"top": camera}, evidence=keeping).start()
    before = active(gateway)
    assert gateway.cli("evidence", "import", taught(ground / "a", count=60), "--by", "ana").returncode == 0
    until(lambda: active(gateway) != before)
    until(lambda: witness.latest("model/is")["models"][0]["active"] == active(gateway))

    strange = np.full((32, 32, 3), (250, 20, 120), np.uint8)
    strange[::2] = (10, 240, 30)
    save(parts / "known.png", picture(5))
    save(parts / "strange.png", strange)

    kept = until(lambda: [sample for sample in _samples(gateway) if sample.camera == "top"])
    judged = until(
        lambda: {part["part"]: part for part in witness.said("insp/top")} if len(witness.parts("top")) == 2 else None
    )
    assert [(sample.part, sample.kept) for sample in kept] == [("strange.png", (KeepReason.UNLIKE,))]
    assert judged["known.png"]["verdict"] == "PASS"
    assert judged["strange.png"]["verdict"] != "PASS"


def _samples(gateway):
    store = EvidenceStore(gateway.state / "evidence")
    try:
        return Catalogue(store.database).find(Wanted(), limit=500)
    finally:
        store.close()


def _say(gateway, sample, label):
    store = EvidenceStore(gateway.state / "evidence")
    try:
        LabelBook(store, SystemClock()).say(sample, label, by="ben", source=LabelSource.TERMINAL)
    finally:
        store.close()


def test_a_plant_stands_on_the_sums_of_another_one_and_adds_its_own_labels(gateway_with, ground):
    cameras = {"top": {"source": "synthetic:mixed", "mode": "trained"}}
    gateway = gateway_with(cameras, evidence={"min_free_bytes": 0})
    gateway.write()
    assert gateway.cli("evidence", "import", taught(ground / "there", count=40), "--by", "ana").returncode == 0
    learn(gateway)
    sums = ground / "plant-a.sums"
    told = gateway.report("models", "statistics", "export", sums)
    assert set(told["classes"]) == {"ok", "spot"}
    assert all(sample.id.encode() not in sums.read_bytes() for sample in _samples(gateway))

    # Another plant with the same encoder, which has only ever seen good parts.
    shutil.rmtree(gateway.state / "evidence")
    shutil.rmtree(gateway.state / "statistics")
    for number in range(20):
        save(ground / "here" / "ok" / f"{number}.png", picture(5000 + number))
    assert gateway.cli("evidence", "import", ground / "here", "--by", "ben").returncode == 0
    assert "result=unlearnable" in learn(gateway)
    assert gateway.cli("models", "statistics", "import", sums).returncode == 0
    said = learn(gateway).splitlines()[-1]

    assert "result=on-trial" in said
    digest = re.search(r"digest=(\w+)", said)[1]
    (made,) = [model for model in ModelStore(gateway.state / "models").list() if model.digest.startswith(digest)]
    assert made.manifest.classes == ("ok", "spot")
    assert "result=nothing-new" in learn(gateway).splitlines()[-1]


def test_sums_of_another_encoder_are_refused_with_both_named(gateway_with, ground):
    gateway = gateway_with({"top": {"source": "synthetic:mixed", "mode": "trained"}}, evidence={"min_free_bytes": 0})
    gateway.write()
    foreign = put(new_book("other", 4), [], np.empty((0, 1, 4), np.int8))
    write_book(ground / "foreign.sums", foreign)

    refused = gateway.cli("models", "statistics", "import", ground / "foreign.sums")

    assert refused.returncode == 1
    assert "made by encoder other" in refused.stderr
    assert not (gateway.state / "statistics").exists()
