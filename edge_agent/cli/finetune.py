"""Train the encoder on this gateway's labelled pictures: see how it goes, start it, cancel it.

By itself it runs at night, where learning.fine_tuning.enabled says so (docs/learning.md). A start by hand waits for no
window; budgets of heat, power, memory, CPU time and frames hold all the same. Both are carried out by the running
gateway (edge-agent run, or edge-agent-finetune.path under systemd).

Examples:
  edge-agent finetune                 how it goes, or when it goes on and why not now
  edge-agent finetune --now           start; in a terminal with a progress bar, which Ctrl-C leaves without harm
  edge-agent finetune --cancel        stop, and drop what the run has learned
  edge-agent finetune --watch         the progress bar of a run that goes on
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_FAULT, EXIT_OK, EXIT_TEMPORARY

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from edge_agent.processes.finetuning.news import ModelNews, News

SUMMARY = "train the encoder on this gateway's labelled pictures: how it goes, start, cancel"
REFRESH_S = 0.5
START_S = 60.0  # from a request to the first word of the process, on a slow board


def configure(parser: argparse.ArgumentParser) -> None:
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--now", action="store_true", help="start a run, or go on with one, outside its window too")
    action.add_argument("--cancel", action="store_true", help="stop a run and drop it")
    action.add_argument("--watch", action="store_true", help="follow the run with a progress bar until it ends")
    parser.add_argument("--model", metavar="NAME", help="of this model only (default: every one in use)")
    parser.add_argument("--by", metavar="NAME", help="who asks (default: the user)")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object and ends")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.cli.person import person
    from edge_agent.clock import SystemClock
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load
    from edge_agent.errors import RefusedError
    from edge_agent.processes.finetuning.request import ask

    settings, clock = load(locate(arguments.config), secrets_of=()), SystemClock()
    names = sorted({name for camera in settings.cameras.values() for name in camera.model_names})
    if arguments.model not in (None, *names):
        raise RefusedError(f"no camera uses model {arguments.model!r}, in use are {', '.join(names)}")
    state_dir, runtime_dir = settings.storage.state_dir, settings.storage.runtime_dir
    if arguments.now or arguments.cancel:
        action = "start" if arguments.now else "cancel"
        request = ask(state_dir, action, by=person(arguments.by), clock=clock, model=arguments.model)  # type: ignore[arg-type]  # one of two words
        if arguments.output == "json":
            print(json.dumps({"request": request.id, "action": action}))
        else:
            print(f"asked the gateway to {action}; edge-agent finetune says how it goes")
        if arguments.cancel or arguments.output == "json" or not sys.stderr.isatty():
            return EXIT_OK
    if arguments.now or arguments.watch:
        return _follow(runtime_dir, clock)
    return _tell(runtime_dir, arguments.output)


def _tell(runtime_dir: Path, output: str) -> int:
    import dataclasses

    from edge_agent.processes.finetuning.news import describe, read_news

    news = read_news(runtime_dir)
    if output == "json":
        print(json.dumps(None if news is None else dataclasses.asdict(news), indent=2))
    elif news is None:
        print("nothing is known: no finetune process has looked since this machine was started")
    else:
        for model in news.models:
            print(describe(model) + _past(model))
    return EXIT_TEMPORARY if news is None else EXIT_OK


def _past(model: ModelNews) -> str:
    import datetime as dt

    if model.last_ended_utc_s is None or model.state in ("done", "cancelled"):
        return ""
    when = dt.datetime.fromtimestamp(model.last_ended_utc_s, tz=dt.timezone.utc).astimezone()
    return f"; last run {model.last_result} {when:%Y-%m-%d %H:%M}"


def _follow(runtime_dir: Path, clock: Clock) -> int:
    """A bar for each model until nothing is at work any more; the exit code says whether all went well."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    from edge_agent.processes.finetuning.news import AT_WORK, describe, read_news

    never, began_s, since_utc_s = threading.Event(), clock.mono_s(), clock.utc_s()
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    last: News | None = None
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}
        while not clock.wait(never, REFRESH_S):
            news = read_news(runtime_dir)
            if news is None or (news.written_utc_s < since_utc_s and not news.running):
                if clock.mono_s() - began_s < START_S:
                    continue
                break
            last = news
            for model in news.models:
                if model.model not in tasks:
                    tasks[model.model] = bars.add_task(model.model, total=None)
                bars.update(
                    tasks[model.model],
                    description=describe(model),
                    completed=model.step,
                    total=model.steps or None,
                )
            if not news.running and not any(model.state in AT_WORK for model in news.models):
                break
    if last is None:
        print("no finetune process answers: edge-agent run, or systemctl start edge-agent.target", file=sys.stderr)
        return EXIT_TEMPORARY
    return EXIT_FAULT if any(model.state == "failed" for model in last.models) else EXIT_OK
