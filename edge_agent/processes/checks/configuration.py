"""Configuration: the same `load` as `run`, so what passes here starts there."""

from __future__ import annotations

from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning
from edge_agent.processes.live import fresh_inspect


def config_valid(context: Context) -> tuple[Finding, ...]:
    """Every fault is a line of its own."""
    if context.faults:
        return tuple(error(str(fault)) for fault in context.faults)
    settings = context.valid
    cameras = len(settings.cameras)
    return (ok(f"{context.config_file}: {cameras} camera{'s' * (cameras != 1)}, digest {settings.digest[:12]}"),)


def credentials_in_addresses(context: Context) -> tuple[Finding, ...]:
    """A password in an address ends up in every copy of the file."""
    named = [name for name, camera in context.valid.cameras.items() if "@" in camera.source.partition("://")[2]]
    advice = "write username: and password: !secret NAME beside the source"
    return tuple(warning("the address holds credentials", advice, name) for name in named) or (ok("none"),)


def running(context: Context) -> tuple[Finding, ...]:
    """A file that was changed and not yet taken over by the daemon is easily forgotten."""
    settings = context.valid
    live = fresh_inspect(settings.storage.runtime_dir / "inspect.json", context.clock.utc_s())
    if live is None:
        return (ok("the daemon does not run here"),)
    if live.config_digest != settings.digest:
        advice = "systemctl reload edge-agent.target, or SIGHUP to edge-agent run"
        return (warning("the running daemon uses another configuration than this file", advice),)
    return (ok("the running daemon uses this file"),)


CHECKS = (
    Check(id="config-valid", group="configuration", title="file", run=config_valid, needs_settings=False),
    Check(
        id="config-credentials",
        group="configuration",
        title="credentials in addresses",
        run=credentials_in_addresses,
    ),
    Check(id="config-running", group="configuration", title="running daemon", run=running),
)
