"""Which machine is this, and which profile fits: pure over a root folder, so that recorded trees are tests.

    /proc/device-tree, /etc/nv_tegra_release, /proc/cpuinfo, /proc/meminfo -> Device -> Choice(profile, reason)

Facts about Jetson boards: docs/devices.md. The BOARD field of nv_tegra_release is not read: it is wrong on many boards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.device.profile import FALLBACK, Detect, Profile

READ_LIMIT_BYTES = 256 * 1024  # /proc/cpuinfo of a machine with 128 threads has 200 KiB
_MODULE = re.compile(r"p\d{4}-\d{4}")
_SOC = re.compile(r"tegra\d{3}")
_RELEASE = re.compile(r"R(\d+).*REVISION:\s*([\d.]+)")
# Where Debian packages of TensorRT put its library: Jetson Linux, x86.
_TENSORRT = "usr/lib/*-linux-gnu/libnvinfer.so.*"
_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What the machine says of itself; None and empty where it says nothing.

    `compatible` are the names in the device tree, the board's before the chip's (raspberrypi,5-model-b; brcm,bcm2712),
    `modules` are NVIDIA's module and board ids (p3767-0003), `l4t` the release of Jetson Linux (36.4.3), `tensorrt` the
    version of TensorRT's library (10.3.0).
    """

    machine: str
    model: str | None = None
    compatible: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    soc: str | None = None
    l4t: str | None = None
    tensorrt: str | None = None
    cpu: str | None = None
    cpu_flags: frozenset[str] = frozenset()
    threads: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A profile, why it was chosen, and what does not match it (warnings for a person)."""

    profile: Profile
    reason: str
    warnings: tuple[str, ...] = ()


def detect(root: Path, machine: str) -> Device:
    """Read the machine below `root` ("/" in production); `machine` is what `uname -m` says. Files may be missing."""
    compatible = _device_tree(root, "compatible")
    # Older releases of L4T name the module only in these two.
    boards = (*_device_tree(root, "nvidia,boardids"), *_device_tree(root, "nvidia,dtsfilename"))
    cpu = _fields(_text(root / "proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"))
    words = " ".join((*compatible, *boards))
    soc = _SOC.findall(" ".join(compatible))
    return Device(
        machine=machine,
        model=next(iter(_device_tree(root, "model")), None),
        compatible=compatible,
        modules=tuple(dict.fromkeys(_MODULE.findall(words))),
        soc=soc[-1] if soc else None,
        tensorrt=tensorrt(root),
        l4t=release(_text(root / "etc/nv_tegra_release")),
        cpu=cpu.get("model name") or cpu.get("Model"),
        cpu_flags=frozenset((cpu.get("flags") or cpu.get("Features") or "").split()),
        threads=len(re.findall(r"(?m)^processor\s*:", _text(root / "proc/cpuinfo"))) or None,
        memory_bytes=int(memory[1]) * 1024 if memory else None,
    )


def choose(device: Device, profiles: Mapping[str, Profile], wanted: str = "auto") -> Choice:
    """The profile for a device: the one that is `wanted`, or of those that fit the one of the highest rank.

    A profile `by_name` is never found: that a machine could run it says nothing of whether its ONNX Runtime is there.
    """
    if wanted != "auto":
        profile = profiles[wanted]
        return Choice(profile=profile, reason="device.profile names it", warnings=mismatches(profile, device))
    offered = [profile for profile in profiles.values() if not profile.detect.by_name]
    fitting = [profile for profile in offered if unmet(profile.detect, device) is None]
    if not fitting:
        reason = f"nothing is known of this machine ({device.machine or 'no name'}, {device.model or 'no model'})"
        return Choice(profile=profiles[FALLBACK], reason=reason, warnings=(f"{reason}: using {FALLBACK}",))
    best = max(fitting, key=lambda profile: (profile.rank, profile.name))
    return Choice(profile=best, reason=_evidence(best.detect, device), warnings=_release_warnings(best, device))


def unmet(rule: Detect, device: Device) -> str | None:
    """The first rule that the device does not meet, in words; None when it meets all."""
    if device.machine not in rule.machine:
        return f"the machine is {device.machine or 'unknown'}, the profile is for {' or '.join(rule.machine)}"
    if rule.modules and not set(rule.modules) & set(device.modules):
        return f"the module is {', '.join(device.modules) or 'unknown'}, the profile is for {', '.join(rule.modules)}"
    if rule.compatible and not set(rule.compatible) & set(device.compatible):
        return (
            f"the board is {', '.join(device.compatible) or 'unknown'}, the profile is for {', '.join(rule.compatible)}"
        )
    if rule.cpu_flags_any and not device.cpu_flags & set(rule.cpu_flags_any):
        return f"the CPU has none of {', '.join(rule.cpu_flags_any)}"
    return None


def mismatches(profile: Profile, device: Device) -> tuple[str, ...]:
    """What of the device does not fit a profile that a person chose."""
    problem = unmet(profile.detect, device)
    return (*((problem,) if problem else ()), *_release_warnings(profile, device))


def release(text: str) -> str | None:
    """`36.4.3` from the first line of /etc/nv_tegra_release, None when it is not there."""
    match = _RELEASE.search(text.partition("\n")[0])
    return f"{match[1]}.{match[2].strip('.')}" if match else None


def tensorrt(root: Path) -> str | None:
    """`10.3.0` from the name of TensorRT's library, the longest that is there; None without one."""
    found = [path.name.partition(".so.")[2] for path in root.glob(_TENSORRT)]
    versions = [text for text in found if re.fullmatch(r"\d+(\.\d+)*", text)]
    return max(versions, key=lambda text: (text.count("."), text), default=None)


def _release_warnings(profile: Profile, device: Device) -> tuple[str, ...]:
    range_ = profile.releases
    if range_ is None:
        return ()
    if device.l4t is None:
        return ("the release of Jetson Linux is unknown: /etc/nv_tegra_release is missing (in a container?)",)
    here, low, high = (tuple(map(int, text.split("."))) for text in (device.l4t, range_.lowest, range_.highest))
    if low <= here and here[: len(high)] <= high:
        return ()
    return (f"Jetson Linux {device.l4t}: the profile was written for {range_.lowest} to {range_.highest}",)


def _evidence(rule: Detect, device: Device) -> str:
    found = [device.machine]
    found += [f"module {name}" for name in device.modules if name in rule.modules]
    found += [f"board {name}" for name in device.compatible if name in rule.compatible]
    found += [f"CPU flag {name}" for name in rule.cpu_flags_any if name in device.cpu_flags]
    if len(found) == 1:
        found.append("nothing more special was recognised")
    return ", ".join(found)


def _device_tree(root: Path, name: str) -> tuple[str, ...]:
    """A property of the device tree: texts, each ended by NUL."""
    for tree in _TREES:
        text = _text(root / tree / name)
        if text:
            return tuple(part.strip() for part in text.split("\0") if part.strip())
    return ()


def _fields(cpuinfo: str) -> dict[str, str]:
    """The first value of each field: all processors of our machines are alike."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(READ_LIMIT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
