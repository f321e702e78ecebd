"""The line: each trigger looked at, each signal's place looked for. What the running daemon uses is asked of it."""

from __future__ import annotations

from edge_agent.config.settings import Settings
from edge_agent.config.signals import Signal
from edge_agent.errors import LineError
from edge_agent.line.addresses import GpioSignal, ModbusSignal, OpcUaSignal, Socket, parse_signal, parse_trigger
from edge_agent.line.probe import probe_gpio_signal, probe_modbus_signal, probe_trigger
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok
from edge_agent.processes.live import InspectLive, fresh_inspect
from edge_agent.processes.signals import NO_OPCUA, login_of

ADVICE = "compare with the PLC's program and network; docs/line.md"


def triggers(context: Context) -> tuple[Finding, ...]:
    """One finding for each triggered camera."""
    settings, running = context.valid, _running(context)
    findings = []
    for name, camera in settings.cameras.items():
        if camera.trigger is None:
            continue
        live = running.triggers.get(name) if running else None
        if live is not None:
            findings.append(_of_daemon(name, live.connected, live.reason, f"{live.fired} triggers so far"))
            continue
        try:
            text = probe_trigger(parse_trigger(camera.trigger), settings.storage.runtime_dir, context.clock)
            findings.append(ok(text, name))
        except LineError as fault:
            findings.append(error(str(fault), ADVICE, name))
    return tuple(findings)


def signals(context: Context) -> tuple[Finding, ...]:
    """One finding for each signal."""
    settings, running = context.valid, _running(context)
    findings = []
    for name, keys in settings.signals.items():
        live = running.signals.get(name) if running else None
        if live is not None:
            findings.append(_of_daemon(name, live.connected, live.reason, f"{live.written} verdicts told so far"))
            continue
        try:
            findings.append(ok(_probe(keys, settings, context), name))
        except LineError as fault:
            findings.append(error(str(fault), ADVICE, name))
    return tuple(findings)


def _probe(keys: Signal, settings: Settings, context: Context) -> str:
    cameras = keys.cameras or tuple(settings.cameras)
    address = parse_signal(keys.to)
    match address:
        case ModbusSignal():
            return probe_modbus_signal(address, cameras, context.clock)
        case GpioSignal():
            return probe_gpio_signal(address)
        case Socket(name=name):
            return f"will listen at {settings.storage.runtime_dir / name}.sock"
        case OpcUaSignal():
            return _probe_opcua(address, keys, cameras)


def _probe_opcua(address: OpcUaSignal, keys: Signal, cameras: tuple[str, ...]) -> str:
    try:
        from edge_agent.line.opcua import OpcUaPort  # noqa: PLC0415 - an extra, and 33 MiB
    except ImportError as fault:
        raise LineError(NO_OPCUA) from fault
    port = OpcUaPort(address, login_of(keys))
    try:
        return f"{address.url}: {port.probe(cameras)} nodes are there"
    finally:
        port.close()


def _running(context: Context) -> InspectLive | None:
    return fresh_inspect(context.valid.storage.runtime_dir / "inspect.json", context.clock.utc_s())


def _of_daemon(name: str, connected: bool, reason: str, counted: str) -> Finding:
    if connected:
        return ok(f"used by the running daemon: {counted}", name)
    return error(f"the running daemon cannot use it: {reason}", ADVICE, name)


CHECKS = (
    Check(id="line-triggers", group="line", title="trigger", run=triggers),
    Check(id="line-signals", group="line", title="signal", run=signals),
)
