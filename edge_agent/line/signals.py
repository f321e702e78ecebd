"""What the line is shown: a state table, the verdict that goes with it, and how both lie in registers. Pure.

    starting --turning--> running --silent--> stalled --turning--> running ...          stop from anywhere: stopped

In every state but running the verdict shown is the fail-safe one, whatever was found of a part. A verdict from before a
stall does not come back after it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edge_agent.line.modbus import Cells, Table, text_registers
from edge_agent.records import HoldReason, Inspection, Verdict

MAP_VERSION = 1
SEQUENCES = 65_535  # 1 to 65535, then 1 again; 0 is nothing yet
HEARTBEATS = 65_536
PART_REGISTERS = 16
BLOCK_REGISTERS = 8 + PART_REGISTERS
NO_SCORE = 65_535


class LineState(enum.IntEnum):
    """As the PLC reads it; 0 is what a register holds that we never wrote."""

    STARTING = 1
    RUNNING = 2
    STALLED = 3
    STOPPED = 4


class LineEvent(str, enum.Enum):
    TURNING = "turning"  # the inspect loop turns and the camera gives pictures
    SILENT = "silent"  # one of them does not
    STOP = "stop"


TABLE: Mapping[LineState, Mapping[LineEvent, LineState]] = {
    LineState.STARTING: {LineEvent.TURNING: LineState.RUNNING, LineEvent.STOP: LineState.STOPPED},
    LineState.RUNNING: {LineEvent.SILENT: LineState.STALLED, LineEvent.STOP: LineState.STOPPED},
    LineState.STALLED: {LineEvent.TURNING: LineState.RUNNING, LineEvent.STOP: LineState.STOPPED},
    LineState.STOPPED: {},
}

VERDICT_CODES: Mapping[Verdict, int] = {Verdict.PASS: 1, Verdict.FAIL: 2, Verdict.HOLD: 3}
# Never renumbered: PLC programs are built on them.
REASON_CODES: Mapping[HoldReason, int] = {
    HoldReason.UNSURE: 1,
    HoldReason.LEARNING: 2,
    HoldReason.OVERLOAD: 3,
    HoldReason.CAMERA: 4,
    HoldReason.MODEL: 5,
    HoldReason.PAUSED: 6,
    HoldReason.FROZEN: 7,
    HoldReason.REPEATED: 8,
    HoldReason.DARK: 9,
    HoldReason.OVEREXPOSED: 10,
    HoldReason.BLURRED: 11,
    HoldReason.MOVED: 12,
    HoldReason.NO_PICTURE: 13,
    HoldReason.LATE: 14,
    HoldReason.RECIPE: 15,
    HoldReason.STOPPING: 16,
}
# No verdict at all is shown: nothing was judged yet, or what was judged could not be told in time.
NOTHING_TOLD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What one camera's block shows. `safe` is what it shows where there is no verdict to rely on.

    `sequence` is the number of the newest verdict: a PLC that sees it jump has missed some.
    """

    safe: Verdict
    verdict: Verdict
    state: LineState = LineState.STARTING
    sequence: int = 0
    heartbeat: int = 0
    reason: int = NOTHING_TOLD
    score: float | None = None
    part: str | None = None

    @property
    def text(self) -> str:
        """The reason in words; empty where there is none."""
        return REASON_TEXTS.get(self.reason, "")


REASON_TEXTS: Mapping[int, str] = {code: reason.value for reason, code in REASON_CODES.items()} | {
    NOTHING_TOLD: "nothing-told"
}


def first_output(safe: Verdict) -> Output:
    """What is shown before anything happened."""
    return Output(safe=safe, verdict=safe)


def moved(output: Output, event: LineEvent) -> Output:
    """The output after an event; the same where the table has no such move."""
    state = TABLE[output.state].get(event)
    return output if state is None else untold(replace(output, state=state), output.sequence)


def told(output: Output, inspection: Inspection, sequence: int) -> Output:
    """The output after a verdict. In any state but running the part is answered with the fail-safe verdict."""
    running = output.state is LineState.RUNNING
    reason = 0 if inspection.reason is None else REASON_CODES[inspection.reason]
    return replace(
        output,
        verdict=inspection.verdict if running else output.safe,
        sequence=sequence,
        reason=reason if running else reason or NOTHING_TOLD,
        score=inspection.score if running else None,
        part=inspection.part,
    )


def untold(output: Output, sequence: int) -> Output:
    """The fail-safe output, in whatever state; `sequence` is that of the newest verdict nobody was shown."""
    return replace(output, verdict=output.safe, sequence=sequence, reason=NOTHING_TOLD, score=None, part=None)


def next_sequence(sequence: int) -> int:
    return sequence % SEQUENCES + 1


def registers(output: Output) -> tuple[int, ...]:
    """The block of one camera, as docs/line.md describes it; written in one request, so that it is never half new."""
    score = NO_SCORE if output.score is None else min(1000, max(0, round(output.score * 1000)))
    return (
        output.state,
        output.heartbeat,
        output.sequence,
        VERDICT_CODES[output.verdict],
        output.reason,
        score,
        MAP_VERSION,
        0,  # reserved
        *text_registers(output.part or "", PART_REGISTERS),
    )


def blocks(table: Table, start: int, cameras: tuple[str, ...]) -> dict[str, Cells]:
    """Each camera's block, one behind the other."""
    return {
        camera: Cells(table=table, start=start + place * BLOCK_REGISTERS, count=BLOCK_REGISTERS)
        for place, camera in enumerate(cameras)
    }


def fields(camera: str, output: Output) -> dict[str, int | str]:
    """The same for those who read names: a unix socket, an OPC UA server."""
    return {
        "camera": camera,
        "state": output.state.name,
        "heartbeat": output.heartbeat,
        "sequence": output.sequence,
        "verdict": output.verdict.value,
        "reason": output.text,
        "part": output.part or "",
    }
