"""How a device runs models: its profile, and what the configuration says otherwise."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config.sections import DeviceKeys, Models
from edge_agent.device.profile import Profile
from edge_agent.models.encoder import RuntimeOptions

FLOAT = "fp32"
U8S8 = "u8s8"


def runtime_of(profile: Profile, device: DeviceKeys, engine_cache: Path) -> RuntimeOptions:
    """Session options of this device; a provider named in the configuration keeps the options its profile gives it.

    `engine_cache` is the folder of this runtime and machine; each encoder gets one of its own in it (`models.engines`).
    """
    threads = device.threads or profile.inference.threads
    offered = profile.providers(threads)
    names = device.providers or tuple(offered)
    return RuntimeOptions(
        providers=tuple((name, offered.get(name, {})) for name in names),
        intra_op_threads=threads,
        allow_spinning=profile.inference.spinning,
        disable_arena=not profile.inference.arena,
        engine_cache=engine_cache,
    )


def flavour_of(profile: Profile, models: Models) -> str:
    """Which encoder of a bundle this device runs: the int8 flavour of its profile, or fp32."""
    if models.precision == FLOAT or (models.precision == "auto" and profile.inference.int8 == "none"):
        return FLOAT
    return U8S8 if profile.inference.int8 == "none" else profile.inference.int8
