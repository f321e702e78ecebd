"""Models while parts flow: what is bad is refused and changes nothing, what is good is swapped between two frames."""

import json

import pytest
from onnx import TensorProto, helper

from edge_agent.errors import EXIT_FAULT
from edge_agent.models import arrays, bundle
from edge_agent.models.bundle import MANIFEST_NAME
from tests.fakes.gateway import Gateway
from tests.fakes.tiny_model import tiny_bundle, tiny_onnx
from tests.gateway.conftest import short_folder
from tests.gateway.witness import without_gaps
from tests.waiting import until

ONNX = "encoder-u8s8.onnx"


def restated(folder, name, content):
    """Put other bytes into a bundle so that its manifest agrees with them: only the bytes themselves are at fault."""
    manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    entries = (manifest["head"], manifest["golden"], manifest["scores"], *manifest["encoders"].values())
    entry = next(entry for entry in entries if entry["name"] == name)
    described = bundle.describe(content, name)
    entry["size"], entry["sha256"] = described.size, described.sha256
    (folder / name).write_bytes(content)
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (folder / MANIFEST_NAME).write_text(canonical + "\n")


def with_external_data(folder):
    model = tiny_onnx()
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    restated(folder, ONNX, model.SerializeToString())


def with_a_forbidden_operator(folder):
    model = tiny_onnx()
    model.graph.node.insert(0, helper.make_node("Loop", ["x"], ["extra"], name="evil"))
    restated(folder, ONNX, model.SerializeToString())


def with_another_input_shape(folder):
    restated(folder, ONNX, tiny_onnx((48, 48)).SerializeToString())


def truncated(folder):
    content = (folder / ONNX).read_bytes()
    (folder / ONNX).write_bytes(content[: len(content) // 2])


def without_a_file(folder):
    (folder / "head.safetensors").unlink()


def with_a_bad_golden_vector(folder):
    manifest = bundle.from_bytes((folder / MANIFEST_NAME).read_bytes())
    golden = arrays.golden_from_bytes(
        (folder / "golden.safetensors").read_bytes(),
        input_px=manifest.input_px,
        dimension=manifest.features.dimension,
        flavours=set(manifest.encoders),
    )
    wrong = {flavour: vectors + 1 for flavour, vectors in golden.vectors.items()}
    restated(
        folder,
        "golden.safetensors",
        arrays.golden_to_bytes(arrays.Golden(pictures=golden.pictures, vectors=wrong)),
    )


BAD = {
    "external data": (with_external_data, "external data is not allowed"),
    "forbidden operator": (with_a_forbidden_operator, "operator Loop (node 'evil') is not allowed"),
    "another input shape": (with_another_input_shape, "takes (48, 48) px"),
    "truncated": (truncated, "the file is truncated or altered"),
    "file missing": (without_a_file, "the bundle is incomplete"),
    "bad golden vector": (with_a_bad_golden_vector, "golden"),
}


@pytest.fixture(scope="module")
def gateway(broker, models, line):
    """One gateway that judges all the time; a test that activates another model brings the first one back."""
    with short_folder() as folder, Gateway(folder, broker.url, {"top": line}, models=models) as gateway:
        yield gateway.start()


@pytest.fixture(scope="module")
def digests(gateway, bundles):
    """The digests of both versions; the second one is in the store and not active."""
    second = json.loads(gateway.cli("models", "import", str(bundles[1]), "--output", "json").stdout)["digest"]
    first = next(model["digest"] for model in gateway.report("models", "list") if model["state"] == "active")
    return first, second


def in_use(witness):
    """Active and previous digest as the gateway reports them."""
    said = witness.latest("model/is")
    return (said["models"][0]["active"], said["models"][0]["previous"]) if said else None


@pytest.mark.parametrize("kind", BAD)
def test_a_bundle_that_is_bad_is_refused_and_the_running_gateway_does_not_notice(
    gateway, digests, witness, tmp_path, kind
):
    spoil, words = BAD[kind]
    folder = tiny_bundle(tmp_path / "bad", version="9", seed=4)
    spoil(folder)
    until(lambda: witness.parts("top"))
    before = gateway.report("models", "list")

    done = gateway.cli("models", "import", str(folder), "--activate")

    assert done.returncode == EXIT_FAULT
    assert words in done.stderr
    after = gateway.report("models", "list")
    assert [model for model in after if model["state"] != "staged"] == [m for m in before if m["state"] != "staged"]
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 10)
    assert witness.judged_by("top") == [digests[0]]
    until(lambda: without_gaps(witness.parts("top")))
    assert not any(alarm["code"] == "model-failed" for alarm in gateway.live("inspect")["alarms"])


def test_a_model_is_activated_by_command_between_two_frames_and_rolled_back_once_however_often_it_is_asked(
    gateway, digests, witness
):
    first, second = digests
    until(lambda: len(witness.parts("top")) > 5)

    witness.command("model", "swap-1", action="activate", name="surface", digest=second)
    until(lambda: witness.acks("model", "swap-1") == ["accepted", "executing", "successful"])
    until(lambda: in_use(witness) == (second, first))
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 10)
    assert witness.judged_by("top") == [first, second]

    # Twice the same id: a second rollback would exchange them again.
    witness.command("model", "back-1", action="rollback", name="surface")
    witness.command("model", "back-1", action="rollback", name="surface")
    until(lambda: witness.acks("model", "back-1") == ["accepted", "executing", "successful"])
    until(lambda: in_use(witness) == (first, second))
    witness.command("model", "back-1", action="rollback", name="surface")
    witness.command("counters", "after-back")
    until(lambda: "successful" in witness.acks("counters", "after-back"))

    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 10)
    assert in_use(witness) == (first, second)
    assert witness.judged_by("top") == [first, second, first]
    until(lambda: without_gaps(witness.parts("top")))
    told = [(step["event"], step["digest"]) for step in gateway.report("models", "history") if "tests" in step["by"]]
    assert told == [("activated", second), ("rolled-back", first)]


def test_a_model_is_activated_by_the_command_line_between_two_frames_and_rolled_back(gateway, digests, witness):
    first, second = digests
    until(lambda: len(witness.parts("top")) > 5)

    assert gateway.cli("models", "activate", second[:12]).returncode == 0
    until(lambda: in_use(witness) == (second, first))
    until(lambda: witness.judged_by("top") == [first, second])
    assert gateway.cli("models", "rollback").returncode == 0
    until(lambda: in_use(witness) == (first, second))
    until(lambda: witness.judged_by("top") == [first, second, first])

    until(lambda: without_gaps(witness.parts("top")))


def test_a_command_for_a_bundle_that_is_not_there_fails_with_the_reason_and_the_model_stays(gateway, digests, witness):
    witness.command("model", "absent-1", action="activate", name="surface", digest="0" * 64)

    until(lambda: witness.acks("model", "absent-1") == ["accepted", "executing", "failed"])
    assert "import it first" in witness.latest("ack/model/absent-1")["reason"]
    until(lambda: witness.parts("top"))
    assert witness.judged_by("top") == [digests[0]]
