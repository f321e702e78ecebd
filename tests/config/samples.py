"""Files for the tests: the smallest one, and ways to change it."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config.faults import Fault, InvalidConfigError
from edge_agent.config.reference import SMALLEST
from edge_agent.config.settings import Settings, loads

FILE = Path("/plant/agent.yaml")


def read(text: str, environment: dict[str, str] | None = None, file: Path = FILE, **more) -> Settings:
    return loads(text.encode(), file=file, environment=environment or {}, **more)


def faults(text: str, **more) -> tuple[Fault, ...]:
    try:
        read(text, **more)
    except InvalidConfigError as error:
        return error.faults
    raise AssertionError("the file was accepted")


def the_fault(text: str, **more) -> Fault:
    found = faults(text, **more)
    assert len(found) == 1, [str(fault) for fault in found]
    return found[0]


def smallest(*, camera: str = "", mqtt: str = "", top: str = "") -> str:
    """The smallest file with lines added under the camera, under mqtt, and at the top level."""
    text = SMALLEST.replace("    model: surface\n", "    model: surface\n" + camera)
    return text + mqtt + top
