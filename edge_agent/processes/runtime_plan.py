"""How models run on this machine: profile, configuration and bundle flavour brought together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from edge_agent.config.settings import Settings
from edge_agent.device.detect import Choice, Device, choose, detect
from edge_agent.device.profile import profiles
from edge_agent.models.encoder import RuntimeOptions, onnxruntime_version

ENGINE_CACHE = "engine-cache"
FLOAT = "fp32"


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
    device = detect(root, machine)
    choice = choose(device, profiles(), settings.device.profile)
    inference, keys = choice.profile.inference, settings.device
    providers = choice.profile.providers(settings.storage.state_dir / ENGINE_CACHE / _engine_key(device))
    if keys.providers is not None:
        # Options of the profile stay with the providers that are kept.
        known = dict(providers)
        providers = tuple((name, known.get(name, {})) for name in keys.providers)
    return RuntimePlan(
        choice=choice,
        runtime=RuntimeOptions(
            providers=providers,
            intra_op_threads=keys.threads or inference.threads,
            allow_spinning=inference.spinning,
            disable_arena=not inference.arena,
        ),
        flavour=flavour(settings.models.precision, inference.int8),
    )


def _engine_key(device: Device) -> str:
    # Engines are not portable between runtimes and machines (ONNX Runtime's TensorRT page); TensorRT itself puts the
    # model into the name of each engine.
    words = f"{onnxruntime_version()} {device.machine} {device.model} {device.soc} {device.l4t}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def flavour(precision: str, int8: str) -> str:
    """The flavour for a configured precision and the int8 kind of a profile."""
    return FLOAT if precision == "fp32" or int8 == "none" else int8
