"""The terminal view of a gateway: cameras, yield, latency, last defects, broker, queue.

Not a verb: `status` and `demo` draw it. A screen of 80 columns must still say what is wrong.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge_agent.processes.finetuning.news import News, describe
from edge_agent.processes.identities import describe as describe_camera
from edge_agent.processes.live import CameraLive, InspectLive, SignalLive, TriggerLive, VerdictLine

VERDICT_STYLE = {"PASS": "bold green", "FAIL": "bold red", "HOLD": "bold yellow"}
STATE_STYLE = {"streaming": "green", "ended": "dim", "stopped": "dim"}
SEVERITY_STYLE = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
LINES_OF_RECENT = 8


def screen(
    live: InspectLive | None, sync: Mapping[str, Any] | None, *, title: str, width: int, learning: News | None = None
) -> RenderableType:
    """Everything on one screen of `width` columns; says so when a process does not answer."""
    if live is None:
        how = "edge-agent run, or systemctl start edge-agent.target"
        body: RenderableType = Text(f"inspect: not running ({how})", "red")
    else:
        body = Group(
            _cameras(live, width), *_devices(live), *_trials(live), *_line(live), _recent(live), *_alarms(live)
        )
    everything = Group(body, *_learning(learning), _footer(live, sync))
    return Panel(everything, title=title, title_align="left", border_style="cyan", padding=(0, 1), width=width)


def _cameras(live: InspectLive, width: int) -> Table:
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    table.add_column("camera", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("fps", "PASS", "FAIL", "HOLD", "yield", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = width >= 110
    if wide:
        table.add_column("model", no_wrap=True)
        table.add_column("not judged", no_wrap=True)
    for name, camera in live.cameras.items():
        row: list[str | Text] = [
            name,
            Text(_state(camera), style=STATE_STYLE.get(_state(camera), "bold red")),
            f"{camera.fps:.1f}",
            Text(str(camera.passed), "green"),
            Text(str(camera.failed), "red" if camera.failed else "dim"),
            Text(str(camera.held), "yellow" if camera.held else "dim"),
            "-" if camera.yield_share is None else f"{camera.yield_share:.1%}",
            _number(camera.latency_p50_ms),
            _number(camera.latency_p99_ms),
        ]
        if wide:
            digest = (camera.digest or "none")[:8]
            row += [f"{camera.model} {digest} {camera.mode}", _reasons(camera)]
        table.add_row(*row)
    return table


def _state(camera: CameraLive) -> str:
    if camera.paused:
        return "paused"
    fine = camera.state != "streaming" or camera.picture in ("off", "healthy") or camera.picture.startswith("learning")
    return camera.state if fine else camera.picture


def _devices(live: InspectLive) -> list[RenderableType]:
    """Which cameras answer, a line each, as far as they say."""
    return [
        Text(f" {name}: {describe_camera(camera.device)}", "dim", no_wrap=True, overflow="ellipsis")
        for name, camera in live.cameras.items()
        if camera.device is not None
    ]


def _trials(live: InspectLive) -> list[RenderableType]:
    """Candidates on their way into force, a line each."""
    return [
        Text(
            f" {name}: candidate {trial.candidate[:12]} in {trial.stage}, {trial.parts} of {trial.wanted} parts, "
            f"{trial.differing} differ",
            "cyan",
            no_wrap=True,
            overflow="ellipsis",
        )
        for name, trial in live.trials.items()
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _reasons(camera: CameraLive) -> str:
    reasons = {name: count for name, count in camera.dropped.items() if count}
    skipped = sum(camera.skipped.values())
    words = [f"{name} {count}" for name, count in sorted(reasons.items())] + [f"skipped {skipped}"] * bool(skipped)
    return ", ".join(words) or "none"


def _line(live: InspectLive) -> list[RenderableType]:
    """What the line says and is told; nothing where there is no line."""
    rows = [_trigger(name, trigger) for name, trigger in live.triggers.items()]
    rows += [_signal(name, signal) for name, signal in live.signals.items()]
    if not rows:
        return []
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim")
    for name in ("line", "state", "count"):
        table.add_column(name, no_wrap=True)
    # Addresses and reasons may be long: only this column gives way.
    table.add_column("last", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return [table]


def _trigger(name: str, trigger: TriggerLive) -> tuple[str, Text, str, str]:
    lost = sum(trigger.lost.values())
    count = f"{trigger.fired} asked" + (f", {lost} without picture" if lost else "")
    count += f", {trigger.waiting} waiting" if trigger.waiting else ""
    last = "nothing yet"
    if trigger.last_age_s is not None:
        last = f"{trigger.last_part or 'a part'}, {trigger.last_age_s:.0f} s ago"
    return f"trigger {name}", _connected(trigger.connected), count, last if trigger.connected else trigger.reason


def _signal(name: str, signal: SignalLive) -> tuple[str, Text, str, str]:
    count = f"{signal.written} told" + (f", {signal.missed} not told" if signal.missed else "")
    last = " ".join(word for word in (signal.last_verdict, signal.last_part) if word) or "nothing yet"
    if signal.heartbeat_age_s is not None:
        last += f", heartbeat {signal.heartbeat_age_s:.1f} s ago"
    for state in sorted(set(signal.states.values()) - {"running"}):
        last += f", {state}"
    return f"signal {name}", _connected(signal.connected), count, last if signal.connected else signal.reason


def _connected(connected: bool) -> Text:
    return Text("connected", "green") if connected else Text("lost", "bold red")


def _recent(live: InspectLive) -> RenderableType:
    rows = [(name, line) for name, camera in live.cameras.items() for line in camera.recent]
    rows.sort(key=lambda row: row[1].utc_s, reverse=True)
    if not rows:
        return Text("no FAIL or HOLD yet", "dim")
    table = Table(box=None, expand=True, padding=(0, 1), header_style="dim", title_justify="left")
    for name in ("latest", "camera", "verdict", "label", "score"):
        table.add_column(name, no_wrap=True)
    # Names of files may be long: only this column gives way.
    table.add_column("part", ratio=1, no_wrap=True, overflow="ellipsis")
    for camera_name, line in rows[:LINES_OF_RECENT]:
        table.add_row(
            _clock_time(line),
            camera_name,
            Text(line.verdict, VERDICT_STYLE.get(line.verdict, "")),
            line.reason if line.reason and not line.label else (line.label or "-"),
            "-" if line.score is None else f"{line.score:.3f}",
            line.part or "-",
        )
    return table


def _clock_time(line: VerdictLine) -> str:
    return dt.datetime.fromtimestamp(line.utc_s, tz=dt.timezone.utc).astimezone().strftime("%H:%M:%S")


def _alarms(live: InspectLive) -> list[RenderableType]:
    return [
        Text(f"{alarm.severity.upper():8} {alarm.code} {alarm.subject}: {alarm.text}", SEVERITY_STYLE[alarm.severity])
        for alarm in live.alarms
    ]


def _learning(news: News | None) -> list[RenderableType]:
    """Fine-tuning, a line each; nothing where it is off."""
    models = () if news is None else tuple(model for model in news.models if model.state != "off")
    styles = {"failed": "red", "paused": "yellow", "waiting": "dim"}
    return [
        Text(f" fine-tuning {describe(model)}", styles.get(model.state, "cyan"), no_wrap=True, overflow="ellipsis")
        for model in models
    ]


def _footer(live: InspectLive | None, sync: Mapping[str, Any] | None) -> Text:
    text = Text()
    if sync is None:
        text.append("broker: sync is not running", "red")
    elif sync.get("connected"):
        text.append("broker: connected", "green")
        text.append(f" {sync.get('broker', '')}", "dim")
    else:
        text.append(f"broker: not connected, {sync.get('reason') or 'connecting'}", "red")
    if sync is not None:
        text.append(f"   queue {sync.get('queued', 0)}", "dim" if not sync.get("queued") else "yellow")
        text.append(f"   sent {sync.get('published', 0)}", "dim")
    if live is not None:
        text.append(f"   {live.provider}, profile {live.profile}", "dim")
        celsius = live.health.get("hottest_c")
        if celsius is not None:
            text.append(f"   {celsius:.0f} °C", "dim")
    return text
