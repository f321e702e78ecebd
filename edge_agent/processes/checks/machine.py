"""Device: the profile that fits, the execution providers it needs, heat, memory, power mode."""

from __future__ import annotations

from edge_agent.device import health
from edge_agent.models.encoder import available_providers, onnxruntime_version
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning
from edge_agent.processes.runtime_plan import RuntimePlan, runtime_plan

MIB = 1024 * 1024


def _plan(context: Context) -> RuntimePlan:
    return runtime_plan(context.valid, context.root, context.machine)


def device_profile(context: Context) -> tuple[Finding, ...]:
    choice = _plan(context).choice
    price = f"were it the wrong one: {choice.profile.when_wrong}"
    if choice.warnings:
        advice = f"{price}. See docs/devices.md; device.profile names another"
        return tuple(warning(f"{choice.profile.name}: {text}", advice) for text in choice.warnings)
    return (ok(f"{choice.profile.name} ({choice.reason}); {price}"),)


def provider_available(context: Context) -> tuple[Finding, ...]:
    """The providers are part of the installed ONNX Runtime; whether they take the model is checked with the model."""
    asked = [name for name, _ in _plan(context).runtime.providers]
    missing = [name for name in asked if name not in available_providers()]
    if missing:
        text = f"{', '.join(missing)} is not in ONNX Runtime {onnxruntime_version()}"
        advice = "install the wheel made for this device (docs/devices.md), or set device.providers to those it has: "
        return (error(text, advice + ", ".join(available_providers())),)
    return (ok(f"{', '.join(asked)} in ONNX Runtime {onnxruntime_version()}"),)


def temperature(context: Context) -> tuple[Finding, ...]:
    thermal = _plan(context).choice.profile.thermal
    hottest_c = health.read(context.root).hottest_c(thermal.zones)
    if hottest_c is None:
        return (ok("no sensor here"),)
    text = f"{hottest_c:.0f} C"
    if hottest_c >= thermal.slow_inspection_c:
        return (warning(f"{text}, the limit is {thermal.slow_inspection_c:.0f} C", "improve the cooling"),)
    return (ok(f"{text}, learning pauses at {thermal.pause_training_c:.0f} C"),)


def memory(context: Context) -> tuple[Finding, ...]:
    budget = _plan(context).choice.profile.memory
    available = health.read(context.root).memory_available_bytes
    if available is None:
        return (ok("unknown here"),)
    text = f"{available // MIB} MiB available"
    if available < budget.inspect_bytes:
        advice = "stop other programs on this machine"
        return (warning(f"{text}, inspection may need {budget.inspect_bytes // MIB} MiB", advice),)
    return (ok(text),)


def power_mode(context: Context) -> tuple[Finding, ...]:
    wanted = _plan(context).choice.profile.power.modes
    mode = health.read(context.root).power_mode
    if not wanted:
        return (ok("this device has none"),)
    if mode is None:
        return (warning("cannot be read", f"see `nvpmodel -q`; the profile wants {wanted[0]}"),)
    if mode not in wanted:
        return (warning(f"{mode}, the profile knows {', '.join(wanted)}", f"choose {wanted[0]} with nvpmodel"),)
    return (ok(mode),)


CHECKS = (
    Check(id="device-profile", group="device", title="profile", run=device_profile),
    Check(id="device-provider", group="device", title="execution providers", run=provider_available),
    Check(id="device-temperature", group="device", title="temperature", run=temperature),
    Check(id="device-memory", group="device", title="memory", run=memory),
    Check(id="device-power-mode", group="device", title="power mode", run=power_mode),
)
