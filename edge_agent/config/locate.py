"""Which configuration file a verb means when `--config` does not say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "EDGE_AGENT_CONFIG"
HERE = Path("agent.yaml")
INSTALLED = Path("/etc/edge-agent/agent.yaml")
HELP = f"configuration file (default: ${VARIABLE}, else ./{HERE} where it exists, else {INSTALLED})"


def locate(argument: str | Path | None, environment: Mapping[str, str] | None = None) -> Path:
    """The file: the argument, else $EDGE_AGENT_CONFIG, else ./agent.yaml where it exists, else the installed one."""
    named = argument or (os.environ if environment is None else environment).get(VARIABLE)
    if named:
        return Path(named)
    return HERE if HERE.exists() else INSTALLED
