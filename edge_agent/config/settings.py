"""The configuration as the program knows it, and `load`, the one way to it: what `check` accepts is what `run` runs.

bytes --nodes--> tree --migrate--> tree of this version --inherit--> per camera --validate--> Settings | every fault
"""

from __future__ import annotations

import collections.abc
import hashlib
import importlib.resources
import json
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from edge_agent.config import nodes
from edge_agent.config.camera import Camera, Inspection
from edge_agent.config.evidence import Evidence, Keeping
from edge_agent.config.faults import InvalidConfigError, Place, fault_at
from edge_agent.config.keys import REQUIRED, AddressBook, Apply, Section, key, refuse
from edge_agent.config.learning import Learning
from edge_agent.config.migrate import MIGRATIONS, VERSION, Migration, migrate
from edge_agent.config.review import Review
from edge_agent.config.secrets import Secrets
from edge_agent.config.sections import (
    DeviceKeys,
    Logging,
    Models,
    Mqtt,
    Outbox,
    Site,
    Storage,
    Telemetry,
)
from edge_agent.config.signals import Signal, fault_of_signals
from edge_agent.config.texts import Name
from edge_agent.config.validate import faults, inherit, values


class Settings(Section):
    """Everything the file says, with the defaults filled in; each camera holds its effective inspection keys."""

    version: Literal[1] = key(REQUIRED, "Version of the format of this file.", example=1)
    site: Site = key(REQUIRED, "Where this gateway stands.")
    inspection: Inspection = Field(default=Inspection(), description="How parts are judged, for every camera.")
    evidence: Evidence = Field(default=Evidence(), description="Pictures kept for labels and learning.")
    cameras: collections.abc.Mapping[Name, Camera] = key(
        REQUIRED,
        "The cameras by name.",
        apply=Apply.CAMERA,
        expected="a map of 1 to 64 cameras",
        schema={"additionalProperties": False},
        min_length=1,
        max_length=64,
    )
    signals: collections.abc.Mapping[Name, Signal] = key(
        {},
        "Whom the line hears verdicts from, by name.",
        apply=Apply.SIGNAL,
        expected="a map of up to 16 signals",
        schema={"additionalProperties": False},
        max_length=16,
        validate_default=True,  # triggers may be in each other's way, too
    )
    mqtt: Mqtt = key(REQUIRED, "The broker.")
    models: Models = Field(default=Models(), description="Model bundles.")
    outbox: Outbox = Field(default=Outbox(), description="What waits for the broker.")
    learning: Learning = Field(default=Learning(), description="What is learned at night.")
    review: Review = Field(default=Review(), description="The page on which people label pictures.")
    telemetry: Telemetry = Field(default=Telemetry(), description="Numbers that are sent regularly.")
    device: DeviceKeys = Field(default=DeviceKeys(), description="The machine.")
    storage: Storage = Field(default=Storage(), description="Where things are kept.")
    logging: Logging = Field(default=Logging(), description="Messages.")

    @field_validator("signals")
    @classmethod
    def _signals_tell_of_cameras_that_exist(
        cls, value: collections.abc.Mapping[str, Signal], info: ValidationInfo
    ) -> collections.abc.Mapping[str, Signal]:
        cameras: collections.abc.Mapping[str, Camera] = info.data.get("cameras", {})
        addresses: AddressBook | None = (info.context or {}).get("addresses")
        problem = fault_of_signals(value, cameras, addresses) if cameras else None
        if problem is not None:
            raise refuse(*problem)
        return value

    @property
    def topic_root(self) -> str:
        """The levels above the gateway in every topic."""
        return self.mqtt.root or self.site.root

    def keeping(self, camera: str) -> Keeping:
        """Which pictures of a camera are kept."""
        return self.cameras[camera].evidence or self.evidence

    @property
    def digest(self) -> str:
        """sha256 (hex) of the effective configuration. Secrets are left out: a digest is published."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Every key with its effective value as JSON values; secrets hidden."""
        return self.model_dump(mode="json")

    def as_yaml(self) -> str:
        """Every key with its effective value; `load` reads it back to the same settings (but for secrets)."""
        return str(yaml.safe_dump(self.plain(), sort_keys=False, allow_unicode=True, width=120))


def load(
    path: Path,
    *,
    addresses: AddressBook | None = None,
    environment: collections.abc.Mapping[str, str] | None = None,
    secrets_of: Collection[str] | None = None,
) -> Settings:
    """The settings of a file.

    `addresses` knows what is wrong with an address: capture and line do, and config lies below them; None: nobody is
    asked. `environment` is os.environ unless handed in; it is read for secrets only. `secrets_of` names the sections
    whose secrets this process is given (`("mqtt",)` for sync): those of others stay empty and are not missed.

    Raises:
        InvalidConfigError: the file cannot be read or has faults; every fault with its place.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        top = Place(file=str(path), line=1, column=1)
        hint = "edge-agent init writes one; --config FILE names another" if isinstance(error, FileNotFoundError) else ""
        found = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or "a fault"
        raise InvalidConfigError([fault_at(top, "", found, "a readable configuration", hint)]) from error
    return loads(content, file=path, addresses=addresses, environment=environment, secrets_of=secrets_of)


def loads(
    content: bytes,
    *,
    file: Path,
    addresses: AddressBook | None = None,
    environment: collections.abc.Mapping[str, str] | None = None,
    secrets_of: Collection[str] | None = None,
    migrations: collections.abc.Mapping[int, Migration] = MIGRATIONS,
) -> Settings:
    """The settings in the bytes of `file`; see `load`."""
    directory = file.absolute().parent
    secrets = Secrets(directory, os.environ if environment is None else environment)
    tree = migrate(nodes.read(content, str(file)), VERSION, migrations)
    merged = inherit(tree, "inspection", "cameras", Inspection.model_fields)
    merged = inherit(merged, "evidence", "cameras", Keeping.model_fields, within="evidence")

    def find_secret(name: str, place: Place, key: str) -> str:
        mine = secrets_of is None or key.split(".", maxsplit=1)[0] in secrets_of
        return secrets.find(name, place, key) if mine else ""

    plain, found = values(merged, find_secret)
    context = {"addresses": addresses, "directory": directory, "profiles": profile_names()}
    try:
        settings = Settings.model_validate(plain, context=context)
    except ValidationError as error:
        # Where a secret is at fault already, what pydantic says of the gap it left is no news.
        known = {(fault.file, fault.line, fault.column) for fault in found}
        found += [f for f in faults(error, merged, schema()) if (f.file, f.line, f.column) not in known]
        raise InvalidConfigError(found) from error
    if found:
        raise InvalidConfigError(found)
    return settings


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


@cache
def profile_names() -> tuple[str, ...]:
    """The names of the device profiles that come with the program."""
    try:
        folder = importlib.resources.files("firmware_profiles")
    except ModuleNotFoundError:
        return ()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))
