"""A gateway's sync process on a real broker: in a thread of the test, or as a process that can be killed."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.processes import sync
from edge_agent.records import ulid
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.doorbell import ringer
from edge_agent.sync.inbox import Inbox
from edge_agent.sync.messages import Message, Priority
from edge_agent.sync.outbox import OutboxReader, OutboxWriter
from edge_agent.sync.topics import Branch
from tests.fakes.broker import Broker

DEADLINE_S = 15.0
BRANCH = Branch(root=("acme", "lyon"), gateway="gw-07")
CHILD = """
import json, sys, threading
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.processes.sync import SyncOptions, run
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.topics import Branch
given = json.loads(sys.argv[1])
options = SyncOptions(state_dir=Path(given["directory"]), runtime_dir=Path(given["directory"]), version="0",
                      branch=Branch(root=("acme", "lyon"), gateway="gw-07"), mqtt=MqttOptions(**given["mqtt"]))
run(options, clock=SystemClock(), stop=threading.Event())
"""


def inspection(number, *, tail="insp/press-3", size=100):
    payload = json.dumps({"v": 1, "id": ulid(time.time()), "n": number, "pad": "x" * size}).encode()
    return Message(topic_tail=tail, payload=payload, qos=1, retain=False, priority=Priority.PASS)


def numbers(messages):
    return [json.loads(message.payload)["n"] for message in messages if "/insp/" in message.topic]


class Gateway:
    """State directory, outbox writer as inspect has it, and a sync process."""

    def __init__(self, directory: Path, broker: Broker, **mqtt):
        self.directory = directory
        self.mqtt = MqttOptions(**{"url": broker.url, "client_id": "gw-07", "will_delay_s": 0, **mqtt})
        self.conditions = []
        self._writer = None
        self._stop = threading.Event()
        self._thread = None
        self._child = None
        self.crash = None

    @property
    def writer(self):
        if self._writer is None:
            self._writer = OutboxWriter(
                self.directory / "outbox.db",
                SystemClock(),
                listener=self.conditions.append,
                ring=ringer(self.directory / "sync.bell"),
            )
        return self._writer

    def queue(self, number, **options):
        for index in range(number):
            self.writer.put(inspection(index, **options))
        assert self.writer.flush(DEADLINE_S)

    def start(self):
        self._stop.clear()
        options = sync.SyncOptions(
            state_dir=self.directory, runtime_dir=self.directory, branch=BRANCH, mqtt=self.mqtt, version="0"
        )

        def work():
            try:
                sync.run(options, clock=SystemClock(), stop=self._stop)
            except BaseException as error:  # noqa: BLE001 - for the test to look at
                self.crash = error

        self._thread = threading.Thread(target=work)
        self._thread.start()
        return self

    def stop(self):
        if self._thread is not None:
            self._stop.set()
            ringer(self.directory / "sync.bell")()
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive()
            self._thread = None

    def spawn(self):
        """Start it as a process of its own."""
        given = {"directory": str(self.directory), "mqtt": {**dataclasses.asdict(self.mqtt), "in_flight": 20}}
        self._child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(given)], cwd=Path(__file__).parents[2])
        return self

    def kill(self):
        self._child.kill()
        self._child.wait(DEADLINE_S)
        self._child = None

    def health(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads((self.directory / "sync.json").read_bytes())
        return {}

    def wait_for(self, found):
        """Until `found(health)`; the health snapshot is written once a second."""
        until = time.monotonic() + DEADLINE_S
        while not found(self.health()):
            assert time.monotonic() < until, self.health()
            threading.Event().wait(0.05)
        return self.health()

    def outbox(self):
        reader = OutboxReader(self.directory / "outbox.db", SystemClock())
        try:
            return reader.stats()
        finally:
            reader.close()

    def inbox(self):
        return contextlib.closing(Inbox(self.directory / "inbox.db", SystemClock()))

    def close(self):
        self.stop()
        if self._child is not None:
            self.kill()
        if self._writer is not None:
            self._writer.close(1.0)


@pytest.fixture
def short_path():
    # Unix sockets need short paths.
    with tempfile.TemporaryDirectory(prefix="ea") as directory:
        yield Path(directory)


@pytest.fixture
def broker(short_path):
    with Broker(short_path / "b") as broker:
        yield broker


@pytest.fixture
def gateway_on(short_path):
    """A function that makes a gateway for a broker."""
    with contextlib.ExitStack() as stack:

        def make(broker, **mqtt):
            directory = short_path / "s"
            directory.mkdir(exist_ok=True)
            return stack.enter_context(contextlib.closing(Gateway(directory, broker, **mqtt)))

        yield make


@pytest.fixture
def gateway(broker, gateway_on):
    return gateway_on(broker)
