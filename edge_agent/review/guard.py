"""What every request must be and every answer carries, whatever page it is for: one ASGI layer around the page.

Host a name of ours? -> GET, HEAD or POST? -> POST: from our own page, short? -> the page -> headers
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM_LIMIT_BYTES = 16 * 1024
LOCAL = "localhost"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null` with our own forms (Fetch, 3.2.5), which is refused below.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """The layer. `names` are the host names people may use; addresses and localhost always may be."""

    def __init__(self, app: ASGIApp, names: Iterable[str], *, tls: bool) -> None:
        self._app = app
        self._names = frozenset(name.casefold() for name in names) | {LOCAL}
        self._scheme = "https" if tls else "http"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer[name] = value
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            # A name of somebody else's that leads here: DNS rebinding, or a name that review.hosts should have.
            return PlainTextResponse(
                f"This page does not answer to {host[:100]!r}. Its addresses, and the names in review.hosts, do.\n", 421
            )
        if method not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("GET, HEAD or POST.\n", 405, {"Allow": "GET, HEAD, POST"})
        if method != "POST":
            return None
        if headers.get("origin") != f"{self._scheme}://{host}":
            return PlainTextResponse("This did not come from the review page itself.\n", 403)
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("A form says how long it is.\n", 411)
        if int(length) > FORM_LIMIT_BYTES:
            return PlainTextResponse(f"A form of {length} bytes, expected at most {FORM_LIMIT_BYTES}.\n", 413)
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        bare = name.removeprefix("[").removesuffix("]")
        if bare.casefold() in self._names:
            return True
        try:
            # The attacker of a rebinding needs a name to rebind: an address as it stands is no danger.
            ipaddress.ip_address(bare)
        except ValueError:
            return False
        return True
