"""The bench `quantise` keeps its promise on form: one JSON object on the last line, and absent sets said so."""

import json
import subprocess
import sys

import pytest


@pytest.mark.train
def test_quantise_prints_its_keys_and_says_which_sets_are_absent(tmp_path):
    command = [sys.executable, "-m", "tests.bench.quantise", "--json", "--quick", "--size", "64", "--data", tmp_path]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    result = json.loads(done.stdout.splitlines()[-1])
    assert {"fp32_ms", "int8_ms", "speedup", "f1_fp32", "f1_int8", "machine", "versions", "runs", "seconds"} <= set(
        result
    )
    assert result["speedup"] == pytest.approx(result["fp32_ms"] / result["int8_ms"])
    assert [path.split("/")[-2] for path in result["absent"]] == ["steelmp", "pcbmp"]
