"""Users, passwords and certificates, wherever a section has them, and which of them come in pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import PlainSerializer, SecretStr, ValidationInfo
from pydantic.json_schema import WithJsonSchema

from edge_agent.config.keys import refuse
from edge_agent.config.redact import HIDDEN

Password = Annotated[
    SecretStr,
    PlainSerializer(lambda _: HIDDEN, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "x-expected": "!secret NAME"}),
]


def has_a_user(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Rule of `password`, which stands after `username`."""
    if value is not None and "username" in info.data and info.data["username"] is None:
        raise refuse("username beside it")
    return value


def has_a_certificate(value: Path | None, info: ValidationInfo) -> Path | None:
    """Rule of `key_file`, which stands after `cert_file`: both or neither."""
    if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
        raise refuse("cert_file and key_file together" if value else "key_file beside cert_file")
    return value
