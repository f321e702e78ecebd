"""Why a stream does not open: one DESCRIBE (RFC 2326, section 10.2) and what the camera answers.

FFmpeg inside OpenCV only says "no". A technician needs to know whether the cable, the path or the password is wrong.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from edge_agent.capture.network import host_and_port, unreachable

_PORTS = {"rtsp": 554, "rtsps": 322}  # IANA
_MOST_ANSWER_BYTES = 4096

_ADVICE = {
    401: "401, the camera wants a user and a password; check username and password",
    403: "403, the camera refuses this user",
    404: "404, the camera has no stream of this name; check the path",
    453: "453, the camera has not enough bandwidth; close other viewers",
    503: "503, the camera serves no more viewers",
}


def refusal(url: str, *, timeout_s: float) -> str:
    """One line for a technician: what became of a DESCRIBE of `url` without credentials."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 554)
    where = host_and_port(host, port)
    bare = f"{parts.scheme}://{where}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
    question = f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    try:
        with socket.create_connection((host, port), timeout_s) as plain:
            link = _unverified(plain, host) if parts.scheme == "rtsps" else plain
            link.settimeout(timeout_s)
            link.sendall(question.encode("utf-8", "replace"))
            answer = link.recv(_MOST_ANSWER_BYTES)
    except OSError as error:
        return unreachable(error, host, port, timeout_s=timeout_s)
    has_user = parts.username is not None
    return verdict_on(answer, where, has_user=has_user)


def verdict_on(answer: bytes, where: str, *, has_user: bool) -> str:
    """What the first bytes of the answer mean."""
    words = answer.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    if not words[0].startswith("RTSP/") or len(words) < 2 or not words[1].isdigit():
        return f"{where} closed the connection or does not speak RTSP"
    status = int(words[1])
    if status == 401 and has_user:
        return f"{where} wants a user and a password and did not take these, or the path is wrong behind the login"
    if status == 200:
        return f"{where} answers, but the stream has no video that can be decoded, or no picture came in time"
    return f"{where} answers {_ADVICE.get(status, ' '.join(words[1:]))}"


def _unverified(plain: socket.socket, host: str) -> socket.socket:
    # Nothing is sent but the path, and FFmpeg itself does not verify a camera's self-signed certificate.
    import ssl  # noqa: PLC0415 - 2 MiB that only a refused rtsps:// camera needs to tell why

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
