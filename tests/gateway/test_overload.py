"""More frames than can be judged: the books balance in every number that is published, and no frame goes unspoken."""

import pytest

from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.rtsp_server import RtspServer
from tests.fakes.tiny_model import tiny_bundle
from tests.gateway.conftest import NO_SENSOR
from tests.gateway.witness import cameras_of, without_gaps
from tests.waiting import until

BALANCED_NUMBERS = 4
DROPPED = 40


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory):
    """The same model at sixteen times the side: a picture takes it longer than a camera gives it."""
    folder = tmp_path_factory.mktemp("slow")
    store = ModelStore(folder / "models")
    bundle = tiny_bundle(folder / "bundle", input_px=(768, 768))
    store.activate("surface", store.stage(bundle), RuntimeOptions())
    return store.root


@pytest.mark.rtsp
def test_under_overload_the_books_balance_and_every_captured_frame_has_exactly_one_inspection(
    gateway_with, slow_models, witness
):
    with RtspServer(fps=60) as server:
        camera = {"source": server.url, "mode": "trained", "fps": 60, "queue": 1, **NO_SENSOR}
        cameras = {name: dict(camera) for name in ("left", "middle", "right")}
        gateway = gateway_with(cameras, models=slow_models).start()
        until(lambda: all(_dropped(witness, name) > DROPPED for name in cameras), 30)
        until(lambda: witness.alarm("overload"))
        until(lambda: len(witness.said("tm")) >= BALANCED_NUMBERS)
        assert gateway.stop() == {"run": 0}
    gateway.start("sync")  # whatever still waited
    until(lambda: gateway.report("outbox")["queued"] == 0)
    until(lambda: all(without_gaps(witness.parts(name)) for name in cameras))

    # That all of these balance, and the summaries with them, is what `witness` checks in every test.
    for name in cameras:
        numbers = [said for said in witness.said("tm") if name in cameras_of(said)]
        assert len(numbers) >= BALANCED_NUMBERS - 1
        assert numbers[-1][f"{name}_judged"] > 0
        # `parts` fails where a sequence has two ids. Stopped in order, so the very last frame is among them.
        parts = witness.parts(name)
        assert without_gaps(parts)
        assert min(parts) == 1
        assert len({part["id"] for part in parts.values()}) == len(parts)
        assert len(parts) >= numbers[-1][f"{name}_captured"]
        held = {part["reason"] for part in parts.values() if part["verdict"] == "HOLD"}
        assert held <= {"overload", "unsure", "stopping", "model"}


def test_each_camera_has_its_policy_and_what_was_not_judged_is_counted(gateway_with, slow_models, witness):
    line = {"source": "synthetic:mixed", "mode": "trained", "fps": 240, "queue": 1}
    policies = {"newest": {"load": "latest"}, "every": {"load": "all"}, "third": {"load": "all", "every_nth": 3}}
    gateway = gateway_with({name: {**line, **keys} for name, keys in policies.items()}, models=slow_models).start()
    until(lambda: _dropped(witness, "newest") > DROPPED, 30)
    until(lambda: all(gateway.camera(name)["judged"] > DROPPED for name in policies), 30)
    live = gateway.live("inspect")["cameras"]
    until(lambda: any(said.get("third_skipped_nth") for said in witness.said("tm")))

    assert set(live["newest"]["dropped"]) == {"overload"}
    assert live["every"]["dropped"] == live["third"]["dropped"] == {}
    assert live["every"]["skipped"] == {}
    third = live["third"]
    assert 2 * (third["captured"] - 1) <= third["skipped"]["nth"] <= 2 * third["captured"]
    # None of them took the judge from another: the three were judged in turn.
    judged = [live[name]["judged"] for name in policies]
    assert max(judged) <= 1.5 * min(judged)


def _dropped(witness, camera):
    return sum(part["reason"] == "overload" for part in witness.parts(camera).values())
