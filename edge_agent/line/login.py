"""Who we are to an OPC UA server; apart from the package that needs it, which may not be installed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How we show who we are. `security` is none, sign or sign-and-encrypt (Basic256Sha256)."""

    username: str | None = None
    password: str | None = None
    security: str = "none"
    cert_file: Path | None = None
    key_file: Path | None = None
    server_cert_file: Path | None = None
