"""A running gateway keeps pictures worth a label, people label them, and nothing of that holds a verdict up."""

import contextlib

from edge_agent.capture.picture import decode
from edge_agent.clock import SystemClock
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.store import EvidenceStore
from tests.gateway.conftest import picture, save
from tests.waiting import until

KEEP = {"min_free_bytes": 0}


@contextlib.contextmanager
def store_of(gateway):
    store = EvidenceStore(gateway.state / "evidence")
    try:
        yield store
    finally:
        store.close()


def kept(gateway):
    with store_of(gateway) as store:
        return Catalogue(store.database).find(Wanted(), limit=200)


def watched(ground):
    folder = ground / "parts"
    folder.mkdir()
    return folder, {"source": f"folder:{folder}?watch=1", "fps": 20, "mode": "trained", "health": []}


def test_a_failed_part_is_kept_with_its_picture_a_good_one_is_not_and_people_may_say_the_models_classes(
    gateway_with, witness, ground
):
    folder, camera = watched(ground)
    gateway = gateway_with({"top": camera}, evidence={**KEEP, "pass_share": 0, "format": "png"}).start()
    bad = picture(2, line=True)
    save(folder / "good.png", picture(1))
    save(folder / "bad.png", bad)
    until(lambda: len(witness.parts("top")) == 2)

    (sample,) = until(lambda: kept(gateway))

    failed = next(part for part in witness.parts("top").values() if part["verdict"] == "FAIL")
    assert (sample.id, sample.part, sample.camera, sample.task) == (failed["id"], "bad.png", "top", "surface")
    assert (decode((gateway.state / "evidence" / sample.file).read_bytes()) == bad).all()
    with store_of(gateway) as store:
        assert Catalogue(store.database).heat(sample.id)[:4] == b"\x89PNG", "and where the model saw it"
        said = LabelBook(store, SystemClock()).say(sample.id, failed["label"], by="ana", source=LabelSource.TERMINAL)
    assert said.truth == failed["label"]


def test_what_was_kept_is_there_after_kill_9_and_a_reload_changes_what_is_kept(gateway_with, witness, ground):
    folder, camera = watched(ground)
    gateway = gateway_with({"top": camera}, evidence={**KEEP, "pass_share": 0}).start()
    save(folder / "bad.png", picture(2, line=True))
    until(lambda: len(kept(gateway)) == 1)
    gateway.kill("inspect")
    gateway.launch("inspect")

    gateway.settings["evidence"]["pass_share"] = 1
    gateway.reload()
    save(folder / "good.png", picture(1))

    parts = until(lambda: {sample.part for sample in kept(gateway)} >= {"bad.png", "good.png"} and kept(gateway))
    assert {sample.kept[0].value for sample in parts} == {"fail", "random"}


def test_a_damaged_store_is_an_alarm_and_verdicts_go_on(gateway_with, witness, ground):
    folder, camera = watched(ground)
    gateway = gateway_with({"top": camera}, evidence=KEEP)
    (gateway.state / "evidence").mkdir(parents=True)
    (gateway.state / "evidence" / "evidence.db").write_bytes(b"not a database" * 100)
    gateway.start()
    save(folder / "bad.png", picture(2, line=True))

    until(lambda: len(witness.parts("top")) == 1)
    assert until(lambda: witness.alarm("evidence-damaged.evidence"))["state"] == "active"
