"""Show the running daemon: cameras, verdicts, latency, alarms, broker and queue.

Reads what the daemon writes about itself each second; opens no camera and no connection of its own.

Examples:
  edge-agent status                 live view, Ctrl-C ends it
  edge-agent status --once          one look, exit 0 when every process runs, 75 when one does not
  edge-agent status --output json   one look for scripts
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from typing import Any

from edge_agent.errors import EXIT_OK, EXIT_TEMPORARY

REFRESH_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--once", action="store_true", help="one look instead of a live view")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object and ends")


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.live import Live

    from edge_agent.cli.screen import screen
    from edge_agent.clock import SystemClock
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load
    from edge_agent.processes.finetuning.news import read_news
    from edge_agent.processes.live import fresh_inspect, fresh_json

    settings = load(locate(arguments.config), secrets_of=())
    runtime = settings.storage.runtime_dir
    clock = SystemClock()
    title = f"Edge Agent  {settings.topic_root}/{settings.site.gateway}"

    def look() -> tuple[Any, dict[str, Any] | None]:
        now_s = clock.utc_s()
        return fresh_inspect(runtime / "inspect.json", now_s), fresh_json(runtime / "sync.json", now_s)

    if arguments.output == "json":
        print(json.dumps(_plain(runtime, *look()), indent=2))
    if arguments.once or arguments.output == "json":
        live, sync = look()
        if arguments.output == "text":
            console = Console()
            console.print(screen(live, sync, title=title, width=console.width, learning=read_news(runtime)))
        return EXIT_OK if live is not None and sync is not None else EXIT_TEMPORARY
    never = threading.Event()
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as display:
        while not clock.wait(never, REFRESH_S):
            seen = screen(*look(), title=title, width=console.width, learning=read_news(runtime))
            display.update(seen, refresh=True)
    return EXIT_OK


def _plain(runtime: Path, live: Any, sync: dict[str, Any] | None) -> dict[str, Any]:
    import dataclasses

    from edge_agent.processes.finetuning.news import read_news

    news = read_news(runtime)
    return {
        "runtime_dir": str(runtime),
        "inspect": dataclasses.asdict(live) if live is not None else None,
        "sync": sync,
        "finetune": None if news is None else dataclasses.asdict(news),
    }
