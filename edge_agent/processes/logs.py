"""What a process says on stderr: one event per unit of work with its ids, repeats counted, credentials taken out.

Under systemd a line begins with `<N>`, its syslog priority (sd-daemon(3)), so that `journalctl -p warning` works;
elsewhere with the time. `json` gives one object per line for log shippers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

from edge_agent.clock import Clock, rfc3339
from edge_agent.config.redact import redact

SYSLOG_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
REPEATS_KEPT = 256


class RepeatFilter(logging.Filter):
    """Within `repeat_s`, a message that was said already is counted; the next one shown carries the count.

    Two records are the same when logger, level and the unformatted message and its arguments are.
    """

    def __init__(self, repeat_s: float, clock: Clock) -> None:
        super().__init__()
        self._repeat_s = repeat_s
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelno, record.getMessage())
        now_s = self._clock.mono_s()
        with self._lock:
            first_s, held_back = self._seen.get(key, (-float("inf"), 0))
            if now_s - first_s < self._repeat_s:
                self._seen[key] = (first_s, held_back + 1)
                return False
            if len(self._seen) >= REPEATS_KEPT:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = (now_s, 0)
        if held_back:
            record.msg, record.args = f"{record.getMessage()} (said {held_back} more times)", ()
        return True


class LineFormatter(logging.Formatter):
    """`journal`, `text` or `json` lines; credentials in URLs never pass."""

    def __init__(self, form: str, process: str) -> None:
        super().__init__()
        self._form = form
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        message = redact(record.getMessage())
        if record.exc_info:
            message += "\n" + redact(self.formatException(record.exc_info))
        source = record.name.removeprefix("edge_agent.")
        if self._form == "json":
            line = {
                "ts": rfc3339(record.created),
                "level": record.levelname.lower(),
                "process": self._process,
                "source": source,
                "message": message,
            }
            return json.dumps(line, ensure_ascii=False)
        if self._form == "journal":
            prefix = f"<{SYSLOG_PRIORITY.get(record.levelno, 6)}>"
            # Each line of a traceback needs the prefix, or journald files it under the default priority.
            return "\n".join(f"{prefix}{source}: {line}" for line in message.split("\n"))
        return f"{rfc3339(record.created)} {record.levelname:7} {self._process} {source}: {message}"


def configure_logging(*, level: str, form: str, repeat_s: float, process: str, clock: Clock) -> None:
    """Send this process's log to stderr; `form` "auto" is `journal` when systemd's journal reads our stderr."""
    if form == "auto":
        form = "journal" if os.environ.get("JOURNAL_STREAM") else "text"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form, process))
    handler.addFilter(RepeatFilter(repeat_s, clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
