"""The file that says that there is something to learn: renewed by whoever writes a label, watched by systemd and by us.

systemd/edge-agent-learn.path starts the learn unit when it changes; `edge-agent run` does the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import TransientError
from edge_agent.storage import replace_file

log = logging.getLogger(__name__)

NAME = "learn.request"


def ask(state_dir: Path) -> None:
    """Ask for a learning pass.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: nobody was asked; the timer comes at night.
    """
    # A new file each time: whoever made the last one, a person as root or the service, the next may ask too.
    replace_file(state_dir / NAME, b"", durable=False)


def asking(state_dir: Path) -> Callable[[], None]:
    """What asks for a pass and never fails: the label is written, and the timer comes at night all the same."""

    def told() -> None:
        try:
            ask(state_dir)
        except TransientError as error:
            log.warning("learn=unasked reason=%s", error)

    return told


def asked_ns(state_dir: Path) -> int | None:
    """When a pass was last asked for, None when never."""
    try:
        return (state_dir / NAME).stat().st_mtime_ns
    except OSError:
        return None
