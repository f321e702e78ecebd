"""OpenVINO for real: a bundle is verified, compiled, kept and used by ONNX Runtime's OpenVINO in its own environment."""

import json
import subprocess
import sys

import pytest

from edge_agent.errors import EXIT_UNAVAILABLE
from tests import openvino
from tests.fakes.tiny_model import tiny_bundle

pytestmark = pytest.mark.long


@pytest.fixture
def gateway(tmp_path):
    """A function that runs `edge-agent models ...` there, under the profile x86-openvino."""
    (tmp_path / "agent.yaml").write_text(
        "version: 1\nsite: {enterprise: acme, plant: lyon, gateway: gw-07}\n"
        "cameras: {top: {source: 'synthetic:mixed'}}\nmqtt: {url: 'mqtt://127.0.0.1'}\n"
        f"storage: {{state_dir: '{tmp_path}/state', runtime_dir: '{tmp_path}/run'}}\n"
        "device: {profile: x86-openvino, threads: 2}\n"
    )

    def run(*words, python=None):
        command = [python or openvino.python(), "-m", "edge_agent", "models", *words]
        command += ["--config", tmp_path / "agent.yaml", "--output", "json"]
        return subprocess.run(command, check=False, env=openvino.environ(), capture_output=True, text=True, timeout=300)

    return run


def test_a_bundle_is_compiled_once_kept_for_its_encoder_and_reproduces_its_golden_vectors(gateway, tmp_path):
    taken = gateway("import", tiny_bundle(tmp_path / "bundle"), "--activate")
    assert taken.returncode == 0, taken.stderr
    assert "building an engine for OpenVINOExecutionProvider" in taken.stderr
    (key,) = (tmp_path / "state" / "engine-cache").iterdir()
    (encoder,) = key.iterdir()
    assert list(encoder.iterdir())

    again = gateway("verify")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["provider"] == "OpenVINOExecutionProvider"
    assert "building" not in again.stderr


def test_with_the_usual_wheel_the_profile_is_refused_rather_than_run_on_the_cpu(gateway, tmp_path):
    refused = gateway("import", tiny_bundle(tmp_path / "bundle"), "--activate", python=sys.executable)

    assert refused.returncode == EXIT_UNAVAILABLE
    assert "OpenVINOExecutionProvider is not part of the installed ONNX Runtime" in refused.stderr
