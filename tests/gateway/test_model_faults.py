"""A model that is damaged on disk, or missing: the line goes on, held where it must be, and a person is told."""

import json

from tests.gateway.witness import without_gaps
from tests.waiting import until


def test_a_pointer_to_a_damaged_bundle_is_an_alarm_the_old_model_judges_on_and_a_rollback_ends_the_alarm(
    gateway_with, line, bundles, witness
):
    gateway = gateway_with({"top": line}).start()
    until(lambda: witness.parts("top"))
    first = witness.judged_by("top")[0]
    second = gateway.report("models", "import", str(bundles[1]))["digest"]
    stored = json.loads((gateway.state / "models" / "manifests" / f"{second}.json").read_bytes())
    blob = gateway.state / "models" / "blobs" / stored["head"]["sha256"]
    blob.write_bytes(blob.read_bytes()[:-1])
    # As a disk that loses bytes after the activation would leave it.
    pointer = {"active": second, "previous": first}
    (gateway.state / "models" / "pointers" / "surface.json").write_text(json.dumps(pointer))

    alarm = until(lambda: witness.alarm("model-failed.surface"))
    assert "truncated or altered" in alarm["text"]
    until(lambda: witness.latest("model/is")["models"][0]["state"] == "failed")
    assert gateway.cli("models", "rollback").returncode == 0
    until(lambda: witness.alarm("model-failed.surface") is None)
    until(lambda: witness.latest("model/is")["models"][0]["state"] == "active")
    assert witness.judged_by("top") == [first]
    until(lambda: without_gaps(witness.parts("top")))


def test_without_a_model_every_part_is_held_and_the_model_is_missed_until_it_comes(
    gateway_with, line, bundles, witness
):
    gateway = gateway_with({"top": line}, models=None).start()
    alarm = until(lambda: witness.alarm("model-failed.surface"))
    assert "edge-agent models import" in alarm["text"]
    until(lambda: len(witness.parts("top")) > 5)
    assert {(part["verdict"], part["reason"]) for part in witness.parts("top").values()} == {("HOLD", "model")}

    assert gateway.cli("models", "import", str(bundles[0]), "--activate").returncode == 0

    until(lambda: "PASS" in {part["verdict"] for part in witness.parts("top").values()})
    until(lambda: witness.alarm("model-failed.surface") is None)
    until(lambda: without_gaps(witness.parts("top")))
