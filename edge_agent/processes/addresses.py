"""Who knows which address: what a configuration's sources, triggers and signals are checked by."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.capture.addresses import fault_of
from edge_agent.line.addresses import signal_fault, trigger_fault
from edge_agent.line.room import overlap

FAULTS = {"source": fault_of, "trigger": trigger_fault, "signal": signal_fault}


class Addresses:
    """Implements edge_agent.config.keys.AddressBook."""

    def fault(self, kind: str, text: str) -> str | None:
        return FAULTS[kind](text)

    def overlap(self, triggers: Mapping[str, str], signals: Mapping[str, tuple[str, tuple[str, ...]]]) -> str | None:
        return overlap(triggers, signals)
