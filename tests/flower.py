"""An environment of its own with Flower, an independent implementation of what the coordinator computes.

Flower 1.41 asks for older rich, starlette, uvicorn and protobuf than the gateway is pinned to, so it cannot stand beside
them. Made once and kept in .cache: 0.3 GB. Its telemetry is off.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINS = ("flwr==1.41.0", "numpy==2.4.6")  # numpy as in deploy/requirements.lock: the same arrays, the same sorts
FOLDER = ROOT / ".cache" / "flower"


def python() -> Path:
    """The interpreter of that environment; it does not know this checkout."""
    interpreter, stamp = FOLDER / "bin" / "python", FOLDER / ".locked"
    wanted = "\n".join(PINS)
    if not stamp.is_file() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER)], check=True, stdout=sys.stderr)
        install = [str(interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *PINS]
        subprocess.run(install, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return interpreter


def environ() -> dict[str, str]:
    """One BLAS thread: on a busy machine Flower's Krum spends its time spinning otherwise."""
    return {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
