"""Who knows which address: what a configuration's sources, triggers and signals are checked by."""

from __future__ import annotations

from edge_agent.capture.addresses import fault_of
from edge_agent.line.addresses import signal_fault, trigger_fault

FAULTS = {"source": fault_of, "trigger": trigger_fault, "signal": signal_fault}


def address_fault(kind: str, text: str) -> str | None:
    """What is wrong with an address of this kind; None when nothing is."""
    return FAULTS[kind](text)
