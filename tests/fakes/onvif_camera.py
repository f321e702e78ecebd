"""An ONVIF camera on loopback: its device service over HTTP, and its answers to WS-Discovery over UDP.

with OnvifCamera(serial="A1", login=("op", "secret")) as camera:
    camera.url                      http://127.0.0.1:PORT/onvif/device_service
    camera.exchange(serial="B2")    another camera at the same place
"""

import base64
import contextlib
import datetime
import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes.mjpeg_camera import CHALLENGES, knows_login

SILENCE_S = 20.0
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:tt="http://www.onvif.org/ver10/schema"'
    ' xmlns:ter="http://www.onvif.org/ver10/error"><env:Body>'
)
TAIL = "</env:Body></env:Envelope>"
NOT_AUTHORISED = (
    "<env:Fault><env:Code><env:Value>env:Sender</env:Value><env:Subcode><env:Value>ter:NotAuthorized</env:Value>"
    '</env:Subcode></env:Code><env:Reason><env:Text xml:lang="en">Sender not Authorized</env:Text></env:Reason></env:Fault>'
)


def information(serial, firmware="1.3.0", maker="Acme", model="Eye 4"):
    return (
        f"<tds:GetDeviceInformationResponse><tds:Manufacturer>{maker}</tds:Manufacturer><tds:Model>{model}</tds:Model>"
        f"<tds:FirmwareVersion>{firmware}</tds:FirmwareVersion><tds:SerialNumber>{serial}</tds:SerialNumber>"
        "<tds:HardwareId>1</tds:HardwareId></tds:GetDeviceInformationResponse>"
    )


def date_and_time(moment):
    time, date = ("Hour", "Minute", "Second"), ("Year", "Month", "Day")
    inside = "".join(
        f"<tt:{kind}>"
        + "".join(f"<tt:{name}>{getattr(moment, name.lower())}</tt:{name}>" for name in names)
        + f"</tt:{kind}>"
        for kind, names in (("Time", time), ("Date", date))
    )
    return (
        "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
        f"<tt:UTCDateTime>{inside}</tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
    )


class OnvifCamera:
    """`slow_s`: its clock is behind by so much, and it refuses logins of another time. `http_login`: it asks for the login
    as web servers do, not in the envelope. `answer` (bytes) replaces what it says of itself; `mute`: it takes questions
    and says nothing.
    """

    def __init__(
        self, serial="A1", *, firmware="1.3.0", login=None, slow_s=0.0, answer=None, mute=False, http_login=None
    ):
        self.serial, self.firmware, self.login, self.answer = serial, firmware, login, answer
        self.behind = datetime.timedelta(seconds=slow_s)
        self.mute, self.http_login, self.asked = mute, http_login, []
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
        self._server.daemon_threads = True
        self._server.camera = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/onvif/device_service"

    def exchange(self, serial, firmware="1.3.0"):
        self.serial, self.firmware = serial, firmware

    def now(self):
        return datetime.datetime.now(datetime.timezone.utc) - self.behind

    def reply_to(self, question):
        """Status and content."""
        name = re.search(r"<s:Body><(\w+)", question)[1]
        self.asked.append(name)
        if name == "GetSystemDateAndTime":
            return 200, HEAD + date_and_time(self.now()) + TAIL
        if self.login and not self._knows(question):
            return 400, HEAD + NOT_AUTHORISED + TAIL
        return 200, HEAD + information(self.serial, self.firmware) + TAIL

    def _knows(self, question):
        names = ("Username", "Password", "Nonce", "Created")
        found = {name: re.search(rf"<\w:{name}(?: [^>]*)?>([^<]*)<", question) for name in names}
        if not all(found.values()):
            return False
        said = {name: match[1] for name, match in found.items()}
        moment = datetime.datetime.fromisoformat(said["Created"].replace("Z", "+00:00"))
        if abs(moment - self.now()) > datetime.timedelta(seconds=10):
            return False
        words = base64.b64decode(said["Nonce"]) + said["Created"].encode() + self.login[1].encode()
        digest = base64.b64encode(hashlib.sha1(words, usedforsecurity=False).digest()).decode()
        return (said["Username"], said["Password"]) == (self.login[0], digest)

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.close()


class _Service(BaseHTTPRequestHandler):
    def log_message(self, *_words):
        pass

    def do_POST(self):
        camera = self.server.camera
        question = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if camera.mute:
            camera.closing.wait(SILENCE_S)
            return
        given = self.headers.get("Authorization", "")
        if camera.http_login and not knows_login(camera.http_login, "digest", given, self.path, "POST"):
            self.send_response(401)
            self.send_header("WWW-Authenticate", CHALLENGES["digest"])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status, content = (200, camera.answer) if camera.answer is not None else camera.reply_to(question)
        content = content if isinstance(content, bytes) else content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/soap+xml; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):  # it was too much for whoever asked
            self.wfile.write(content)


class Responder:
    """Answers WS-Discovery probes on a UDP port of loopback: `answers` are functions of the probe's MessageID."""

    def __init__(self, *answers):
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.target = self._socket.getsockname()
        self.probes = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            content, viewer = self._socket.recvfrom(65536)
            if not content:
                return
            self.probes.append(content.decode())
            identity = re.search(r"MessageID[^>]*>([^<]+)<", self.probes[-1])[1]
            for answer in self._answers:
                self._socket.sendto(answer(identity), viewer)

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.target)
        self._thread.join()
        self._socket.close()
