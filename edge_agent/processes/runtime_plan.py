"""How models run on this machine: profile, configuration and bundle flavour brought together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge_agent.config.sections import DeviceKeys, Models
from edge_agent.config.settings import Settings
from edge_agent.device.detect import Choice, Device, choose, detect
from edge_agent.device.profile import profiles
from edge_agent.models.encoder import RuntimeOptions, onnxruntime_version
from edge_agent.models.runtime import flavour_of, runtime_of

ENGINE_CACHE = "engine-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """`flavour` is the encoder of a bundle that suits this machine: u8s8, symmetric or fp32."""

    choice: Choice
    runtime: RuntimeOptions
    flavour: str


def runtime_plan(settings: Settings, root: Path, machine: str) -> RuntimePlan:
    """The plan for the machine below `root` ("/"); `machine` is what `uname -m` says.

    Raises:
        InvalidConfigError: the profiles of this installation are damaged.
    """
    return plan_for(settings.device, settings.models, settings.storage.state_dir, root, machine)


def plan_for(keys: DeviceKeys, models: Models, state_dir: Path, root: Path, machine: str) -> RuntimePlan:
    """The plan where there is no whole configuration, as for `edge-agent models --state DIR`.

    Raises:
        InvalidConfigError: the profiles of this installation are damaged.
    """
    device = detect(root, machine)
    choice = choose(device, profiles(), keys.profile)
    return RuntimePlan(
        choice=choice,
        runtime=runtime_of(choice.profile, keys, state_dir / ENGINE_CACHE / _engine_key(device)),
        flavour=flavour_of(choice.profile, models),
    )


def _engine_key(device: Device) -> str:
    # Engines are not portable between runtimes and machines (ONNX Runtime's TensorRT page). A TensorRT of pip is seen
    # by its package, one of the system by its library; OpenVINO comes inside its ONNX Runtime.
    runtime = f"{onnxruntime_version()} {device.tensorrt} {_package('tensorrt')} {_package('onnxruntime-openvino')}"
    words = f"{runtime} {device.machine} {device.model} {device.soc} {device.l4t} {device.cpu}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _package(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
