"""deploy/probe-device.sh: the text that a person with a board pastes into an issue."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.device.detect import detect
from edge_agent.device.health import temperatures_c

SCRIPT = Path(__file__).parents[2] / "deploy" / "probe-device.sh"
TREES = Path(__file__).parents[1] / "data" / "devices"
SERIAL = "1424322000123"


def probe(root: Path, python: str = "no-such-python") -> str:
    """What the script prints of a tree; nothing may be said on stderr, whatever is missing."""
    environment = {"PATH": os.environ["PATH"], "PROBE_ROOT": str(root), "PYTHON": python, "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(["sh", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stderr == ""
    return ran.stdout


@pytest.mark.parametrize("tree", sorted(path.name for path in TREES.iterdir() if path.is_dir()))
def test_it_tells_all_that_detection_and_health_go_by(tree):
    text, device = probe(TREES / tree), detect(TREES / tree, "aarch64")
    assert device.model is None or f"model: {device.model}" in text
    assert all(module in text for module in device.modules)
    assert " ".join(device.compatible) in text
    assert all(flag in text for flag in device.cpu_flags)
    if (TREES / tree / "etc/nvpmodel.conf").exists():
        names = (TREES / tree / "etc/nvpmodel.conf").read_text().splitlines()
        assert all(line in text for line in names if "POWER_MODEL" in line)
    zones = temperatures_c(TREES / tree).keys() - {"coretemp", "k10temp"}
    assert all(f"\n{zone}: " in text for zone in zones)


def test_it_tells_no_serial_number_and_no_name_of_the_machine(tmp_path):
    root = tmp_path / "board"
    shutil.copytree(TREES / "jetson-orin-nano-8gb", root)
    for place in ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number", "etc/hostname"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(SERIAL + "\0")
    (root / "etc/machine-id").write_text(SERIAL)
    with (root / "proc/cpuinfo").open("a") as file:
        file.write(f"Serial\t\t: {SERIAL}\n")
    text = probe(root)
    assert "Developer Kit Super" in text
    assert SERIAL not in text
    assert os.uname().nodename not in text


def test_a_machine_without_any_of_these_files_is_a_text_too(tmp_path):
    text = probe(tmp_path)
    assert "compatible: -" in text


def test_bytes_that_are_no_text_do_not_come_out(tmp_path):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"board\x1b[31m\x07 one\0")
    assert "model: board[31m one\n" in probe(tmp_path)


def test_the_providers_of_the_python_that_is_named_are_listed(tmp_path):
    assert "CPUExecutionProvider" in probe(tmp_path, sys.executable)


def test_it_uses_no_network_and_no_camera():
    words = SCRIPT.read_text().split()
    assert not {"curl", "wget", "ssh", "scp", "nc", "ping", "ip", "hostname", "v4l2-ctl", "nvidia-smi"} & set(words)
