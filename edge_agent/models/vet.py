"""May this ONNX file be loaded? Asked of a child process with little memory, little time and an empty directory.

    parent: vet(bytes) --stdin--> child: limits itself, then length -> parse -> rules -> dry run --stdout--> JSON

ONNX files are programs written by strangers, and their parsers have had faults of their own (CVE-2022-25882,
2024-27318, 2024-5187, 2025-51480, 2026-34445), so the daemon itself never parses one before a child has, and never
imports `onnx` at all.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import edge_agent
from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.models.vetting import VetLimits, VetReport, require_size

_ANSWER_MAX_BYTES = 64 * 1024
_SHOWN_STDERR = 400
_MIB = 1024 * 1024


def vet(content: bytes, limits: VetLimits | None = None) -> VetReport:
    """Hold an ONNX file to the rules of `edge_agent.models.rules`, then run it once, all in a child process.

    Raises:
        BadBundleError: refused; the message says what was found and what is allowed.
    """
    bounds = limits or VetLimits()
    require_size(len(content), bounds)
    with tempfile.TemporaryDirectory(prefix="edge-agent-vet-") as empty:
        try:
            child = subprocess.run(
                [sys.executable, "-m", "edge_agent.models.vet", json.dumps(asdict(bounds))],
                input=content,
                capture_output=True,
                timeout=bounds.wall_s,
                cwd=empty,
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BadBundleError(f"model: vetting took longer than {bounds.wall_s} s; refused") from error
    return _read_answer(child, bounds)


def _environment() -> dict[str, str]:
    """Nothing of the parent's but where our package is; one thread, or each pool reserves addresses of its own."""
    return {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(edge_agent.__file__).parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _read_answer(child: subprocess.CompletedProcess[bytes], limits: VetLimits) -> VetReport:
    """The child's last words; a child that died without any was killed by its limits or by the file."""
    try:
        answer = json.loads(child.stdout[:_ANSWER_MAX_BYTES])
    except ValueError:
        last = child.stderr.decode(errors="replace")[-_SHOWN_STDERR:].strip()
        raise BadBundleError(
            f"model: the child that vets it ended with status {child.returncode} and no answer; allowed are "
            f"{limits.address_space_bytes // _MIB} MiB and {limits.cpu_s} s of CPU. Its last words: {last!r}"
        ) from None
    if "refused" in answer:
        raise BadBundleError(f"model: {answer['refused']}")
    report: dict[str, Any] = answer["report"]
    height, width = report["input_px"]
    outputs = {name: tuple(shape) for name, shape in report["outputs"].items()}
    return VetReport(**report | {"input_px": (height, width), "outputs": outputs})


def _main() -> int:
    """The child: from here on the bytes on stdin are hostile and we are expendable."""
    given = json.loads(sys.argv[1])
    limits = VetLimits(**{field.name: given[field.name] for field in fields(VetLimits)})
    resource.setrlimit(resource.RLIMIT_AS, (limits.address_space_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    content = sys.stdin.buffer.read(limits.file_bytes + 1)

    from edge_agent.models import rules  # noqa: PLC0415 - imports onnx, which only this child may do

    try:
        require_size(len(content), limits)
        answer: dict[str, Any] = {"report": asdict(rules.examine(content, limits))}
    except (RefusedError, MemoryError) as error:
        answer = {"refused": str(error) or f"needs more than {limits.address_space_bytes // _MIB} MiB"}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
