"""Play a line on this machine and watch it live: broker, default model, gateway, verdicts over MQTT.

Without --images the built-in synthetic line plays, each plant with its own light, texture and noise. With --images DIR
your own pictures are judged: with class sub-folders or a manifest.csv (path,label[,split,group]) a head is learned from
one part and the other part is judged and scored; without labels the first parts are taken as good and what is unlike
them is flagged. The model is built once (a minute) and kept in the work folder.

Examples:
  edge-agent demo
  edge-agent demo --once 300
  edge-agent demo --images ~/pictures/castings
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_OK

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from edge_agent.processes.demo.fitting import Parts
    from edge_agent.processes.demo.results import Score
    from edge_agent.processes.demo.stage import Scene, View
    from edge_agent.processes.demo.watcher import Heard

SUMMARY = "play a line on this machine and watch it live"
PLAIN_EVERY_S = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, metavar="DIR", help="judge the pictures in this folder")
    parser.add_argument("--once", type=_positive, metavar="N", help="stop after N frames with a summary")
    parser.add_argument("--cameras", type=_positive, default=3, metavar="N", help="synthetic cameras (default 3)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="work folder (default ~/.cache/edge-agent/demo)")
    parser.add_argument("--embedded-broker", action="store_true", help="use the broker of the package iotcore")
    parser.add_argument("--plain", action="store_true", help="lines instead of a live screen")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def run(arguments: argparse.Namespace) -> int:
    import os

    # Before numpy loads, as in the inspect process.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from rich.console import Console

    from edge_agent.clock import SystemClock
    from edge_agent.processes.demo.stage import DemoOptions, play, stage

    console = Console()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    options = DemoOptions(
        work=arguments.work or cache / "edge-agent" / "demo",
        images=arguments.images,
        once=arguments.once,
        cameras=arguments.cameras,
        embedded_broker=arguments.embedded_broker,
    )
    clock = SystemClock()
    with _progress(console) as progress, _interrupt() as stop:

        def say(text: str) -> None:
            console.print(f"[bold]==>[/bold] {text}", highlight=False, soft_wrap=True)

        with stage(options, clock, say, progress) as scene:
            say(f"gateway: configuration {scene.workshop.config}, log {scene.workshop.log}")
            plain = arguments.plain or not console.is_terminal
            with _screen(console, scene, plain=plain) as show:
                heard = play(scene, options, clock, stop, show)
            _report(console, scene, heard)
    return EXIT_OK


@contextmanager
def _interrupt() -> Iterator[Any]:
    """Ctrl-C and SIGTERM end the demo in order, with its summary."""
    import signal
    import threading

    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per piece of long work; it ends when the piece does."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("    {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=console)
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
            bars.start()
        bars.update(tasks[what], completed=done)
        if done >= total:
            bars.stop()

    yield show


@contextmanager
def _screen(console: Console, scene: Scene, *, plain: bool) -> Iterator[Callable[[View], None]]:
    from rich.live import Live

    from edge_agent.cli.screen import screen
    from edge_agent.clock import SystemClock

    clock = SystemClock()
    title = f"Edge Agent  demo/here/ev1/demo on {scene.broker.kind}   (Ctrl-C ends)"
    last_s = [clock.mono_s()]
    if plain:

        def tell(view: View) -> None:
            if clock.mono_s() - last_s[0] >= PLAIN_EVERY_S:
                last_s[0] = clock.mono_s()
                console.print(_line(view), highlight=False, soft_wrap=True)

        yield tell
        return
    with Live(console=console, screen=False, auto_refresh=False, transient=True) as display:

        def draw(view: View) -> None:
            if clock.mono_s() - last_s[0] >= 0.25:
                last_s[0] = clock.mono_s()
                display.update(screen(view.live, view.sync, title=title, width=console.width), refresh=True)

        yield draw


def _line(view: View) -> str:
    from edge_agent.processes.demo.results import count

    counts = count(view.heard)
    verdicts = "  ".join(f"{name} {counts.verdicts.get(name, 0)}" for name in ("PASS", "FAIL", "HOLD"))
    broker = "connected" if view.sync and view.sync.get("connected") else "not connected"
    fps = sum(camera.fps for camera in view.live.cameras.values()) if view.live else 0.0
    return f"    {counts.total:6} heard over MQTT  {verdicts}  {fps:.0f} frames/s  broker {broker}"


def _report(console: Console, scene: Scene, heard: list[Heard]) -> None:
    from rich.table import Table

    from edge_agent.processes.demo.flagged import draw_flagged
    from edge_agent.processes.demo.results import count, score

    counts = count(heard)
    table = Table(title="summary", title_justify="left", box=None, show_header=False, padding=(0, 2))
    table.add_row("verdicts heard over MQTT", str(counts.total))
    for name, style in (("PASS", "green"), ("FAIL", "red"), ("HOLD", "yellow")):
        table.add_row(f"[{style}]{name}[/{style}]", str(counts.verdicts.get(name, 0)))
    if counts.labels:
        table.add_row("FAIL by label", ", ".join(f"{name} {number}" for name, number in counts.labels.items()))
    if counts.latency_p50_ms is not None:
        table.add_row("capture to verdict, median", f"{counts.latency_p50_ms:.1f} ms")
    if scene.good_parts:
        table.add_row("taken as good", f"the first {scene.good_parts} parts (HOLD, learning)")
    console.print(table)
    if scene.pictures is not None:
        result = score(heard, scene.items, scene.pictures.good)
        if result is not None and scene.parts is not None:
            console.print(_score(result, scene.parts))
        sheet = draw_flagged(scene.workshop.flagged, heard, scene.items)
        if sheet is not None:
            console.print(f"flagged parts as pictures: {sheet}", highlight=False, soft_wrap=True)


def _score(result: Score, parts: Parts) -> RenderableType:
    from rich.console import Group
    from rich.table import Table

    figures = Table(title="score on the part that was not learned from", title_justify="left", box=None, padding=(0, 2))
    figures.show_header = False
    learned = f"{len(parts.solve)} pictures, {len(parts.calibrate)} more to calibrate"
    figures.add_row("learned from", learned)
    figures.add_row("judged", f"{result.judged} pictures, {len(result.classes)} classes")
    figures.add_row("macro-F1", f"{result.macro_f1:.3f}")
    figures.add_row("balanced accuracy", f"{result.balanced_accuracy:.3f}")
    if result.caught is not None and result.false_alarms is not None:
        figures.add_row("defects caught (FAIL or HOLD)", f"{result.caught:.1%}")
        figures.add_row("good parts failed", f"{result.false_alarms:.1%}")
        figures.add_row("AUROC good / defect", f"{result.auroc:.3f}")
        figures.add_row("defects above 2 % false alarms", f"{result.recall_at_2pct:.1%}")
    else:
        figures.add_row("", "no class is called ok or good: every part is a defect, the label says which kind")
    return Group(figures, _confusion(result))


def _confusion(result: Score) -> RenderableType:
    from rich.table import Table

    table = Table(title="rows: what it is, columns: what was said", title_justify="left", box=None, padding=(0, 1))
    table.add_column("")
    for name in result.classes:
        table.add_column(name[:10], justify="right")
    for number, name in enumerate(result.classes):
        cells = [
            f"[bold]{value}[/bold]" if place == number else (f"[red]{value}[/red]" if value else "[dim].[/dim]")
            for place, value in enumerate(result.table[number])
        ]
        table.add_row(name, *cells)
    return table
