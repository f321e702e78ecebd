"""`models history`: every step of every model, from the journal."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from typing import TYPE_CHECKING

from edge_agent.cli.models.place import place_of
from edge_agent.errors import EXIT_OK

if TYPE_CHECKING:
    from edge_agent.models.journal import Step

STYLES = {"refused": "red", "failed": "red", "rolled-back": "yellow", "dismissed": "yellow", "promoted": "green"}
STYLES |= {"activated": "green", "kept": "green"}


def history(arguments: argparse.Namespace) -> int:
    """The last steps, the newest last."""
    found = place_of(arguments).store.journal.read()
    steps = [step for step in found.steps if arguments.name in (None, step.name)]
    if arguments.digest is not None:
        steps = [step for step in steps if any(d and d.startswith(arguments.digest) for d in _digests(step))]
    steps = steps[-arguments.limit :]
    if found.damaged:
        print(f"{found.damaged} lines of the journal cannot be read, and are passed over", file=sys.stderr)
    if arguments.output == "json":
        print(json.dumps([json.loads(step.to_line()) for step in steps], indent=2))
        return EXIT_OK
    if not steps:
        print("no steps yet")
        return EXIT_OK
    _print(steps)
    return EXIT_OK


def _digests(step: Step) -> tuple[str | None, ...]:
    return step.digest, step.from_digest


def _print(steps: list[Step]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    names = max(len(step.name) for step in steps)
    for step in steps:
        line = Text(f"{when(step.at_utc_s)}  ")
        line.append(f"{step.event.value:<11}", STYLES.get(step.event.value, ""))
        line.append(f" {step.name:<{names}}  {step.digest[:12]}  {plain(step.by)}")
        console.print(line)
        for reason in step.reasons:
            # Below its step: reasons are sentences, and 80 columns must do.
            console.print(Padding(Text(plain(reason), "dim"), (0, 0, 0, 13)))


def when(utc_s: float) -> str:
    """Local time for people."""
    return dt.datetime.fromtimestamp(utc_s, tz=dt.timezone.utc).astimezone().strftime("%m-%d %H:%M")


def plain(text: str) -> str:
    """Names and reasons may quote what came from outside: nothing in them may steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def sentence(step: Step, digest: str) -> str:
    """A step in the life of the bundle `digest` as one line."""
    moment = dt.datetime.fromtimestamp(step.at_utc_s, tz=dt.timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")
    other = step.from_digest if step.digest == digest else step.digest
    if step.digest == digest:
        what = step.event.value + (f" (before: {other[:12]})" if other else "")
    else:
        what = f"{step.event.value} {step.digest[:12]} in its place or beside it"
    why = f": {plain('; '.join(step.reasons))}" if step.reasons else ""
    return f"{moment} {what} by {plain(step.by)}{why}"
