"""The wall clock jumps: told once, and nothing else changes. Here inspect runs in a thread, with a clock that can be set."""

import contextlib
import itertools
import threading
from pathlib import Path

from edge_agent.clock import SystemClock
from edge_agent.config.settings import load
from edge_agent.processes import inspect
from edge_agent.processes.boot import Boot, make_directories
from edge_agent.processes.runtime_plan import runtime_plan
from edge_agent.sync.doorbell import Doorbell, ringer
from tests.gateway.witness import without_gaps
from tests.waiting import until

DAY_S = 86_400.0


class SettableClock(SystemClock):
    """The machine's clocks, of which the wall clock was set by a while."""

    def __init__(self):
        self.offset_s = 0.0

    def utc_s(self):
        return super().utc_s() + self.offset_s


@contextlib.contextmanager
def inspecting(gateway, clock):
    """The inspect process as its main function builds it, without the signals of a process."""
    settings = load(gateway.config)
    make_directories(settings)
    stop = threading.Event()
    started = Boot(
        settings=settings,
        config_file=gateway.config,
        clock=clock,
        stop=stop,
        reload=threading.Event(),
        broken=threading.Event(),
    )
    path = settings.storage.runtime_dir / inspect.INSPECT_BELL
    bell = Doorbell(path)
    process = inspect._Process(started, runtime_plan(settings, Path("/"), "x86_64"))
    thread = threading.Thread(target=process.run, args=(bell,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        ringer(path)()
        thread.join(15)
        bell.close()
        assert not thread.is_alive()


def test_a_clock_that_jumps_is_told_once_and_neither_verdicts_nor_the_pace_suffer(gateway_with, line, witness):
    clock = SettableClock()
    # In the outbox older messages than of a day are dropped: the jump is of forty.
    gateway = gateway_with({"top": line}, outbox={"max_age_days": 1})
    with inspecting(gateway, clock):
        until(lambda: gateway.report("outbox")["queued"] > 20)
        clock.offset_s = 40 * DAY_S
        queued = until(lambda: gateway.report("outbox")["queued"])
        until(lambda: gateway.report("outbox")["queued"] > queued + 20)
        clock.offset_s = -40 * DAY_S
        queued = gateway.report("outbox")["queued"]
        until(lambda: gateway.report("outbox")["queued"] > queued + 20)
        assert gateway.report("outbox")["by_class"]["pass"]["evicted"] == 0

        gateway.start("sync")
        alarm = until(lambda: witness.alarm("clock-jump"))
        assert "+3456000 s" in alarm["text"]
        until(lambda: witness.parts("top") and without_gaps(witness.parts("top")) and min(witness.parts("top")) == 1)
        numbers = len(witness.said("tm"))
        until(lambda: len(witness.said("tm")) >= numbers + 3)

        parts = witness.parts("top")
        assert len({part["id"] for part in parts.values()}) == len(parts)
        # Each says when it was captured by the clock of its moment: one jump ahead, one back.
        days = [parts[number]["ts"][:10] for number in sorted(parts)]
        assert sum(one != other for one, other in itertools.pairwise(days)) == 2
        assert max(part["latency_ms"]["total"] for part in parts.values()) < 60_000
        uptimes = [said["uptime_s"] for said in witness.said("tm")]
        assert all(0 <= uptime < 60 for uptime in uptimes)

        # It stays for a person to see, who takes it away.
        witness.command("alarm-ack", "seen-1", code="clock-jump", subject="")
        until(lambda: witness.acks("alarm-ack", "seen-1") == ["accepted", "successful"])
        until(lambda: witness.alarm("clock-jump") is None)
