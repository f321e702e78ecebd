"""How the machine is: temperatures, memory, power, throttling, read from sysfs and procfs below a root folder.

Every file may be missing, offline or unreadable: that is normal and means None. Places and units: docs/devices.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

# An offline zone of a Jetson reads -256000 m°C; a PMIC zone reads a constant 100 °C.
COLDEST_C, HOTTEST_C = -45.0, 150.0
SKIPPED_ZONES = ("*pmic*",)
_POWER_RAILS = ("VDD_IN", "POM_5V_IN")  # the whole board: JetPack 5 and later, Nano
_GPU_NAMES = ("gv11b", "gp10b", "ga10b", "gb10b", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One reading. `temperatures_c`: zone type -> degrees Celsius; `throttle_events` counts since boot."""

    temperatures_c: dict[str, float] = field(default_factory=dict)
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    gpu_load: float | None = None  # 0 to 1
    power_w: float | None = None
    throttle_events: int | None = None
    cpu_frequency_share: float | None = None  # of the highest the CPU can do, mean of all cores
    power_mode: str | None = None

    def hottest_c(self, zones: tuple[str, ...] = ("*",)) -> float | None:
        """The highest temperature of the zones whose type matches one of the patterns, None when there is none."""
        found = [value for name, value in self.temperatures_c.items() if matches(name, zones)]
        return max(found, default=None)

    def numbers(self) -> dict[str, float | None]:
        """Flat numbers with units in their names, for telemetry."""
        return {
            "temperature_max_c": self.hottest_c(),
            "memory_total_bytes": self.memory_total_bytes,
            "memory_available_bytes": self.memory_available_bytes,
            "gpu_load": self.gpu_load,
            "power_w": self.power_w,
            "throttle_events": self.throttle_events,
            "cpu_frequency_share": self.cpu_frequency_share,
        }


def read(root: Path) -> Health:
    """One reading of the machine below `root` ("/" in production)."""
    memory = dict(re.findall(r"(\w+):\s*(\d+) kB", _text(root / "proc/meminfo") or ""))
    return Health(
        temperatures_c=temperatures_c(root),
        memory_total_bytes=_kib(memory.get("MemTotal")),
        memory_available_bytes=_kib(memory.get("MemAvailable")),
        gpu_load=gpu_load(root),
        power_w=power_w(root),
        throttle_events=throttle_events(root),
        cpu_frequency_share=cpu_frequency_share(root),
        power_mode=power_mode(root),
    )


def matches(zone: str, patterns: tuple[str, ...]) -> bool:
    """Whether a zone type matches one of the patterns, in any case."""
    return any(fnmatch(zone.lower(), pattern.lower()) for pattern in patterns)


def temperatures_c(root: Path) -> dict[str, float]:
    """Zone type -> degrees Celsius, of thermal zones and of CPU sensors of x86; the hottest of those named alike."""
    found: dict[str, float] = {}
    for name, millidegrees in _sensors(root):
        celsius = millidegrees / 1000
        if COLDEST_C < celsius < HOTTEST_C and not matches(name, SKIPPED_ZONES):
            found[name] = max(celsius, found.get(name, COLDEST_C))
    return found


def _sensors(root: Path) -> Iterator[tuple[str, int]]:
    # The same zones appear below both folders; recorded trees and containers may have only one.
    for folder in ("sys/class/thermal", "sys/devices/virtual/thermal"):
        zones = sorted((root / folder).glob("thermal_zone*"))
        for zone in zones:
            name, value = _text(zone / "type"), _number(zone / "temp")
            if name and value is not None:
                yield name, value
        if zones:
            break
    for monitor in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = _text(monitor / "name")
        if name in ("coretemp", "k10temp"):
            for path in sorted(monitor.glob("temp*_input")):
                value = _number(path)
                if value is not None:
                    yield name, value


def gpu_load(root: Path) -> float | None:
    """Load of a Jetson's GPU, 0 to 1."""
    for device in sorted((root / "sys/class/devfreq").glob("*")):
        name = (_text(device / "device/of_node/name") or "").strip("\0")
        load = _number(device / "device/load")
        if name in _GPU_NAMES and load is not None:
            return load / 1000
    return None


def power_w(root: Path) -> float | None:
    """Power of the whole board in watts, from the INA3221 monitor of a Jetson.

    Since JetPack 5 the monitor is a hwmon device, with JetPack 4 an industrial I/O device that gives milliwatts.
    """
    for monitor in sorted((root / "sys/bus/i2c/devices").glob("*/hwmon/hwmon*")):
        for label in sorted(monitor.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            volts, amperes = _number(monitor / f"in{channel}_input"), _number(monitor / f"curr{channel}_input")
            if _text(label) in _POWER_RAILS and volts is not None and amperes is not None:
                return volts * amperes / 1e6  # mV times mA
    for label in sorted((root / "sys/bus/i2c/devices").glob("*/iio:device*/rail_name_*")):
        milliwatts = _number(label.with_name(f"in_power{label.name.removeprefix('rail_name_')}_input"))
        if _text(label) in _POWER_RAILS and milliwatts is not None:
            return milliwatts / 1e3
    return None


def throttle_events(root: Path) -> int | None:
    """How often over-current or heat has throttled the board since boot (Jetson `oc*_event_cnt`)."""
    counts = [_number(path) for path in sorted((root / "sys/class/hwmon").glob("hwmon*/oc*_event_cnt"))]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def cpu_frequency_share(root: Path) -> float | None:
    """Mean frequency of the cores as a share of their highest. Low under load means throttling or a power mode."""
    shares = []
    for core in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")):
        now, most = _number(core / "scaling_cur_freq"), _number(core / "cpuinfo_max_freq")
        if now is not None and most:
            shares.append(now / most)
    return sum(shares) / len(shares) if shares else None


def power_mode(root: Path) -> str | None:
    """The name of a Jetson's power mode. Ids differ by module and release, so the id is only used to find the name.

    Many releases write MODE_30W where tables and other releases write 30W: the name comes without that prefix.
    """
    status = re.search(r"pmode:(\d+)", _text(root / "var/lib/nvpmodel/status") or "")
    configuration = _text(root / "etc/nvpmodel.conf") or ""
    names = dict(re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", configuration))
    name = names.get(str(int(status[1]))) if status else None
    return name.removeprefix("MODE_") if name else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and re.fullmatch(r"-?\d{1,18}", text) else None


def _kib(text: str | None) -> int | None:
    return int(text) * 1024 if text else None
