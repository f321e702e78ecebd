"""Where the broker is, how we prove who we are, and what to tell a technician when it cannot be reached."""

from __future__ import annotations

import socket
import ssl
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.errors import ConfigError

WILL_DELAY_S = 15  # a short break of the line is no news
_SCHEMES = {
    "mqtt": (1883, False, False),
    "mqtts": (8883, True, False),
    "ws": (80, False, True),
    "wss": (443, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker is, from its URL; `text` is fit for logs."""

    host: str
    port: int
    tls: bool
    websocket: bool
    path: str
    text: str


def parse_url(url: str) -> Address:
    """The address in `url`: mqtt://, mqtts://, ws:// or wss://.

    Raises:
        ConfigError: it is none of these, or names no host.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ConfigError(f"broker address with scheme {parts.scheme!r}: expected {', '.join(_SCHEMES)}, then ://HOST")
    default_port, tls, websocket = _SCHEMES[parts.scheme]
    try:
        port = parts.port or default_port
    except ValueError as error:
        raise ConfigError(f"broker address: {error}") from error
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        host=parts.hostname,
        port=port,
        tls=tls,
        websocket=websocket,
        path=parts.path or "/mqtt",
        text=f"{parts.scheme}://{host}:{port}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """How to reach the broker. `protocol` is 5 or 311; `in_flight` messages at most are sent and not acknowledged."""

    url: str
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    protocol: int = 5
    keepalive_s: int = 30
    session_expiry_s: int = 86_400
    connect_timeout_s: float = 10.0
    in_flight: int = 20
    will_delay_s: int = WILL_DELAY_S


class _TlsStream(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho 2.2.0 leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(options: MqttOptions) -> ssl.SSLContext:
    """What TLS needs: 1.2 or later, the plant's CA or the system's, our certificate where one is configured.

    Raises:
        OSError (FileNotFoundError, ssl.SSLError): a file is missing or is not a certificate or key.
    """
    # Read anew at every attempt, so that a renewed certificate needs no restart.
    context = ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsStream
    if options.cert_file is not None:
        context.load_cert_chain(str(options.cert_file), str(options.key_file) if options.key_file else None)
    return context


# X509_V_ERR_* of OpenSSL's x509_vfy.h, with what a technician has to look at.
_CERTIFICATE_FAULTS = {
    9: "the broker's certificate is not valid yet; is this gateway's clock right?",
    10: "the broker's certificate has expired; renew it on the broker (is this gateway's clock right?)",
    18: "the broker's certificate signs itself and is not in ca_file",
    19: "the broker's certificate is signed by a CA that is not in ca_file",
    20: "the broker's certificate is signed by a CA that is not in ca_file",
    21: "the broker's certificate is signed by a CA that is not in ca_file",
    62: "the broker's certificate is for another name than the one in mqtt.url",
    64: "the broker's certificate is for another address than the one in mqtt.url",
}


def explain(error: OSError | ValueError, options: MqttOptions) -> str:
    """Why a connection did not come to be, for a technician: what, and where to look."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _CERTIFICATE_FAULTS.get(error.verify_code, "the broker's certificate cannot be trusted")
        return f"{words} ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        if reason == "WRONG_VERSION_NUMBER":
            return "the port does not speak TLS; is mqtt:// meant, or another port?"
        if "ALERT" in reason:
            return f"the broker refuses our side of TLS ({reason}); look at cert_file and key_file"
        return f"TLS failed ({reason})"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the broker running, and is this its port?"
    if isinstance(error, TimeoutError):
        return f"no answer within {options.connect_timeout_s:g} s; is there a firewall?"
    if isinstance(error, FileNotFoundError):
        return f"ca_file, cert_file or key_file is missing ({error})"
    return f"{type(error).__name__}: {error}"
