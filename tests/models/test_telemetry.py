"""Nothing here phones home: ONNX Runtime's own telemetry is off before the library loads."""

import os
import subprocess
import sys

import pytest

CODE = """
import {module}
from tests.fakes.tiny_model import tiny_onnx
from edge_agent.models.encoder import Encoder, RuntimeOptions
import numpy as np
encoder = Encoder.from_bytes(tiny_onnx().SerializeToString(), RuntimeOptions())
encoder.encode(np.zeros((*encoder.input_px, 3), np.uint8))
"""


@pytest.mark.parametrize(
    "module",
    ["edge_agent.models.encoder", pytest.param("edge_agent.models.build.quantise", marks=pytest.mark.train)],
)
def test_running_a_model_leaves_no_usage_events_and_no_device_id_behind(tmp_path, module):
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    subprocess.run([sys.executable, "-c", CODE.format(module=module)], check=True, env=environment)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
