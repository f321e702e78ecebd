"""Keys of a line signal: whom verdicts are told, when, and what is shown in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo, field_validator

from edge_agent.config.camera import Camera
from edge_agent.config.keys import REQUIRED, AddressBook, Apply, FilePath, Section, address_fault, key, refuse
from edge_agent.config.logins import Password, has_a_certificate, has_a_user
from edge_agent.config.texts import Address, Name


class Signal(Section):
    """One way by which the line hears verdicts. What it shows, and what a PLC must do with it: docs/line.md."""

    to: Address = key(
        REQUIRED,
        "Where verdicts go: `modbus://HOST/holding/N` (we write), `modbus-server://ADDRESS:PORT/holding/N` (the PLC "
        "reads), `opc.tcp://HOST?node=ns=2;s=NAME.*`, `gpio:/dev/gpiochip0?pass=LINE`, `socket:NAME`.",
        apply=Apply.SIGNAL,
        example="modbus://10.0.0.20/holding/100",
        min_length=1,
        max_length=1024,
    )
    cameras: tuple[Name, ...] | None = key(
        None,
        "The cameras whose verdicts are told, in the order of their blocks; null: all, as they stand in this file.",
        apply=Apply.SIGNAL,
        expected="a list of names of cameras",
        example=("press-3-top",),
        min_length=1,
        max_length=64,
    )
    after: Literal["verdict", "durable"] = key(
        "verdict",
        "`verdict` tells at once; `durable` only once the verdict would survive a power cut. Such verdicts are written "
        "to disk one by one, not in groups of `outbox.commit_window_ms`: that wears flash more.",
        apply=Apply.SIGNAL,
    )
    fail_safe: Literal["HOLD", "FAIL"] = key(
        "HOLD", "What is shown at the start, while something stalls, and when we stop.", apply=Apply.SIGNAL
    )
    heartbeat_ms: int = key(
        500, "How often the heartbeat counts on while pictures are being judged.", apply=Apply.SIGNAL, ge=20, le=60_000
    )
    stall_ms: int = key(
        2000,
        "When the inspect loop does not turn for so long, the fail-safe is shown and the heartbeat stands still.",
        apply=Apply.SIGNAL,
        ge=500,
        le=60_000,
    )
    show_ms: int = key(
        0,
        "Each verdict stands at least so long before the next may follow: longer than the PLC's cycle.",
        apply=Apply.SIGNAL,
        ge=0,
        le=10_000,
    )
    username: str | None = key(None, "User of an OPC UA server.", apply=Apply.SIGNAL, min_length=1, max_length=255)
    password: Password | None = key(None, "Password of an OPC UA server.", apply=Apply.SIGNAL, example="!secret NAME")
    security: Literal["none", "sign", "sign-and-encrypt"] = key(
        "none",
        "OPC UA: `sign` and `sign-and-encrypt` use Basic256Sha256 and need `cert_file` and `key_file`.",
        apply=Apply.SIGNAL,
    )
    cert_file: FilePath | None = key(None, "Our certificate for OPC UA (DER or PEM).", apply=Apply.SIGNAL)
    key_file: FilePath | None = key(
        None, "The private key of our certificate (PEM).", apply=Apply.SIGNAL, validate_default=True
    )
    server_cert_file: FilePath | None = key(
        None,
        "The certificate that the OPC UA server must have; null takes the one it shows.",
        apply=Apply.SIGNAL,
    )

    @field_validator("to")
    @classmethod
    def _the_line_can_be_told(cls, value: str, info: ValidationInfo) -> str:
        problem = address_fault("signal", value, info)
        if problem:
            raise refuse("a signal", problem)
        return value

    @field_validator("username", "cert_file")
    @classmethod
    def _only_opcua_has_logins(cls, value: object, info: ValidationInfo) -> object:
        to = info.data.get("to")
        if value is not None and to is not None and not to.startswith("opc.tcp:"):
            raise refuse(f"no {info.field_name}", "only opc.tcp:// has users and certificates")
        return value

    _a_password_has_a_user = field_validator("password")(has_a_user)

    @field_validator("key_file")
    @classmethod
    def _security_has_its_files(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        has_a_certificate(value, info)
        if "cert_file" in info.data and value is None and info.data.get("security") not in (None, "none"):
            raise refuse(f"cert_file and key_file for security: {info.data['security']}")
        return value


def fault_of_signals(
    signals: Mapping[str, Signal], cameras: Mapping[str, Camera], addresses: AddressBook | None
) -> tuple[str, str] | None:
    """What does not fit between the signals and the cameras: (expected, hint), None when all does."""
    told = {name: signal.cameras or tuple(cameras) for name, signal in signals.items()}
    for name, signal in signals.items():
        where = f"in {name}.cameras"
        unknown = next((camera for camera in told[name] if camera not in cameras), None)
        if unknown is not None:
            return f"cameras of this file, not {unknown!r}, {where}", f"the cameras are {', '.join(cameras)}"
        if len(set(told[name])) != len(told[name]):
            return f"each camera once {where}", ""
        if len(told[name]) > 1 and signal.to.startswith("gpio:"):
            return f"one camera {where}", "GPIO lines show one verdict; give each camera its own signal"
        if len(told[name]) > 1 and signal.to.startswith("opc.tcp:") and "{camera}" not in signal.to:
            return f"one camera {where}", "its nodes show one verdict; write {camera} in node=, or one signal each"
    triggers = {name: camera.trigger for name, camera in cameras.items() if camera.trigger is not None}
    places = {name: (signal.to, told[name]) for name, signal in signals.items()}
    meeting = addresses.overlap(triggers, places) if addresses is not None else None
    return None if meeting is None else ("room of its own for each signal and acknowledgement", meeting)
