"""Show what waits to be sent, by class and topic: ages, what was delivered, evicted or refused.

Reads the outbox beside the running daemon, or without one; changes nothing unless asked to.

Examples:
  edge-agent outbox                 what waits, and why
  edge-agent outbox --output json   the same for scripts
  edge-agent outbox --requeue       send again what the broker refused, after its ACL or limits were corrected
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_OK

SUMMARY = "show what waits to be sent"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--state", metavar="DIR", type=Path, help="state directory (default: the configuration's)")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object")
    parser.add_argument("--requeue", action="store_true", help="put parked messages back into the queue first")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.sync.outbox import OutboxReader

    clock = SystemClock()
    path = _state_directory(arguments) / "outbox.db"
    if arguments.requeue and path.exists():
        reader = OutboxReader(path, clock)
        number = reader.requeue_parked()
        reader.close()
        if arguments.output == "text":
            print(f"{number} parked messages are queued again")
    report = report_of(path, clock.utc_s())
    print(json.dumps(report, indent=2) if arguments.output == "json" else _as_text(report))
    return EXIT_OK


def _state_directory(arguments: argparse.Namespace) -> Path:
    if arguments.state is not None:
        return Path(arguments.state)
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load

    return Path(load(locate(arguments.config), secrets_of=()).storage.state_dir)


def report_of(path: Path, now_utc_s: float) -> dict[str, Any]:
    """The outbox at `path` as plain JSON values; an outbox that does not exist yet is an empty one.

    Raises:
        TransientError: it is there and cannot be read.
    """
    from edge_agent.sync import outbox_table as table
    from edge_agent.sync.outbox_file import inspect_outbox

    if not path.exists():
        return {"file": str(path), "exists": False, "queued": 0, "queued_bytes": 0, "oldest_age_s": None}
    with inspect_outbox(path) as connection:
        stats = table.stats(connection)
        topics = table.topics(connection)
        parked = table.parked_by_reason(connection)

    def age_s(utc_s: float | None) -> float | None:
        return None if utc_s is None else round(max(0.0, now_utc_s - utc_s), 1)

    by_class = {
        priority.name.lower(): {
            "queued": counts.queued,
            "queued_bytes": counts.queued_bytes,
            "oldest_age_s": age_s(counts.oldest_utc_s),
            "delivered": counts.delivered,
            "replaced": counts.replaced,
            "evicted": counts.evicted,
            "dropped": counts.dropped,
            "parked": counts.parked,
        }
        for priority, counts in stats.by_class.items()
    }
    return {
        "file": str(path),
        "exists": True,
        "queued": stats.queued,
        "queued_bytes": stats.queued_bytes,
        "oldest_age_s": age_s(stats.oldest_utc_s),
        "by_class": by_class,
        "by_topic": [
            {
                "topic": topic.topic_tail,
                "queued": topic.queued,
                "queued_bytes": topic.queued_bytes,
                "oldest_age_s": age_s(topic.oldest_utc_s),
            }
            for topic in topics
        ],
        "parked": [{"topic": topic, "reason": reason, "messages": number} for topic, reason, number in parked],
    }


def _as_text(report: dict[str, Any]) -> str:
    if not report["exists"]:
        return f"{report['file']}: no outbox yet; the daemon makes one at its first start"
    lines = [f"{report['file']}: {report['queued']} queued, {_bytes(report['queued_bytes'])}"]
    lines += ["", f"{'class':<10}{'queued':>9}{'bytes':>11}{'oldest':>9}{'delivered':>11}{'evicted':>9}{'dropped':>9}"]
    for name, counts in report["by_class"].items():
        lines.append(
            f"{name:<10}{counts['queued']:>9}{_bytes(counts['queued_bytes']):>11}{_age(counts['oldest_age_s']):>9}"
            f"{counts['delivered']:>11}{counts['evicted']:>9}{counts['dropped']:>9}"
        )
    if report["by_topic"]:
        lines += ["", f"{'topic':<48}{'queued':>9}{'bytes':>11}{'oldest':>9}"]
    for topic in report["by_topic"]:
        lines.append(
            f"{topic['topic']:<48}{topic['queued']:>9}{_bytes(topic['queued_bytes']):>11}{_age(topic['oldest_age_s']):>9}"
        )
    if report["parked"]:
        lines += ["", "refused by the broker and parked (see --requeue):"]
    lines += [f"  {entry['topic']}: {entry['messages']} x {entry['reason']}" for entry in report["parked"]]
    return "\n".join(lines)


def _bytes(number: int) -> str:
    if number < 10_000:
        return f"{number} B"
    return f"{number / 1024:.0f} KiB" if number < 10_000_000 else f"{number / 2**20:.0f} MiB"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "-"
    return f"{age_s:.0f} s" if age_s < 600 else f"{age_s / 60:.0f} min" if age_s < 36_000 else f"{age_s / 3600:.0f} h"
