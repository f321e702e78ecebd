"""New models on live frames: beside the one in force, then in force and watched, kept or taken back by themselves."""

import dataclasses
import json

import numpy as np
import pytest

from edge_agent.learn.release import Stage
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.networks import line_detector, packed
from tests.fakes.tiny_model import tiny_bundle
from tests.gateway.conftest import picture, save
from tests.gateway.witness import without_gaps
from tests.waiting import until

MANY = 10**6


def released(gateway, **keys):
    """The gateway with a short trial, and keys of its own; started."""
    release = {"shadow_parts": 30, "probation_parts": 30, "wait_s": 1.0, **keys}
    gateway.settings["models"] = {"release": release}
    gateway.write()
    return gateway.start()


def store_of(gateway):
    return ModelStore(gateway.state / "models")


def trial(gateway, name="surface"):
    return store_of(gateway).trial(name)


def ended(gateway, stage, name="surface"):
    return until(lambda: trial(gateway, name) if trial(gateway, name).stage is stage else None, 30)


def events(gateway):
    return [step.event.value for step in store_of(gateway).journal.read().steps]


def propose(gateway, *, fails_all=False):
    """Put a new head for the active encoder on trial, as learning does; the digests of the active and the new one."""
    store = store_of(gateway)
    active = store.load(store.active("surface"), RuntimeOptions())
    head = dataclasses.replace(active.head, temperature=active.head.temperature * 1.01)
    if fails_all:
        bias = np.array([-1000, 1000], np.float32)
        head = dataclasses.replace(head, weights=np.zeros_like(head.weights), bias=bias)
    digest = store.with_head(active.digest, head, f"head-{fails_all}".lower())
    store.propose("surface", digest, reasons=("tests",))
    return active.digest, digest


def whole(witness, *, since=0):
    """Every frame has exactly one inspection, and none is missing: nothing was lost at a switch."""
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 3)
    until(lambda: without_gaps(number for number in witness.parts("top") if number > since))


def alarm(gateway, code):
    return next(
        (alarm for alarm in (gateway.live("inspect") or {"alarms": ()})["alarms"] if alarm["code"] == code), None
    )


def test_a_good_head_goes_from_shadow_into_force_and_is_kept_and_no_frame_is_lost(gateway_with, witness, line):
    gateway = released(gateway_with({"top": line}))
    until(lambda: len(witness.parts("top")) > 40)

    before, new = propose(gateway)
    until(lambda: store_of(gateway).active("surface") == new, 5)
    ended(gateway, Stage.KEPT)

    until(lambda: witness.judged_by("top") == [before, new])
    assert events(gateway)[-4:] == ["shadow", "promoted", "probation", "kept"]
    until(lambda: witness.latest("model/is")["models"][0]["trial"] is None)
    told = [said["models"][0]["trial"] for said in witness.said("model/is")]
    assert "probation" in {state["stage"] for state in told if state}
    assert trial(gateway).probation.parts >= 30
    whole(witness)


def test_a_candidate_that_fails_every_part_is_dismissed_and_the_line_never_hears_of_it(gateway_with, witness, line):
    gateway = released(gateway_with({"top": line}))
    until(lambda: len(witness.parts("top")) > 20)

    before, bad = propose(gateway, fails_all=True)
    dismissed = ended(gateway, Stage.DISMISSED)

    assert "differs on" in dismissed.reasons[0]
    assert "differs on" in until(lambda: alarm(gateway, "candidate-dismissed"))["text"]
    whole(witness)
    assert witness.judged_by("top") == [before]
    assert {part["verdict"] for part in witness.parts("top").values()} == {"PASS", "FAIL"}
    lines = (gateway.state / "models" / "differing.jsonl").read_text().splitlines()
    assert {json.loads(one)["beside"]["digest"] for one in lines} == {bad}


def test_a_model_that_breaks_on_probation_is_taken_back_by_itself(gateway_with, witness, ground):
    parts, store = ground / "parts", ModelStore(ground / "state" / "models")
    sound, fragile = (
        store.stage(packed(ground / kind, line_detector(fragile=kind == "fragile"), version=kind))
        for kind in ("sound", "fragile")
    )
    store.activate("lines", sound, RuntimeOptions(), "fp32")
    parts.mkdir()
    camera = {"source": f"folder:{parts}?watch=1", "fps": 20, "model": "lines", "health": []}
    gateway = released(gateway_with({"top": camera}, models=None), shadow_parts=10, probation_parts=MANY)
    store.propose("lines", fragile)
    until(lambda: witness.latest("model/is")["models"][0]["trial"] is not None)
    until(lambda: "shadow" in events(gateway))

    for number in range(60):
        if trial(gateway, "lines").stage is Stage.PROBATION:
            break
        save(parts / f"dark-{number:03}.png", picture(number))
        until(lambda number=number: len(witness.parts("top")) > number)
    until(lambda: trial(gateway, "lines").stage is Stage.PROBATION)
    known = len(witness.parts("top"))
    for number in range(4):
        save(parts / f"line-{number:03}.png", picture(number, line=True))

    back = ended(gateway, Stage.ROLLED_BACK, "lines")
    assert "gives no answer" in back.reasons[0]
    assert "judges again" in until(lambda: alarm(gateway, "model-rolled-back"))["text"]
    until(lambda: len(witness.parts("top")) == known + 4)
    save(parts / "again.png", picture(9, line=True))
    until(lambda: len(witness.parts("top")) == known + 5)
    assert (witness.last("top")["verdict"], witness.last("top")["model"]) == ("FAIL", sound)
    assert without_gaps(witness.parts("top"))


