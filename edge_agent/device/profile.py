"""Device profiles: what a kind of machine needs, as validated data from `firmware_profiles/*.yaml`."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydantic import ValidationError

from edge_agent.config import nodes
from edge_agent.config.faults import InvalidConfigError, Place, did_you_mean, fault_at
from edge_agent.config.keys import REQUIRED, Section, key
from edge_agent.config.validate import faults, values

PACKAGE = "firmware_profiles"
FALLBACK = "generic-x86"
THREADS = "{threads}"


class Detect(Section):
    """When a profile fits: every rule that is given must hold."""

    machine: tuple[str, ...] = key(REQUIRED, "Machine names as `uname -m` prints them.", min_length=1)
    modules: tuple[str, ...] = key((), "Module ids in the device tree, any of them (p3767-0003).")
    compatible: tuple[str, ...] = key((), "Names in `compatible` of the device tree, any of them (brcm,bcm2712).")
    cpu_flags_any: tuple[str, ...] = key((), "CPU flags of /proc/cpuinfo, any of them.")
    by_name: bool = key(False, "Whether it is used only where device.profile names it (needs a wheel of its own).")


class Releases(Section):
    """The L4T releases (Jetson Linux) a profile was written for; others give a warning."""

    lowest: str = key(REQUIRED, "Lowest release.", pattern=r"^\d+(\.\d+)*$")
    highest: str = key(REQUIRED, "Highest release; 36.4 includes 36.4.7.", pattern=r"^\d+(\.\d+)*$")


class Provider(Section):
    """An execution provider of ONNX Runtime with its options, as ONNX Runtime takes them: texts."""

    name: str = key(REQUIRED, "Its name.", pattern=r"^[A-Za-z]+ExecutionProvider$")
    options: Mapping[str, str] = key(
        {}, "Its options; {engine_cache} is a folder of each encoder's own, {threads} those of inference."
    )


class Inference(Section):
    """How models run."""

    providers: tuple[Provider, ...] = key(REQUIRED, "Execution providers, most wanted first.", min_length=1)
    int8: Literal["u8s8", "symmetric", "none"] = key(REQUIRED, "The int8 flavour that is fast here, or none.")
    reduce_range: bool = key(False, "Whether int8 weights should keep to 7 bits (x86 without VNNI).")
    float: Literal["fp32", "fp16"] = key(REQUIRED, "What is used where int8 is not.")
    threads: int = key(REQUIRED, "Threads within an operator.", ge=1, le=64)
    spinning: bool = key(REQUIRED, "Whether idle threads spin.")
    arena: bool = key(REQUIRED, "Whether ONNX Runtime keeps memory between runs.")
    first_start_s: int = key(90, "Longest first start, where an engine is built.", ge=1, le=7200)


class Capture(Section):
    """How frames are decoded. An empty map of pipelines means OpenCV's own V4L2 and FFmpeg."""

    pipelines: Mapping[str, str] = key({}, "GStreamer pipelines by kind of camera, with {placeholders}.")


class Power(Section):
    """Power modes by name, the wanted one first; a mode that is not listed gives a warning."""

    modes: tuple[str, ...] = key((), "Names as `nvpmodel -q` prints them.")


class Thermal(Section):
    """Temperatures in degrees Celsius and the zones that count."""

    zones: tuple[str, ...] = key(REQUIRED, "Patterns of zone types; PMIC zones are never read.", min_length=1)
    pause_training_c: float = key(REQUIRED, "From here on learning pauses.", ge=30, le=110)
    slow_inspection_c: float = key(REQUIRED, "From here on an alarm is raised.", ge=30, le=120)


class Memory(Section):
    """Ceilings in bytes."""

    inspect_bytes: int = key(REQUIRED, "What inspection may use.", ge=0)
    training_bytes: int = key(REQUIRED, "What learning may use.", ge=0)
    training_needs_available_bytes: int = key(REQUIRED, "Learning starts only with so much memory available.", ge=0)


class Training(Section):
    """Budgets of one learning pass."""

    threads: int = key(REQUIRED, "Threads.", ge=1, le=64)
    minutes: int = key(REQUIRED, "Longest pass.", ge=1, le=1440)


class Evidence(Section):
    """What the numbers rest on."""

    tested_on_hardware: bool = key(REQUIRED, "Whether this very profile was tried on such a machine.")
    date: str | None = key(None, "When, YYYY-MM-DD.")
    machine: str | None = key(None, "On what.")
    software: tuple[str, ...] = key((), "With what.")
    notes: str = key("", "What to know.")


class Profile(Section):
    """One file of firmware_profiles/; `name` is the name of the file."""

    version: Literal[1] = key(REQUIRED, "Version of the format.")
    name: str = key(REQUIRED, "Name of the profile.", pattern=r"^[a-z0-9-]{1,48}$")
    title: str = key(REQUIRED, "One line for people.")
    rank: int = key(REQUIRED, "The highest rank that fits is chosen.", ge=0, le=100)
    detect: Detect = key(REQUIRED, "When it fits.")
    releases: Releases | None = key(None, "Releases it was written for.")
    inference: Inference = key(REQUIRED, "How models run.")
    capture: Capture = key(Capture(), "How frames are decoded.")
    power: Power = key(Power(), "Power modes.")
    thermal: Thermal = key(REQUIRED, "Temperatures.")
    memory: Memory = key(REQUIRED, "Memory.")
    training: Training = key(REQUIRED, "Learning.")
    when_wrong: str = key(REQUIRED, "What it costs on a machine that it was not written for.", max_length=200)
    evidence: Evidence = key(REQUIRED, "What the numbers rest on.")

    def providers(self, threads: int) -> dict[str, dict[str, str]]:
        """The options of each provider as ONNX Runtime takes them, in order; {engine_cache} still stands in them.

        `threads` is for providers with a pool of their own, such as OpenVINO.
        """
        return {
            provider.name: {key: value.replace(THREADS, str(threads)) for key, value in provider.options.items()}
            for provider in self.inference.providers
        }


def parse(content: bytes, file: str, name: str) -> Profile:
    """The profile in the bytes of a file.

    Raises:
        InvalidConfigError: every fault with its place.
    """
    tree = nodes.read(content, file)
    plain, wrong = values(tree, lambda *_: "")
    if wrong:
        raise InvalidConfigError(wrong)
    try:
        return Profile.model_validate({**plain, "name": plain.get("name", name)})
    except ValidationError as error:
        raise InvalidConfigError(faults(error, tree, Profile.model_json_schema())) from error


@cache
def profiles() -> Mapping[str, Profile]:
    """Every profile that comes with the program, by name.

    Raises:
        InvalidConfigError: the installation is damaged: a file is not valid, or there is none.
    """
    found = {}
    for entry in sorted(importlib.resources.files(PACKAGE).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            name = entry.name.removesuffix(".yaml")
            found[name] = parse(entry.read_bytes(), f"{PACKAGE}/{entry.name}", name)
    if FALLBACK not in found:
        top = Place(file=PACKAGE, line=1, column=1)
        raise InvalidConfigError([fault_at(top, "", "no profiles", f"{FALLBACK}.yaml", "install the package again")])
    return found


def named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        InvalidConfigError: there is none; the message names the nearest.
    """
    known = profiles()
    if name not in known:
        top = Place(file=PACKAGE, line=1, column=1)
        wanted = "one of " + ", ".join(known)
        raise InvalidConfigError([fault_at(top, "device.profile", f'"{name}"', wanted, did_you_mean(name, known))])
    return known[name]
