"""An environment of its own with ONNX Runtime for OpenVINO, which owns the same import name as the usual wheel.

Made once, from the pins of deploy/requirements.lock with one wheel exchanged, and kept in .cache: half a gigabyte.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEEL = "onnxruntime-openvino==1.24.1"
# What a measurement or a test inside it needs beside the gateway itself.
TOOLS = ("psutil", "pytest")
FOLDER = ROOT / ".cache" / "openvino"


def python() -> Path:
    """The interpreter of that environment; this checkout is found through PYTHONPATH (`environ`)."""
    interpreter, stamp = FOLDER / "bin" / "python", FOLDER / ".locked"
    wanted = "\n".join(packages())
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True, stdout=sys.stderr)
        install = [str(interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *packages(), *TOOLS]
        subprocess.run(install, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return interpreter


def packages() -> list[str]:
    """What a gateway needs, by the lock: its first section, without the usual ONNX Runtime."""
    section = (ROOT / "deploy" / "requirements.lock").read_text().split("# the gateway\n")[1].split("\n\n")[0]
    return [WHEEL, *(line for line in section.splitlines() if not line.startswith("onnxruntime=="))]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