def test_two_kills_on_probation_take_a_model_back_before_it_is_loaded_a_third_time(gateway_with, witness, line):
    gateway = released(gateway_with({"top": line}), probation_parts=MANY)
    until(lambda: len(witness.parts("top")) > 40)
    before, new = propose(gateway)
    until(lambda: trial(gateway).in_use, 10)

    for crash in (1, 2):
        gateway.kill("inspect")
        until(lambda crash=crash: trial(gateway).crashes == crash, 20)
        until(lambda: gateway.live("inspect"), 20)
        if crash == 1:
            assert store_of(gateway).active("surface") == new

    back = ended(gateway, Stage.ROLLED_BACK)
    assert "ended 2 times" in back.reasons[0]
    assert store_of(gateway).active("surface") == before
    until(lambda: witness.last("top").get("model") == before)
    loaded = [line for line in gateway.log.splitlines() if "event=in-use" in line]
    assert before[:12] in loaded[-1]


def test_a_person_confirms_or_dismisses_where_the_policy_asks_for_one(gateway_with, witness, line):
    gateway = released(gateway_with({"top": line}), approval="person", probation_parts=MANY)
    until(lambda: len(witness.parts("top")) > 40)
    witness.command("model", "early", action="confirm", name="surface")
    until(lambda: witness.acks("model", "early")[-1:] == ["failed"])
    assert "no candidate of model 'surface' is on trial" in witness.latest("ack/model/early")["reason"]

    before, new = propose(gateway)
    until(lambda: alarm(gateway, "candidate-waiting"), 10)
    assert store_of(gateway).active("surface") == before
    witness.command("model", "yes", action="confirm", name="surface")
    until(lambda: witness.acks("model", "yes")[-1:] == ["successful"])
    until(lambda: witness.judged_by("top") == [before, new])
    until(lambda: alarm(gateway, "candidate-waiting") is None)

    witness.command("model", "no", action="dismiss", name="surface")
    until(lambda: witness.acks("model", "no")[-1:] == ["successful"])
    until(lambda: witness.judged_by("top") == [before, new, before])
    assert trial(gateway).stage is Stage.ROLLED_BACK
    assert "operator tests" in {step.by for step in store_of(gateway).journal.read().steps}
    whole(witness)


@pytest.mark.long
def test_a_clean_stop_is_no_crash_and_the_trial_goes_on_where_it_was(gateway_with, witness, line):
    gateway = released(gateway_with({"top": line}), probation_parts=MANY)
    until(lambda: len(witness.parts("top")) > 40)
    _, new = propose(gateway)
    until(lambda: trial(gateway).in_use, 10)
    gateway.stop()
    stopped = trial(gateway)
    assert (stopped.in_use, stopped.crashes, stopped.stage) == (False, 0, Stage.PROBATION)

    gateway.start()
    until(lambda: trial(gateway).probation.parts > stopped.probation.parts, 20)
    assert (store_of(gateway).active("surface"), trial(gateway).crashes) == (new, 0)


def test_the_first_head_of_a_camera_that_started_good_only_is_tried_beside_it_and_goes_back_to_it(
    gateway_with, witness, ground
):
    parts, store = ground / "parts", ModelStore(ground / "state" / "models")
    parts.mkdir()
    drawn = store.stage(tiny_bundle(ground / "drawn", trained_on="synthetic-line"))
    store.activate("surface", drawn, RuntimeOptions())
    camera = {"source": f"folder:{parts}?watch=1", "fps": 20, "good_only_parts": 10, "health": []}
    gateway = released(gateway_with({"top": camera}, models=None), probation_parts=MANY, wait_s=0.0)
    for number in range(14):
        save(parts / f"good-{number:03}.png", picture(number))
    until(lambda: len(witness.parts("top")) == 14)
    assert gateway.camera("top")["mode"] == "good-only"

    _, new = propose(gateway)
    until(lambda: gateway.camera("top")["mode"] == "head", 10)
    shadow = trial(gateway).shadow
    assert (shadow.parts, shadow.differing) == (14, 0)

    for number in range(12):
        save(parts / f"line-{number:03}.png", picture(number, line=True))
    until(lambda: len(witness.parts("top")) == 26)
    assert witness.last("top")["model"] == new
    witness.command("model", "no", action="dismiss", name="surface")
    until(lambda: witness.acks("model", "no")[-1:] == ["successful"])
    until(lambda: gateway.camera("top")["mode"] == "good-only")
    assert trial(gateway).probation.parts == 12
