"""From what a PLC's cells say, look after look, to triggers and acknowledgements. Pure.

edge      0 -> not 0 is a part; with an acknowledgement: ack = 1 until the PLC takes its trigger back, then 0
counter   each step is a part; the acknowledgement repeats the counter
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.line.addresses import ModbusTrigger
from edge_agent.line.modbus import Cells, registers_number, registers_text

# A counter that moved further than this did not count parts meanwhile: the PLC started over.
MOST_MISSED = 100
_COUNTER_TURN = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at the trigger cell means.

    `parts` are there now: the last of them is the one whose data stand in the cells, those before it were missed.
    `ack` is to be written, None for nothing. `note` is something a person should know.
    """

    parts: int = 0
    ack: int | None = None
    note: str | None = None


class Handshake:
    """Remembers the last value. `look` is told each value in turn; also after a lost connection, where it matters."""

    def __init__(self, *, counter: bool, acked: bool) -> None:
        self._counter = counter
        self._acked = acked
        self._last: int | None = None

    def look(self, value: int) -> Look:
        """The trigger cell holds `value` now."""
        last, self._last = self._last, value
        return self._count(last, value) if self._counter else self._edge(last, value)

    def _edge(self, last: int | None, value: int) -> Look:
        if value == 0:
            # Also at the first look: an acknowledgement that an earlier run left behind would hold the PLC up for ever.
            return Look(ack=0 if self._acked and last != 0 else None)
        if last is None and not self._acked:
            return Look(note="the trigger was set already when we first looked: that part is not judged")
        # With an acknowledgement the PLC waits for it: a trigger found set is a part that still lies there.
        return Look(parts=1, ack=1 if self._acked else None) if not last else Look()

    def _count(self, last: int | None, value: int) -> Look:
        ack = value if self._acked and value != last else None
        steps = 0 if last is None else (value - last) % _COUNTER_TURN
        if steps > MOST_MISSED:
            return Look(ack=ack, note=f"the counter went from {last} to {value}: the PLC started over")
        return Look(parts=steps, ack=ack)


def spans(address: ModbusTrigger) -> tuple[Cells, ...]:
    """What to read, the trigger's own span first: what lies together is read together, so that it is of one moment."""
    first, rest = address.cell, []
    for cells in (address.part, address.recipe):
        if cells is None:
            continue
        start, stop = min(first.start, cells.start), max(first.stop, cells.stop)
        if cells.table is first.table and stop - start <= first.table.most_read:
            first = Cells(table=first.table, start=start, count=stop - start)
        else:
            rest.append(cells)
    return (first, *rest)


def said(cells: Cells | None, read: Mapping[Cells, Sequence[int]]) -> str | None:
    """The text or number that `cells` hold, found in the spans that were read; None where there is none.

    Raises:
        LineError: no printable text stands there.
    """
    if cells is None:
        return None
    values = next(
        values[cells.start - span.start :][: cells.count]
        for span, values in read.items()
        if span.table is cells.table and span.start <= cells.start and cells.stop <= span.stop
    )
    return str(registers_number(values)) if cells.number else registers_text(values)
