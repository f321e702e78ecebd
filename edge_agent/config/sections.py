"""Keys of the gateway as a whole: site, models, broker, outbox, telemetry, device, storage, logging.

Cameras, signals, evidence and the review page have files of their own; the reference page is made from all of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints, ValidationInfo, field_validator

from edge_agent.config.faults import did_you_mean
from edge_agent.config.keys import REQUIRED, Apply, FilePath, Section, key, refuse
from edge_agent.config.logins import Password, has_a_certificate
from edge_agent.config.release import Release
from edge_agent.config.texts import Level

MIB = 1024 * 1024


class Site(Section):
    """Where this gateway stands; the first levels of every topic."""

    enterprise: Level = key(REQUIRED, "The company.", example="acme")
    plant: Level = key(REQUIRED, "The plant.", example="lyon")
    area: Level | None = key(None, "The area, hall or line inside the plant; a third level when given.")
    gateway: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] = key(
        REQUIRED,
        "This gateway. The broker's ACL compares it with the common name of the client certificate.",
        expected="1 to 64 of a-z, 0-9 and -",
        example="gw-07",
    )

    @property
    def root(self) -> str:
        """The levels above the gateway: `acme/lyon`."""
        return "/".join(level for level in (self.enterprise, self.plant, self.area) if level)


class Models(Section):
    """Model bundles: what may come in and how it runs."""

    precision: Literal["auto", "int8", "fp32"] = key(
        "auto", "`auto` takes the flavour that the device profile names.", apply=Apply.RESTART
    )
    bundle_limit_bytes: int = key(
        256 * MIB, "Largest bundle that is accepted.", apply=Apply.RESTART, ge=MIB, le=4096 * MIB
    )
    vet_timeout_s: float = key(
        60.0, "Longest dry run of a new model in its own process.", apply=Apply.RESTART, ge=1, le=1800
    )
    latency_limit_ms: float | None = key(
        None,
        "A candidate whose look at a part takes longer, half the time, is refused. null: what the line leaves, the "
        "shortest `verdict_within_ms` of its cameras and the time between frames of all cameras, whichever is less.",
        apply=Apply.LIVE,
        gt=0,
        le=600_000,
    )
    release: Release = key(Release(), "How a candidate comes into force.", apply=Apply.LIVE)


class Mqtt(Section):
    """The broker."""

    url: str = key(
        REQUIRED,
        "Address of the broker: mqtts:// (TLS), mqtt://, wss:// or ws://.",
        apply=Apply.CONNECTION,
        expected="mqtts://HOST[:PORT], mqtt://HOST[:PORT], wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]",
        example="mqtts://broker.plant.local:8883",
        max_length=1024,
        repr=False,
    )
    username: str | None = key(None, "User name, where the broker asks for one.", apply=Apply.CONNECTION, min_length=1)
    password: Password | None = key(None, "Password.", apply=Apply.CONNECTION, example="!secret NAME")
    ca_file: FilePath | None = key(
        None, "Certificates that sign the broker's; null takes the system's.", apply=Apply.CONNECTION
    )
    cert_file: FilePath | None = key(None, "Client certificate (PEM).", apply=Apply.CONNECTION, validate_default=True)
    key_file: FilePath | None = key(
        None, "Private key of the client certificate (PEM).", apply=Apply.CONNECTION, validate_default=True
    )
    protocol: Literal[5, 311] = key(
        5, "MQTT version: 5, or 311 for 3.1.1, which hides refused messages.", apply=Apply.CONNECTION
    )
    keepalive_s: int = key(30, "A silent connection is checked this often.", apply=Apply.CONNECTION, ge=5, le=3600)
    session_expiry_s: int = key(
        86_400,
        "The broker keeps our subscriptions and commands for so long while we are away.",
        apply=Apply.CONNECTION,
        ge=0,
        le=2_592_000,
    )
    connect_timeout_s: float = key(10.0, "Longest wait for a connection.", apply=Apply.CONNECTION, ge=1, le=120)
    in_flight: int = key(20, "Messages sent and not yet acknowledged, at most.", apply=Apply.CONNECTION, ge=1, le=1000)
    root: str | None = key(
        None,
        "Levels above the gateway in every topic; null makes them from `site`.",
        apply=Apply.CONNECTION,
        expected="one to three levels such as acme/lyon/press-shop",
        example="acme/lyon",
        max_length=128,
    )

    @field_validator("url")
    @classmethod
    def _the_url_names_a_broker(cls, value: str) -> str:
        match = re.fullmatch(
            r"(mqtts?|wss?)://([^/?#\s]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:([0-9]{1,5}))?(/[^\s#]*)?", value
        )
        if not match or not 0 < int(match[5] or 1) < 65_536:
            raise refuse("mqtts://HOST[:PORT], mqtt://HOST[:PORT], wss://HOST[:PORT][/PATH] or ws://HOST[:PORT][/PATH]")
        if match[2]:
            raise refuse("an address without user and password", "write them as mqtt.username and mqtt.password")
        if match[6] not in (None, "/") and match[1].startswith("mqtt"):
            raise refuse("an address without a path", "topics are made from site; mqtt.root changes their first levels")
        return value

    _certificate_and_key_come_together = field_validator("key_file")(has_a_certificate)

    @field_validator("root")
    @classmethod
    def _the_root_is_a_topic(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(
            r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){0,2}", value
        ):
            raise refuse("one to three levels such as acme/lyon/press-shop")
        return value


class Outbox(Section):
    """What waits for the broker, on disk."""

    limit_bytes: int = key(
        512 * MIB,
        "Space for waiting messages; beyond it the least important go first.",
        apply=Apply.RESTART,
        ge=MIB,
        le=1024 * 1024 * MIB,
    )
    max_age_days: float = key(
        30.0, "Older messages are dropped and counted; alarms are kept.", apply=Apply.RESTART, gt=0, le=3650
    )
    commit_window_ms: int = key(
        20, "Verdicts of so many milliseconds share one write to disk.", apply=Apply.RESTART, ge=0, le=1000
    )


class Telemetry(Section):
    """Numbers that are sent regularly."""

    interval_s: float = key(
        10.0, "Seconds between live numbers (temperatures, fps, latency, queues).", apply=Apply.LIVE, ge=1, le=3600
    )
    summary_interval_s: float = key(
        60.0, "Seconds between retained summaries of each camera.", apply=Apply.LIVE, ge=1, le=86_400
    )


class DeviceKeys(Section):
    """The machine we run on."""

    profile: str = key(
        "auto",
        "`auto` detects the device; a name of a profile overrides it (docs/devices.md).",
        expected="auto or the name of a profile",
    )
    providers: tuple[str, ...] | None = key(
        None,
        "Execution providers in order, instead of the profile's. One that is not really in use is an error.",
        example=("CPUExecutionProvider",),
        min_length=1,
        max_length=8,
    )
    threads: int | None = key(None, "Threads of inference, instead of the profile's.", ge=1, le=64)

    @field_validator("profile")
    @classmethod
    def _the_profile_exists(cls, value: str, info: ValidationInfo) -> str:
        known: tuple[str, ...] = (info.context or {}).get("profiles", ())
        if value != "auto" and known and value not in known:
            raise refuse("auto or one of " + ", ".join(known), did_you_mean(value, known))
        return value


class Storage(Section):
    """Where things are kept. Relative paths start at the folder of this file."""

    state_dir: FilePath = key(Path("/var/lib/edge-agent"), "What must survive a restart: outbox, models, counters.")
    runtime_dir: FilePath = key(Path("/run/edge-agent"), "What need not: status snapshots.")
    min_free_bytes: int = key(
        256 * MIB,
        "Below so much free space nothing optional is written and an alarm is raised.",
        apply=Apply.LIVE,
        ge=0,
        le=1024 * 1024 * MIB,
    )


class Logging(Section):
    """Messages on stderr."""

    level: Literal["debug", "info", "warning", "error"] = key(
        "info", "The least important that is shown.", apply=Apply.LIVE
    )
    format: Literal["auto", "journal", "text", "json"] = key(
        "auto", "`auto` is `journal` under systemd and `text` elsewhere."
    )
    repeat_s: float = key(
        60.0, "Repeats of one message within so many seconds are counted, not shown.", apply=Apply.LIVE, ge=0, le=86_400
    )
