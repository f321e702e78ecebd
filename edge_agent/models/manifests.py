"""Any manifest: of an encoder with a head (schema 1), or of a network of your own (schema 2). Pure."""

from __future__ import annotations

from edge_agent.errors import BadBundleError
from edge_agent.models import bundle, network_manifest
from edge_agent.models.bundle import MANIFEST_NAME, Manifest
from edge_agent.models.network_manifest import NetworkManifest

AnyManifest = Manifest | NetworkManifest


def read(content: bytes) -> AnyManifest:
    """Parse and check a manifest.

    Raises:
        BadBundleError: too long, too deep, not canonical JSON, of a newer schema, or a value out of its bounds.
    """
    root, schema = bundle.parse(content)
    if schema == bundle.SCHEMA:
        return bundle.from_field(root)
    if schema == network_manifest.SCHEMA:
        return network_manifest.from_field(root)
    raise BadBundleError(
        f"{MANIFEST_NAME}: schema is {schema}, this program knows {bundle.SCHEMA} and {network_manifest.SCHEMA}; "
        "update it"
    )


def kind_of(manifest: AnyManifest) -> str:
    """What people are told: "encoder + head", or the kind of network."""
    return manifest.kind if isinstance(manifest, NetworkManifest) else "encoder + head"
