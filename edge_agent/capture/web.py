"""The door to HTTP cameras: one request with time-outs and a login; whatever goes wrong is a CameraError.

    reply = ask(place, Request(...), timeout_s=5.0)      401 with a challenge: asked once more, with the login
    reply.read1(65536, within_s=2.0)                     b"" at the end, None: nothing came in time

Basic and digest logins are the standard library's (RFC 7617; RFC 7616 with MD5 and SHA-1). Redirects are not followed:
the login would go where the camera says.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from edge_agent.capture.network import host_and_port, unreachable
from edge_agent.clock import Clock
from edge_agent.config.redact import redact
from edge_agent.errors import CameraError

_PORTS = {"http": 80, "https": 443}
_MOST_SHOWN_CHARS = 120

_ADVICE = {
    403: "403, the camera refuses this user",
    404: "404, the camera has nothing of this name; check the path",
    503: "503, the camera serves no more viewers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to ask. `target` is path and query as they go over the wire; `username` None: no login."""

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)  # some cameras want the password in the query
    username: str | None = None
    password: str = field(default="", repr=False)
    tls_verify: bool = True

    @property
    def where(self) -> str:
        """For people."""
        return host_and_port(self.host, self.port)


def place_of(url: str, *, tls_verify: bool = True) -> Place:
    """The place of an `http://` or `https://` URL that `addresses.parse` took."""
    parts = urlsplit(url)
    return Place(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=parts.port or _PORTS[parts.scheme],
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        username=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
        tls_verify=tls_verify,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked. A `body` makes it a POST."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


class Reply:
    """An answer whose body is still to be read."""

    def __init__(self, connection: http.client.HTTPConnection, link: socket.socket, place: Place) -> None:
        self._connection = connection
        self._link = link  # http.client forgets it at once where the answer ends with the connection
        self._place = place
        self._response = connection.getresponse()

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def reason(self) -> str:
        """The server's own words beside the status."""
        return self._response.reason

    @property
    def headers(self) -> http.client.HTTPMessage:
        return self._response.headers

    def read1(self, most_bytes: int, *, within_s: float) -> bytes | None:
        """What comes next, up to so many bytes; empty at the end, None when nothing came in time.

        Raises:
            CameraError: the connection broke.
        """
        try:
            self._link.settimeout(max(within_s, 0.001))
            return self._response.read1(most_bytes)
        except TimeoutError:
            return None
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk without a length
            raise CameraError(f"{self._place.where}: the connection broke ({error})") from error

    def read(self, most_bytes: int, *, within_s: float, clock: Clock) -> bytes:
        """All of a short answer; one byte more than `most_bytes` where there is more.

        Raises:
            CameraError: it was not whole in time, or the connection broke.
        """
        due_s, content = clock.mono_s() + within_s, b""
        while len(content) <= most_bytes:
            chunk = self.read1(most_bytes + 1 - len(content), within_s=due_s - clock.mono_s())
            if chunk is None or clock.mono_s() > due_s:
                raise CameraError(f"{self._place.where} did not answer within {within_s:g} s")
            if not chunk:
                break
            content += chunk
        return content

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def ask(place: Place, request: Request, *, timeout_s: float) -> Reply:
    """The answer to a request, whatever its status; each step may take `timeout_s`.

    Raises:
        CameraError: no answer, or none that is HTTP.
    """
    reply = _exchange(place, request, {}, timeout_s)
    if reply.status == 401 and place.username is not None:
        login = _authorization(reply.headers.get_all("WWW-Authenticate", []), place, request)
        if login is not None:
            reply.close()
            return _exchange(place, request, {"Authorization": login}, timeout_s)
    return reply


def refusal(reply: Reply, place: Place) -> str:
    """What a status other than 200 means."""
    if reply.status == 401:
        given = "did not take these" if place.username is not None else "was given none; check username and password"
        return f"{place.where} answers 401: it wants a user and a password and {given}"
    if 300 <= reply.status < 400:
        target = shown(reply.headers.get("Location", "somewhere else"))
        return f"{place.where} answers {reply.status}: it is at {target} now; write that address"
    return f"{place.where} answers {_ADVICE.get(reply.status, f'{reply.status} {shown(reply.reason)}')}"


def shown(words: str) -> str:
    """What a camera said, fit for a message: printable, short, without credentials."""
    plain = "".join(letter if letter.isprintable() else " " for letter in redact(words))
    return plain if len(plain) <= _MOST_SHOWN_CHARS else plain[: _MOST_SHOWN_CHARS - 3] + "..."


def _exchange(place: Place, request: Request, login: Mapping[str, str], timeout_s: float) -> Reply:
    connection = _connection(place, timeout_s)
    try:
        connection.connect()
        link = connection.sock
        method = "GET" if request.body is None else "POST"
        connection.request(method, place.target, request.body, {**request.headers, **login})
        return Reply(connection, link, place)
    except OSError as error:
        connection.close()
        raise CameraError(unreachable(error, place.host, place.port, timeout_s=timeout_s)) from error
    except (http.client.HTTPException, ValueError) as error:  # ValueError: a path that cannot stand in a request
        connection.close()
        raise CameraError(
            f"{place.where} closed the connection or does not speak HTTP ({shown(str(error))})"
        ) from error


def _connection(place: Place, timeout_s: float) -> http.client.HTTPConnection:
    if place.scheme == "http":
        return http.client.HTTPConnection(place.host, place.port, timeout=timeout_s)
    context = ssl.create_default_context()
    if not place.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(place.host, place.port, timeout=timeout_s, context=context)


def _authorization(challenges: list[str], place: Place, request: Request) -> str | None:
    """What to answer a server that asks for a login; None where it asks for one that we do not know."""
    for challenge in sorted(challenges, key=str.lower, reverse=True):  # digest, which hides the password, before basic
        scheme, _, words = challenge.partition(" ")
        if scheme.lower() == "digest" and (answer := _digest(words, place, request)) is not None:
            return answer
        if scheme.lower() == "basic":
            pair = f"{place.username}:{place.password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
    return None


def _digest(words: str, place: Place, request: Request) -> str | None:
    url = f"{place.scheme}://{place.where}{place.target}"
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, url, place.username or "", place.password)
    handler = urllib.request.HTTPDigestAuthHandler(passwords)
    try:
        parts = urllib.request.parse_keqv_list(urllib.request.parse_http_list(words))
        question = urllib.request.Request(url, data=request.body)  # noqa: S310 - http or https; not opened here
        answer = handler.get_authorization(question, parts)
    except (ValueError, IndexError, TypeError, urllib.error.URLError):  # a challenge that cannot be read, or met
        return None
    return None if answer is None else f"Digest {answer}"
