"""Which bundle of a model is active and which was before: a few bytes, replaced as a whole. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from edge_agent.errors import BadBundleError
from edge_agent.models.bundle import SHA256
from edge_agent.models.fields import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Digests; `previous` is what a rollback returns to, None before the second activation."""

    active: str
    previous: str | None

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode() + b"\n"

    @staticmethod
    def from_bytes(content: bytes) -> Pointer:
        """Parse a pointer.

        Raises:
            BadBundleError: it is damaged.
        """
        try:
            root = Field(json.loads(content), "pointer")
        except (ValueError, RecursionError) as error:
            raise BadBundleError(f"not a pointer ({error})") from error
        previous = root.get("previous")
        return Pointer(
            active=root.get("active").text(SHA256), previous=None if previous.value is None else previous.text(SHA256)
        )
