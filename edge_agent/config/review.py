"""Keys of the review page: where it listens, for whom, for how long."""

from __future__ import annotations

import ipaddress

from pydantic import field_validator

from edge_agent.config.keys import Apply, FilePath, Section, key, refuse
from edge_agent.config.logins import has_a_certificate

DEFAULT_LISTEN = "127.0.0.1:8480"


def split_address(text: str) -> tuple[str, int]:
    """Address and port of `127.0.0.1:8480` or `[::1]:8480`.

    Raises:
        ValueError: it is neither.
    """
    address, _, port = text.rpartition(":")
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    found = ipaddress.ip_address(bare)
    if (found.version == 6) != (bare != address) or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(text)
    return bare, int(port)


class Review(Section):
    """The page on which people label pictures (docs/review.md); it runs only where it is started."""

    listen: str = key(
        DEFAULT_LISTEN,
        "Where the page answers. Beyond this machine (0.0.0.0:8480, or one address of the plant's network) give it "
        "cert_file and key_file as well.",
        apply=Apply.RESTART,
        expected="ADDRESS:PORT",
        max_length=128,
    )
    cert_file: FilePath | None = key(
        None, "Certificate (PEM) of the page; then it speaks HTTPS only.", apply=Apply.RESTART, validate_default=True
    )
    key_file: FilePath | None = key(None, "Private key (PEM) of cert_file.", apply=Apply.RESTART, validate_default=True)
    hosts: tuple[str, ...] = key(
        (),
        "Names that people type for this page; addresses, localhost and this machine's own name work without.",
        apply=Apply.RESTART,
        example=("gw-07.plant.local",),
        max_length=32,
    )
    session_hours: float = key(10.0, "After so long people log in again: a shift.", apply=Apply.RESTART, ge=0.1, le=168)
    idle_minutes: float = key(
        30.0,
        "The same after so long without a touch: on a tablet that people share, labels get the right name.",
        apply=Apply.RESTART,
        ge=1,
        le=1440,
    )

    @field_validator("listen")
    @classmethod
    def _it_is_an_address_and_a_port(cls, value: str) -> str:
        try:
            split_address(value)
        except ValueError as error:
            raise refuse("ADDRESS:PORT, such as 127.0.0.1:8480, 0.0.0.0:8480 or [::1]:8480") from error
        return value

    _certificate_and_key_come_together = field_validator("key_file")(has_a_certificate)
