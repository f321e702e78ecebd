"""How much memory models take: a child process loads them, lets them look, and says the most it had.

    parent: weigh(store, digests) --JSON on stdin--> child: load, golden pictures --JSON on stdout--> bytes

The peak of a process that does nothing else is what inspection needs at least while these models are in force, session,
arena and all. No estimate from the size of a file comes near it: ONNX Runtime repacks weights and plans activations.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_agent.errors import BadBundleError, EdgeAgentError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore

# Loading takes a second; an engine was built before, when the golden answers were asked for.
WAIT_S = 120.0
_SHOWN_STDERR = 400


def weigh(root: Path, digests: Sequence[str], runtime: RuntimeOptions, flavour: str) -> int:
    """Peak resident bytes of a process in which all these bundles of the store at `root` are loaded and have looked.

    Raises:
        BadBundleError: one cannot be loaded here, or the child ended without an answer (killed for its memory).
    """
    asked = {"root": str(root), "digests": list(digests), "flavour": flavour, "runtime": _plain(runtime)}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "edge_agent.models.weighing"],
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadBundleError(f"memory: loading it took longer than {WAIT_S:.0f} s in a process of its own") from error
    try:
        answer: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        last = child.stderr.decode(errors="replace")[-_SHOWN_STDERR:].strip()
        raise BadBundleError(
            f"memory: the process that loads it ended with status {child.returncode} and no answer; "
            f"its last words: {last!r}"
        ) from None
    if "fault" in answer:
        raise BadBundleError(f"memory: {answer['fault']}")
    return int(answer["peak_bytes"])


def _plain(runtime: RuntimeOptions) -> dict[str, Any]:
    cache = runtime.engine_cache
    return asdict(runtime) | {"engine_cache": None if cache is None else str(cache)}


def _runtime(plain: dict[str, Any]) -> RuntimeOptions:
    cache = plain["engine_cache"]
    providers = tuple((name, options) for name, options in plain["providers"])
    return RuntimeOptions(**plain | {"providers": providers, "engine_cache": None if cache is None else Path(cache)})


def _peak_bytes() -> int:
    # Not ru_maxrss: exec carries the parent's over.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise BadBundleError("this kernel does not say how much memory a process had (VmHWM)")


def _main() -> int:
    asked = json.load(sys.stdin)
    store, runtime = ModelStore(Path(asked["root"])), _runtime(asked["runtime"])
    try:
        # All at once: a swap, a shadow run and a probation have the old one and the new one side by side.
        loaded = [store.verify(digest, runtime, asked["flavour"]) for digest in asked["digests"]]
        answer: dict[str, Any] = {"peak_bytes": _peak_bytes(), "models": len(loaded)}
    except EdgeAgentError as error:
        answer = {"fault": str(error)}
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
