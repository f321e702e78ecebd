"""A signal whose package is not installed: lost from the start, with what to install as the reason."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.errors import LineError
from edge_agent.line.signals import Output


class MissingPort:
    """Implements edge_agent.line.signaller.Port."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def write(self, _outputs: Mapping[str, Output]) -> None:
        raise LineError(self._reason)

    def close(self) -> None:
        """Nothing."""
