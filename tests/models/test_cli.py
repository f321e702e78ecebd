"""`edge-agent models`: the verbs as a technician types them."""

import json
import subprocess
import sys

import pytest

from edge_agent.cli import main
from tests.fakes.tiny_model import tiny_bundle


@pytest.fixture
def models(tmp_path, capsys, monkeypatch):
    """Run a verb on a state directory of its own; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGE_AGENT_CONFIG", raising=False)

    def run(*words, code=0):
        assert main(["models", *map(str, words), "--state", str(tmp_path / "state")]) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def digest(models, pristine):
    return json.loads(models("import", pristine, "--activate", "--output", "json").out)["digest"]


def test_import_stages_and_says_the_digest(models, pristine):
    result = json.loads(models("import", pristine, "--output", "json").out)

    assert (result["name"], result["active"], len(result["digest"])) == ("surface", False, 64)
    assert [model["state"] for model in json.loads(models("list", "--output", "json").out)] == ["staged"]


def test_import_and_activate_makes_it_the_active_one(models, digest):
    listed = json.loads(models("list", "--output", "json").out)

    assert [(model["digest"], model["state"], model["classes"]) for model in listed] == [
        (digest, "active", ["ok", "scratch"])
    ]
    assert digest[:12] in models("list").out


def test_an_empty_store_says_what_to_do(models):
    assert "models build" in models("list").out


def test_show_prints_the_manifest_of_the_active_bundle(models, digest):
    shown = json.loads(models("show", "--output", "json").out)

    assert (shown["digest"], shown["input_px"]) == (digest, [32, 32])


def test_verify_names_the_provider_that_reproduced_the_golden_vectors(models, digest):
    assert "reproduced by CPUExecutionProvider" in models("verify").out
    assert json.loads(models("verify", digest[:6], "--output", "json").out)["digest"] == digest


def test_activate_takes_the_first_digits_and_rollback_returns(models, digest, tmp_path):
    other = json.loads(models("import", tiny_bundle(tmp_path / "b", version="2", seed=5), "--output", "json").out)[
        "digest"
    ]

    models("activate", other[:8])
    assert json.loads(models("show", "--output", "json").out)["version"] == "2"
    assert digest[:12] in models("rollback").out
    assert json.loads(models("show", "--output", "json").out)["version"] == "1"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("activate", "ffff"), "'ffff' fits 0 bundles"),
        (("activate", ""), "fits 1 bundles"),
        (("rollback",), "no previous bundle"),
        (("rollback", "--name", "weld"), "model 'weld' has no previous bundle"),
        (("verify", "--name", "weld"), "model 'weld' has no active bundle"),
        (("import", "/nowhere"), "/nowhere/manifest.json: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(models, digest, words, text):
    if words == ("activate", ""):
        # The empty prefix fits the only bundle there is: no ambiguity, no fault.
        models(*words)
        return
    said = models(*words, code=1).err

    assert text in said
    assert said.count("\n") == 1


def test_a_hostile_bundle_is_refused_and_the_active_one_stays(models, digest, restated):
    assert "truncated or altered" in models("import", _spoiled(restated()), "--activate", code=1).err
    assert json.loads(models("show", "--output", "json").out)["digest"] == digest


def _spoiled(directory):
    with (directory / "encoder-u8s8.onnx").open("r+b") as file:
        file.write(b"\xff")
    return directory


def test_building_without_torch_says_what_to_install():
    script = (
        "import sys; sys.modules['torch'] = None; from edge_agent.cli import main; sys.exit(main(['models', 'build']))"
    )

    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert child.returncode == 78
    assert "pip install 'edge-agent[train]'" in child.stderr
    assert "Traceback" not in child.stderr


def test_an_example_is_written_packed_used_listed_and_judges(models, tmp_path, capsys):
    said = models_example(tmp_path, capsys)
    packed = models("pack", tmp_path / "ex" / "model.yaml", "--activate").out
    listed = json.loads(models("list", "--output", "json").out)

    assert f"next, edge-agent models pack {tmp_path / 'ex' / 'model.yaml'}" in said
    assert "packed example-detector 1, detector of 256 x 256 px; golden: dark 0.99, ok 0.00" in packed
    assert [(model["kind"], model["threshold"], model["classes"]) for model in listed] == [
        ("detector", 0.6, ["dark", "bright"])
    ]
    assert "detector" in models("list").out
    assert (
        json.loads(models("show", "--name", "example-detector", "--output", "json").out)["terms"]["form"]
        == "candidates"
    )
    assert "reproduced by CPUExecutionProvider" in models("verify", "--name", "example-detector").out
    parts, drawn = tmp_path / "ex" / "parts", tmp_path / "drawn"
    words = ["--model", "example-detector", "--state", tmp_path / "state", "--save", drawn, "--output", "json"]
    assert main(["inspect", str(parts), *map(str, words)]) == 0
    judged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {part["verdict"] for part in judged if part["path"].endswith("ok.png")} == {"PASS"}
    pit = next(part for part in judged if part["path"].endswith("pit.png"))
    assert (pit["verdict"], pit["detections"][0]["label"]) == ("FAIL", "dark")
    assert len(list(drawn.iterdir())) == len(judged)


def models_example(tmp_path, capsys):
    assert main(["models", "example", "detector", "--to", str(tmp_path / "ex")]) == 0
    return capsys.readouterr().out


def test_packing_to_a_folder_leaves_the_store_alone(models, tmp_path, capsys):
    models_example(tmp_path, capsys)

    result = json.loads(
        models("pack", tmp_path / "ex" / "model.yaml", "--to", tmp_path / "out", "--output", "json").out
    )

    assert (tmp_path / "out" / "manifest.json").is_file()
    assert len(result["digest"]) == 64
    assert not (tmp_path / "state").exists()


def test_a_declaration_at_fault_is_said_with_its_place(models, tmp_path):
    (tmp_path / "model.yaml").write_text("name: lines\nkind: detektor\nnetworks: {fp32: a.onnx}\n")

    assert f"{tmp_path / 'model.yaml'}:2:7: kind" in models("pack", tmp_path / "model.yaml", code=78).err


def test_the_examples_that_help_names_are_those_there_are():
    from edge_agent.cli.models import EXAMPLES
    from edge_agent.models.build.examples import KINDS

    assert EXAMPLES == KINDS
