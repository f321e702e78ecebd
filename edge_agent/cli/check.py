"""Try everything a start needs, for real: cameras opened, the model run, a message sent to the broker and back.

One line for each thing, with what to do where something is amiss. Run it as the daemon's user
(sudo -u edge-agent edge-agent check) to see what the daemon will see. While the daemon runs, its cameras are not opened
a second time: the check asks the daemon.

Exit codes: 0 ok or warnings only, 78 the configuration is not valid, 1 something else failed.

Examples:
  edge-agent check                                  everything
  edge-agent check --list                           the checks and their ids
  edge-agent check --dont-run broker-round-trip     leave one out (may be repeated; a group's name works too)
  edge-agent check --output json | jq '.checks[] | select(.level != "ok")'
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_agent.processes.checks.finding import Context
    from edge_agent.processes.checks.table import Result

SUMMARY = "try everything a start needs"
DEFAULT_FRAMES = 5
# Level -> sign, the same for terminals without Unicode, ANSI colour.
GLYPHS = {
    "ok": ("√", "ok", "32"),
    "warning": ("‼", "!!", "33"),
    "error": ("×", "xx", "31"),  # noqa: RUF001 - a sign, not a letter
    "skipped": ("-", "-", "2"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    from edge_agent.config.locate import HELP

    parser.add_argument("--config", metavar="FILE", help=HELP)
    parser.add_argument("--list", action="store_true", help="print the checks and end")
    parser.add_argument("--dont-run", metavar="ID", action="append", default=[], help="leave out a check or a group")
    parser.add_argument("--warnings-as-errors", action="store_true", help="end with 1 when there is a warning")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object at the end")
    parser.add_argument(
        "--frames", type=int, default=DEFAULT_FRAMES, metavar="N", help=f"frames of each camera ({DEFAULT_FRAMES})"
    )


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.processes.checks.table import CHECKS, exit_code, run_checks

    if arguments.list:
        for check in CHECKS:
            print(f"{check.id:24} {check.group}: {check.title}")
        return 0
    unknown = [word for word in arguments.dont_run if word not in {c.id for c in CHECKS} | {c.group for c in CHECKS}]
    if unknown:
        print(f"edge-agent check: --dont-run {unknown[0]}: no such check, see --list", file=sys.stderr)
        return 2
    context = _context(arguments)
    chosen = [check for check in CHECKS if check.group not in arguments.dont_run]
    results: list[Result] = []
    printer = _printer() if arguments.output == "text" else None
    for result in run_checks(context, chosen, arguments.dont_run):
        results.append(result)
        if printer is not None:
            printer.show(result)
    code = exit_code(context, results, warnings_as_errors=arguments.warnings_as_errors)
    if printer is not None:
        printer.end(results)
    else:
        print(json.dumps(_report(context, results, code), indent=2))
    return code


def _context(arguments: argparse.Namespace) -> Context:
    import os
    import platform
    from pathlib import Path

    from edge_agent.clock import SystemClock
    from edge_agent.config.faults import Fault, InvalidConfigError
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load
    from edge_agent.processes.addresses import Addresses
    from edge_agent.processes.checks.finding import Context

    file = locate(arguments.config)
    settings, faults = None, tuple[Fault, ...]()
    try:
        settings = load(file, addresses=Addresses())
    except InvalidConfigError as error:
        faults = error.faults
    return Context(
        config_file=file,
        settings=settings,
        faults=faults,
        root=Path("/"),
        machine=platform.machine(),
        environment=os.environ,
        clock=SystemClock(),
        frames=max(1, arguments.frames),
    )


def _printer() -> _Printer:
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return _Printer(colour=sys.stdout.isatty(), unicode=encoding == "utf8")


class _Printer:
    """Groups with a headline, a line for each finding, and advice below it."""

    def __init__(self, *, colour: bool, unicode: bool) -> None:
        self._colour, self._unicode = colour, unicode
        self._group = ""

    def show(self, result: Result) -> None:
        check, finding = result.check, result.finding
        if check.group != self._group:
            print(f"\n{check.group.capitalize()}" if self._group else check.group.capitalize())
            self._group = check.group
        sign, plain, colour = GLYPHS[finding.level.value]
        glyph = sign if self._unicode else plain
        mark = f"\x1b[{colour}m{glyph}\x1b[0m" if self._colour else glyph
        subject = f" {finding.subject}" if finding.subject else ""
        text = finding.text.replace("\n", "\n    ")
        print(f"{mark} {check.title}{subject}: {text}", flush=True)
        if finding.advice:
            print(f"    {finding.advice}", flush=True)

    def end(self, results: list[Result]) -> None:
        counts = {level: sum(r.finding.level.value == level for r in results) for level in GLYPHS}
        words = [f"{count} {level}" for level, count in counts.items() if count]
        print("\n" + ", ".join(words))


def _report(context: Context, results: list[Result], code: int) -> dict[str, Any]:
    import dataclasses

    return {
        "config": str(context.config_file),
        "exit_code": code,
        "faults": [dataclasses.asdict(fault) for fault in context.faults],
        "checks": [
            {
                "id": result.check.id,
                "group": result.check.group,
                "title": result.check.title,
                "subject": result.finding.subject,
                "level": result.finding.level.value,
                "text": result.finding.text,
                "advice": result.finding.advice,
            }
            for result in results
        ],
    }
