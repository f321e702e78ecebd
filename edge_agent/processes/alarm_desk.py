"""One process's alarms: noticed conditions in, retained alarm messages out, and on disk so that a restart ends them.

A retained alarm outlives the process that raised it. The desk therefore keeps its active alarms in a file; after a
restart those that are not noticed again within the grace time are cleared, so that no dashboard shows yesterday's fault
for ever.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import TransientError
from edge_agent.records import Alarm, Severity
from edge_agent.storage import replace_file
from edge_agent.sync.alarms import ALARM_CODES, AlarmBook, Condition
from edge_agent.sync.messages import Message, alarm_message

log = logging.getLogger(__name__)

GRACE_S = 30.0


class AlarmDesk:
    """Thread-safe: cameras, the outbox writer and the main thread all notice conditions."""

    def __init__(self, *, file: Path, clock: Clock, publish: Callable[[Message], None]) -> None:
        self._file = file
        self._clock = clock
        self._publish = publish
        self._lock = threading.RLock()
        self._book = AlarmBook()
        self._started_s = clock.mono_s()
        self._inherited = _load(file)

    @property
    def active(self) -> tuple[Alarm, ...]:
        with self._lock:
            return self._book.active

    def note(self, condition: Condition) -> None:
        """Say that a condition holds or no longer holds; only news is published."""
        with self._lock:
            known = self._inherited.pop((condition.code, condition.subject), None)
            alarm = self._book.note(condition, known.since_utc_s if known else self._clock.utc_s())
            if alarm is None and known is not None and not condition.active:
                alarm = dataclasses.replace(known, active=False)
            if alarm is not None:
                self._tell(alarm)

    def acknowledge(self, code: str, subject: str) -> bool:
        """A person has seen it; False when no such alarm is active."""
        with self._lock:
            alarm = self._book.acknowledge(code, subject)
            if alarm is None:
                return False
            self._tell(alarm, acked=True)
            return True

    def settle(self) -> None:
        """After the grace time, clear what an earlier run left behind and nobody noticed again."""
        with self._lock:
            if self._inherited and self._clock.mono_s() - self._started_s >= GRACE_S:
                for alarm in self._inherited.values():
                    self._tell(dataclasses.replace(alarm, active=False))
                self._inherited = {}

    def repeat(self) -> None:
        """Publish the active alarms again: the broker may have lost its retained messages."""
        with self._lock:
            for alarm in self._book.active:
                for message in alarm_message(alarm, self._clock.utc_s()):
                    self._publish(message)

    def _tell(self, alarm: Alarm, *, acked: bool = False) -> None:
        level = logging.WARNING if alarm.active else logging.INFO
        state = "acked" if acked and alarm.active else "active" if alarm.active else "cleared"
        log.log(level, "alarm=%s subject=%s state=%s text=%s", alarm.code, alarm.subject, state, alarm.text)
        for message in alarm_message(alarm, self._clock.utc_s(), acked=acked):
            self._publish(message)
        try:
            _store(self._file, (*self._book.active, *self._inherited.values()))
        except TransientError as error:
            # The disk may be the very thing we are raising an alarm about.
            log.warning("alarms=unsaved file=%s reason=%s", self._file, error)


def _store(file: Path, alarms: tuple[Alarm, ...]) -> None:
    replace_file(file, json.dumps([dataclasses.asdict(alarm) for alarm in alarms]).encode())


def _load(file: Path) -> dict[tuple[str, str], Alarm]:
    """The alarms an earlier run left active; a file that cannot be read as such left none."""
    try:
        rows = json.loads(file.read_bytes())
        alarms = [Alarm(**{**row, "severity": Severity(row["severity"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return {(alarm.code, alarm.subject): alarm for alarm in alarms if alarm.code in ALARM_CODES}
