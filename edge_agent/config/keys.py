"""How one key of the configuration is declared: default, meaning, bounds, and when a change takes effect."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError


class Apply(str, enum.Enum):
    """What has to happen before a changed key is in force."""

    LIVE = "live"  # between two frames or two messages
    CAMERA = "camera"  # that camera is reopened, the others go on
    SIGNAL = "signal"  # that signal is made anew, cameras and other signals go on
    CONNECTION = "connection"  # the broker connection is made anew; the outbox keeps what comes meanwhile
    RESTART = "restart"  # the daemon is restarted


class AddressBook(Protocol):
    """Who knows addresses. Both answers are in words, None when nothing is wrong."""

    def fault(self, kind: str, text: str) -> str | None:
        """What is wrong with the address of a "source", "trigger" or "signal"."""

    def overlap(self, triggers: Mapping[str, str], signals: Mapping[str, tuple[str, tuple[str, ...]]]) -> str | None:
        """Which triggers (by camera) and signals (by name: address, cameras) are in each other's way."""


def address_fault(kind: str, text: str, info: ValidationInfo) -> str | None:
    """What is wrong with an address, as those who know say; None when nothing is, or nobody was asked."""
    addresses: AddressBook | None = (info.context or {}).get("addresses")
    return None if addresses is None else addresses.fault(kind, text)


REQUIRED: Any = ...


def key(
    default: Any,
    description: str,
    *,
    apply: Apply = Apply.RESTART,
    expected: str | None = None,
    example: object = None,
    schema: Mapping[str, Any] | None = None,
    **bounds: Any,
) -> Any:
    """A key. `expected` says what fits in words, where bounds and type alone would read badly; `schema` adds to the
    JSON Schema.
    """
    extra: dict[str, Any] = {**(schema or {}), "x-apply": apply.value}
    if expected is not None:
        extra["x-expected"] = expected
    examples = None if example is None else [example]
    return Field(default, description=description, examples=examples, json_schema_extra=extra, **bounds)


def refuse(expected: str, hint: str = "") -> PydanticCustomError:
    """What a rule raises: the words for `expected` and a hint; the place is found by whoever loads the file."""
    return PydanticCustomError("rule", "{expected}", {"expected": expected, "hint": hint})


class Section(BaseModel):
    """A map of known keys: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
        # An empty section is null in YAML; see the validator below.
        json_schema_extra={"type": ["object", "null"]},
    )

    @model_validator(mode="before")
    @classmethod
    def _an_empty_section_means_its_defaults(cls, value: object) -> object:
        # `logging:` with every line below it commented out is a habit, not a mistake.
        return {} if value is None else value


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise refuse("a path")
    directory: Path = (info.context or {}).get("directory", Path())
    return directory / value


# A path; a relative one is taken from the folder of the configuration file.
FilePath = Annotated[
    Path, BeforeValidator(_path), WithJsonSchema({"type": "string", "x-expected": "a path"}, mode="validation")
]
