"""What the configuration says of the broker, as sync understands it. Imports nothing heavy."""

from __future__ import annotations

from edge_agent.config.settings import Settings
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.topics import Branch


def mqtt_options(settings: Settings, *, client_id: str | None = None) -> MqttOptions:
    """How to reach the broker; the client id is the gateway's name unless another is given."""
    keys = settings.mqtt
    return MqttOptions(
        url=keys.url,
        client_id=client_id or settings.site.gateway,
        username=keys.username,
        password=keys.password.get_secret_value() if keys.password is not None else None,
        ca_file=keys.ca_file,
        cert_file=keys.cert_file,
        key_file=keys.key_file,
        protocol=keys.protocol,
        keepalive_s=keys.keepalive_s,
        session_expiry_s=keys.session_expiry_s,
        connect_timeout_s=keys.connect_timeout_s,
        in_flight=keys.in_flight,
    )


def branch_of(settings: Settings) -> Branch:
    """The part of the topic tree that is this gateway's own."""
    return Branch(root=tuple(settings.topic_root.split("/")), gateway=settings.site.gateway)
