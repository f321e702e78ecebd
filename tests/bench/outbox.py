"""Inspections queued over an outage, then drained to a subscriber through a real broker on loopback.

The gateway's two ends are the real ones: the writer that the inspect process uses, and the sync process as a process of
its own. The broker is down while the queue fills. `lost` counts ids that were committed and never reached the
subscriber, `duplicated_applied` parts that a subscriber which drops repeated ids would have applied twice.
`messages_per_s` runs from the broker's start to the last delivery, the connection included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.records import Inspection, Latency, Region, Verdict, ulid
from edge_agent.sync.doorbell import ringer
from edge_agent.sync.messages import inspection_message
from edge_agent.sync.outbox import OutboxWriter
from tests.bench.report import Options, Progress, run_bench
from tests.fakes.broker import Broker, Listener

QUEUED, QUEUED_QUICK = 100_000, 10_000
TARGET_PER_S = 1000
CHILD = """
import json, sys, threading
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.processes.sync import SyncOptions, run
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.topics import Branch
state, url = sys.argv[1:]
options = SyncOptions(state_dir=Path(state), runtime_dir=Path(state), version="bench",
                      branch=Branch(root=("bench",), gateway="gw-1"), mqtt=MqttOptions(url=url, client_id="gw-1"))
run(options, clock=SystemClock(), stop=threading.Event())
"""


def inspection(number: int) -> Inspection:
    """A part as the inspect process would report it; one in twenty fails."""
    failed = number % 20 == 0
    utc_s = time.time()
    return Inspection(
        id=ulid(utc_s),
        camera=f"press-{number % 4}",
        sequence=number,
        captured_utc_s=utc_s,
        verdict=Verdict.FAIL if failed else Verdict.PASS,
        label="scratch" if failed else "ok",
        score=0.93 if failed else 0.02,
        threshold=0.5,
        reason=None,
        where=Region(x=0.1, y=0.2, width=0.1, height=0.1) if failed else None,
        model="0" * 64,
        latency=Latency(queue_ms=0.1, prepare_ms=1.0, encode_ms=8.0, decide_ms=0.1, total_ms=9.2),
    )


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    """One outage and one drain; repeats would only repeat the same queue."""
    number = QUEUED_QUICK if options.quick else QUEUED
    with tempfile.TemporaryDirectory(prefix="ea") as directory:
        state = Path(directory) / "s"
        state.mkdir()
        broker = Broker(Path(directory) / "b")
        sync = subprocess.Popen([sys.executable, "-c", CHILD, str(state), broker.url], stderr=subprocess.DEVNULL)
        try:
            committed, queue_s = _queue(state, number, progress)
            with broker, Listener(broker, ("bench/ev1/gw-1/insp/#",)) as listener:
                deliveries, drain_s = _drain(listener, len(committed), progress)
        finally:
            sync.kill()
            sync.wait()
    # A receiver that drops repeated ids; what it applies twice nevertheless came under two ids.
    applied: set[str] = set()
    parts: Counter[tuple[str, int]] = Counter()
    for delivery in deliveries:
        if delivery["id"] not in applied:
            applied.add(delivery["id"])
            parts[delivery["camera"], delivery["sequence"]] += 1
    return {
        "queued": len(committed),
        "delivered": len(applied & committed),
        "lost": len(committed - applied),
        "duplicated_applied": sum(times - 1 for times in parts.values()),
        "repeated_deliveries": len(deliveries) - len(applied),
        "messages_per_s": round(len(applied) / drain_s, 1),
        "queue_per_s": round(len(committed) / queue_s, 1),
        "target_messages_per_s": TARGET_PER_S,
        "runs": 1,
    }


def _queue(state: Path, number: int, progress: Progress) -> tuple[set[str], float]:
    """Put `number` inspections; their ids once all of them are durable, and the seconds it took."""
    began_s = time.monotonic()
    writer = OutboxWriter(state / "outbox.db", SystemClock(), listener=print, ring=ringer(state / "sync.bell"))
    ids = set()
    for index in range(number):
        part = inspection(index)
        ids.add(part.id)
        writer.put(inspection_message(part))
        if index % 10_000 == 9_999:
            # A line is slower than this loop; waiting here keeps the memory bound from dropping anything.
            if not writer.flush(60):
                raise RuntimeError("the outbox was not written within 60 s")
            progress("queue", index + 1, number)
    if not writer.flush(60):
        raise RuntimeError("the outbox was not written within 60 s")
    writer.close()
    return ids, time.monotonic() - began_s


def _drain(listener: Listener, number: int, progress: Progress) -> tuple[list[dict[str, Any]], float]:
    """Payloads in the order of their arrival, and the seconds from the broker's start to the last new one."""
    began_s = time.monotonic()
    seen: set[str] = set()
    read = 0
    while len(seen) < number:
        wanted = min(read + max(1, number // 50), read + number - len(seen))
        listener.wait_for(lambda heard, wanted=wanted: len(heard) >= wanted, 60)
        seen.update(json.loads(message.payload)["id"] for message in listener.heard[read:wanted])
        read = wanted
        progress("drain", len(seen), number)
    seconds = time.monotonic() - began_s
    return [json.loads(message.payload) for message in listener.heard], seconds


if __name__ == "__main__":
    run_bench("outbox", measure)
