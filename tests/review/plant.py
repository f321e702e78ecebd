"""A store with drawn pictures, people with passwords, and the page itself, answering on a port of this machine."""

import contextlib
import http.client
import re
import socket
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge_agent.capture.picture import encode_heat
from edge_agent.capture.synthetic import LABELS, SyntheticLine
from edge_agent.clock import SystemClock
from edge_agent.evidence.catalogue import Catalogue
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import Draft, EvidenceStore, StoreRules
from edge_agent.records import HoldReason, KeepReason, Verdict
from edge_agent.review.desk import Desk
from edge_agent.review.office import Floor, Office
from edge_agent.review.people import People, Person, Role
from edge_agent.review.server import Server
from edge_agent.review.sessions import Lifetime, Sessions
from edge_agent.review.site import site
from edge_agent.review.throttle import Throttle
from tests.evidence.samples import sample

PASSWORD = "four words not together"  # noqa: S105 - of nobody
DEADLINE_S = 20.0


def quick_hash(password, _salt=b""):
    """What `passwords.hashed` makes, at the least cost that scrypt has: tests are about other things."""
    import base64
    import hashlib

    key = hashlib.scrypt(password.encode(), salt=b"salt", n=2, r=1, p=1, dklen=32)
    return "$".join(("scrypt", "2", "1", "1", base64.b64encode(b"salt").decode(), base64.b64encode(key).decode()))


def fill(root, pictures=12, *, people_needed=1):
    """A store of pictures that a model was not sure of, from two cameras."""
    line = SyntheticLine("default", seed=4, defect_share=0.6)
    rules = StoreRules(bounds=Bounds(floor_bytes=0), people_needed=people_needed)
    with contextlib.closing(EvidenceStore(root, rules)) as store:
        LabelBook(store, SystemClock()).declare("surface", LABELS)
        store.add([_draft(position, line.part(position)) for position in range(1, pictures + 1)])


def _draft(position, part):
    defect = part.label != "ok"
    score = 0.5 + 0.04 * (position % 6) if defect else 0.3 + 0.03 * (position % 6)
    verdict, reason = (Verdict.FAIL, None) if score >= 0.6 else (Verdict.HOLD, HoldReason.UNSURE)
    kept = (KeepReason.FAIL,) if verdict is Verdict.FAIL else (KeepReason.HOLD, KeepReason.NEAR_THRESHOLD)
    record = sample(
        position,
        camera="press-3-top" if position % 3 else "press-4-side",
        part=f"A{1000 + position}",
        group=f"part:A{1000 + position}",
        verdict=verdict,
        reason=reason,
        label=part.label,
        score=score,
        threshold=0.6,
        kept=kept,
        where=part.region,
        width_px=640,
        height_px=480,
    )
    content = cv2.imencode(".jpg", part.image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return Draft(sample=record, content=content, suffix=".jpg", heat=_heat(part.region))


def _heat(region):
    """As a head gives it: warm cells around the defect, 14 x 14 over the picture."""
    if region is None:
        return None
    rows, columns = np.mgrid[0.5:14.5, 0.5:14.5] / 14
    across = (columns - region.x - region.width / 2) / max(region.width, 0.1)
    down = (rows - region.y - region.height / 2) / max(region.height, 0.1)
    return encode_heat(np.exp(-2 * (across**2 + down**2)).astype(np.float32))


@dataclass
class Page:
    """The page while it runs. `clock` is its clock; `book` and `catalogue` look at the same store from outside."""

    port: int
    office: Office
    clock: object
    people: People
    state_dir: object

    def add(self, name, role="reviewer", password=PASSWORD):
        """Somebody who may log in."""
        person = Person(name=name, role=Role(role), password=quick_hash(password), since_utc_s=0.0)
        self.people.add(person)
        return person

    def client(self, **options):
        """Somebody's browser, as far as http.client is one."""
        return Client(self.port, **options)

    def logged_in(self, name, **options):
        """Their browser, after the login."""
        client = self.client(**options)
        answer = client.post("/login", name=name, password=PASSWORD)
        assert answer.status == 303, answer.text
        return client

    @contextlib.contextmanager
    def evidence(self):
        """The store, from outside."""
        with contextlib.closing(EvidenceStore(self.state_dir / "evidence")) as store:
            yield Catalogue(store.database), LabelBook(store, self.clock)


@contextlib.contextmanager
def running(state_dir, clock, *, floor=None, names=(), session_s=36_000.0, idle_s=1_800.0, port=0):
    """The page of the state directory, until the block ends."""
    at = socket.create_server(("127.0.0.1", port))
    people = People(state_dir)
    desk = Desk(state_dir / "evidence", clock)
    office = Office(
        desk=desk,
        people=people,
        sessions=Sessions(Lifetime(session_s=session_s, idle_s=idle_s), clock),
        throttle=Throttle(clock),
        floor=floor or Floor(cameras=lambda: None, picture=lambda _camera: None, watched=lambda: None),
        clock=clock,
        secure=False,
        passwords=ThreadPoolExecutor(1),
    )
    begun = threading.Event()
    server = Server(site(office, names), ready=begun.set)
    thread = threading.Thread(target=server.run, args=(at,), daemon=True)
    thread.start()
    assert begun.wait(DEADLINE_S)
    try:
        yield Page(at.getsockname()[1], office, clock, people, state_dir)
    finally:
        server.stop()
        thread.join(DEADLINE_S)
        office.passwords.shutdown()
        desk.close()
        at.close()
        assert not thread.is_alive()


@dataclass
class Answer:
    status: int
    headers: dict
    content: bytes

    @property
    def text(self):
        return self.content.decode()

    @property
    def at(self):
        return self.headers.get("location", "")


@dataclass
class Client:
    """Sends what it is told, keeps the cookie, and finds the token that a page put into its forms."""

    port: int
    host: str = ""
    origin: str | None = "own"
    cookies: dict = field(default_factory=dict)

    def get(self, path, **headers):
        return self.send("GET", path, headers=headers)

    def post(self, path, *, token=None, **fields):
        if token is not None:
            fields["token"] = token
        return self.send("POST", path, urllib.parse.urlencode(fields))

    def act(self, path, **fields):
        """As a form of the queue would: with its token."""
        return self.post(path, token=self.token(), **fields)

    def token(self):
        return re.search(r'name="token" value="([^"]+)"', self.get("/help").text)[1]

    def send(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        sent = {"Host": self.host or f"127.0.0.1:{self.port}", **(headers or {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
            if self.origin is not None:
                sent.setdefault("Origin", f"http://{sent['Host']}" if self.origin == "own" else self.origin)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            got = connection.getresponse()
            answer = Answer(got.status, {name.lower(): value for name, value in got.getheaders()}, got.read())
        if "set-cookie" in answer.headers:
            name, value = answer.headers["set-cookie"].split(";")[0].split("=", 1)
            self.cookies[name] = value
            if value in ("", '""'):
                del self.cookies[name]
        return answer
