"""Why a camera on the network cannot be reached, in a technician's words."""

from __future__ import annotations

import socket


def host_and_port(host: str, port: int) -> str:
    """As in an address: `10.0.0.12:80`, `[fe80::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def unreachable(error: OSError, host: str, port: int, *, timeout_s: float) -> str:
    """What a failed connection means."""
    where = host_and_port(host, port)
    if isinstance(error, socket.gaierror):
        return f"the name {host} is not known; check the address and the name server"
    if isinstance(error, TimeoutError):
        return f"{where} accepts no connection or does not answer within {timeout_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses connections; is the camera on, is the port right?"
    import ssl  # noqa: PLC0415 - 2 MiB that only a failing connection needs to tell why

    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{where}: its certificate is not trusted ({error.verify_message}); install the authority that signed it, "
            "or set tls_verify: false for this camera"
        )
    if isinstance(error, ssl.SSLError):
        return f"{where} does not speak TLS ({error.reason or error}); is it http:// rather than https://?"
    return f"{where}: {error}"
