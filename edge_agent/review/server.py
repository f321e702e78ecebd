"""uvicorn around the page: the socket, TLS, and the end. The one place that imports it."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from edge_agent.errors import ConfigError, TransientError

# Browsers keep six connections each; more people than this do not label at one gateway.
MOST_CONNECTIONS = 256
HEADER_LIMIT_BYTES = 16 * 1024
END_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """PEM files: a certificate (chain) and its private key."""

    cert_file: Path
    key_file: Path


def listen(address: str, port: int) -> socket.socket:
    """The socket that the page answers at; port 0 takes a free one.

    Raises:
        ConfigError: not an address, or a port that is not ours to use.
        TransientError: something else listens there, or this machine does not have the address now.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=128)
    except (PermissionError, socket.gaierror) as error:
        raise ConfigError(f"review.listen {address}:{port}: {error.strerror}") from error
    except OSError as error:
        # An address may come later, from DHCP after a power cut: the service tries again.
        hints = {errno.EADDRINUSE: "`ss -tlnp` shows who has it", errno.EADDRNOTAVAIL: "`ip addr` shows what there is"}
        hint = hints.get(error.errno or 0, "see review.listen")
        raise TransientError(f"review.listen {address}:{port}: {error.strerror}; {hint}") from error


def check_certificate(certificate: Certificate) -> None:
    """Whether TLS can be spoken with it.

    Raises:
        ConfigError: a file cannot be read, or the two do not belong together.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate.cert_file, certificate.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"review: {certificate.cert_file} and {certificate.key_file} give no TLS: {error}") from error


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


class Server:
    """The page at one socket. `run` returns when `stop` was called, by whatever thread, or by SIGTERM or SIGINT."""

    def __init__(
        self, app: ASGIApp, certificate: Certificate | None = None, *, ready: Callable[[], object] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Nobody's X-Forwarded-For decides whose password may be tried how often.
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=HEADER_LIMIT_BYTES,
            timeout_graceful_shutdown=END_S,
            ssl_certfile=None if certificate is None else certificate.cert_file,
            ssl_keyfile=None if certificate is None else certificate.key_file,
        )
        self._server = _Server(config, ready)

    def run(
        self, at: socket.socket, *, every_s: float | None = None, alive: Callable[[], object] = lambda: None
    ) -> None:
        """Serve until told to stop; `alive` is called by the same loop that answers people, every `every_s`."""
        asyncio.run(self._run(at, every_s, alive))

    def stop(self) -> None:
        """End soon: what is being answered is answered."""
        self._server.should_exit = True

    async def _run(self, at: socket.socket, every_s: float | None, alive: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()

        def beat(seconds: float) -> None:
            alive()
            loop.call_later(seconds, beat, seconds)

        if every_s is not None:
            beat(every_s)
        await self._server.serve(sockets=[at])
