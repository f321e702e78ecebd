"""The learn process: one pass, then exit.

There is nothing to learn from yet: this release keeps no labelled pictures (the evidence store comes with the
learning gateway). The process exists so that its unit, its sandbox and its place in the order of dying are real and
tested; it says what it found and ends with exit code 0. It imports no torch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_OK
from edge_agent.processes.boot import boot

log = logging.getLogger(__name__)


def main(config_file: Path) -> int:
    """One pass with this configuration; returns the exit code.

    Raises:
        ConfigError: the configuration has faults.
    """
    started = boot("learn", config_file, secrets_of=())
    notifier = Notifier.from_environment(os.environ, started.clock)
    return run(started.settings.storage.state_dir, ready=lambda: notifier.ready("one pass"))


def run(state_dir: Path, *, ready: Callable[[], object]) -> int:
    """One learning pass over the evidence under `state_dir`: none exists, so nothing is learned, and it says so."""
    ready()
    evidence = state_dir / "evidence"
    log.info("pass=learn evidence=%s labelled=0 learned=nothing: this release keeps no labelled pictures", evidence)
    return EXIT_OK
