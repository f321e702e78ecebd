"""A real HTTP camera on loopback: Python's own server, streaming JPEG after JPEG, well or badly by the path asked for.

with MjpegCamera(fps=50) as camera:
    camera.url("stream")     a well-behaved stream; the other paths are the keys of STREAMS and ANSWERS
    camera.freeze()          connections stay, nothing comes
"""

import base64
import hashlib
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

PAUSE_S = 20.0  # how long a frozen camera stays so, unless it is thawed or closed
BOUNDARY = "frame"


def jpeg(number, size=(48, 64)):
    """An encoded picture whose grey says its number."""
    return cv2.imencode(".jpg", np.full((*size, 3), 20 + 10 * (number % 20), np.uint8))[1].tobytes()


def part(body, *, length=True, name=f"--{BOUNDARY}", stated=None):
    lines = [name, "Content-Type: image/jpeg"]
    if length:
        lines.append(f"Content-Length: {len(body) if stated is None else stated}")
    return "\r\n".join([*lines, "", ""]).encode() + body + b"\r\n"


# What follows the headers, for ever unless it ends: each yields bytes; the server waits a frame's time between them.
def steady(camera, **how):
    number = 0
    while True:
        yield part(jpeg(number, camera.size), **how)
        number += 1


def one_of_three_is_garbage(camera):
    for number, picture in enumerate(steady(camera)):
        yield part(b"\xff\xd8 but no picture") if number % 3 == 1 else picture


def first(count, camera, *then):
    for number in range(count):
        yield part(jpeg(number, camera.size))
    yield from then


def byte_by_byte(camera):
    yield from first(1, camera)
    while True:
        yield b"-"


STREAMS = {
    "stream": (BOUNDARY, steady),
    "without-length": (BOUNDARY, lambda camera: steady(camera, length=False)),
    "dashes-in-the-name": (f"--{BOUNDARY}", steady),
    "more-dashes": (f"--{BOUNDARY}", lambda camera: steady(camera, name=f"----{BOUNDARY}")),
    "prose-before": (BOUNDARY, lambda camera: first(1, camera, *[])),
    "garbage-between": (BOUNDARY, one_of_three_is_garbage),
    "half-pictures": (BOUNDARY, lambda camera: first(1, camera, *[part(jpeg(1)[:-200])] * 3)),
    "closed-inside": (BOUNDARY, lambda camera: first(3, camera, part(jpeg(3))[:-100])),
    "ended": (BOUNDARY, lambda camera: first(3, camera, f"--{BOUNDARY}--\r\n".encode())),
    "no-multipart": (BOUNDARY, lambda _camera: iter(lambda: bytes(32768), None)),
    "another-boundary": ("other", steady),
    "huge-part": (BOUNDARY, lambda camera: first(1, camera, part(b"", stated=10**11))),
    "too-short-length": (BOUNDARY, lambda camera: first(1, camera, part(jpeg(1), stated=100), part(jpeg(2)))),
    "endless-headers": (BOUNDARY, lambda _camera: iter([f"--{BOUNDARY}\r\n".encode() + b"X: y\r\n" * 3000])),
    "byte-by-byte": (BOUNDARY, byte_by_byte),
}
ANSWERS = {  # path -> status, headers, body
    "page": (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>camera</html>"),
    "snapshot": (200, {"Content-Type": "image/jpeg"}, jpeg(1)),
    "film": (200, {"Content-Type": "video/mp4"}, b""),
    "moved": (302, {"Location": "https://user:hunter2@elsewhere/stream"}, b""),
    "forbidden": (403, {}, b""),
    "busy": (503, {}, b""),
    "odd": (418, {}, b""),
    "no-boundary": (200, {"Content-Type": "multipart/x-mixed-replace"}, b""),
}


class MjpegCamera:
    """`login` is (user, password), asked for as `scheme` says: "basic" or "digest"."""

    def __init__(self, *, size=(48, 64), fps=50.0, port=0, login=None, scheme="digest", certificate=None):
        self.size, self.fps, self.login, self.scheme = size, fps, login, scheme
        self.viewers = self.cuts = 0
        self.closing = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._server.daemon_threads = True
        self._server.camera = self
        self._tls = certificate is not None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, path="stream"):
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/{path}"

    def freeze(self):
        self._flowing.clear()

    def cut(self):
        """Whoever watches now is cut off, and may come again."""
        self.cuts += 1

    def thaw(self):
        self._flowing.set()

    def pause(self):
        """A frame's time, and longer while frozen; False when the camera is switched off."""
        self._flowing.wait(PAUSE_S)
        return not self.closing.wait(1 / self.fps)

    def close(self):
        """Power cut: every connection ends."""
        self.closing.set()
        self._flowing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.close()


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_words):
        pass

    def do_GET(self):
        camera, name = self.server.camera, self.path.split("?")[0].strip("/")
        if camera.login and not knows_login(
            camera.login, camera.scheme, self.headers.get("Authorization", ""), self.path
        ):
            self._answer(401, {"WWW-Authenticate": CHALLENGES[camera.scheme]}, b"")
        elif name in ANSWERS:
            self._answer(*ANSWERS[name])
        elif name in STREAMS:
            self._stream(*STREAMS[name])
        else:
            self._answer(404, {}, b"")

    def _answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, boundary, make):
        camera = self.server.camera
        camera.viewers, cuts = camera.viewers + 1, camera.cuts
        self.send_response(200)
        self.send_header("Content-Type", f'multipart/x-mixed-replace; boundary="{boundary}"')
        self.end_headers()
        try:
            for piece in make(camera):
                self.wfile.write(piece)
                if not camera.pause() or camera.cuts != cuts:
                    return
        except OSError:
            pass  # the viewer went away


NONCE, REALM = "5f6e", "camera"
CHALLENGES = {
    "basic": f'Basic realm="{REALM}"',
    "digest": f'Digest realm="{REALM}", nonce="{NONCE}", qop="auth", algorithm=MD5',
    "unknown": "Negotiate",
    "broken": "Digest realm",
}


def knows_login(login, scheme, header, target, method="GET"):
    """Whether the Authorization header holds this login (RFC 7617, RFC 7616)."""
    user, password = login
    if scheme == "basic":
        return header == "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    said = dict(re.findall(r'(\w+)="?([^",]*)"?', header))
    first_hash, second_hash = _md5(f"{user}:{REALM}:{password}"), _md5(f"{method}:{target}")
    words = (first_hash, NONCE, said.get("nc", ""), said.get("cnonce", ""), "auth", second_hash)
    return said.get("response") == _md5(":".join(words))


def _md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
