"""A broker on loopback for the demo: mosquitto where it is found, else the embedded one of the package `iotcore`.

Both listen on a free port of 127.0.0.1 only, keep their files in the demo's folder and end with the demo.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError

START_DEADLINE_S = 10.0
POLL_S = 0.05

MOSQUITTO_CONF = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 60
max_queued_messages 20000
set_tcp_nodelay true
log_type error
log_type warning
{user}
"""

RUMQTTD_TOML = """\
id = 0
[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 262144
max_inflight_count = 100
"""
# The child ends when our end of its standard input closes, also after a kill -9 of ours.
IOTCORE_CHILD = "import sys; sys.path[:] = [p for p in sys.path if p]; from iotcore._serve import main; main()"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """A broker that answers at `url`; `kind` is for people."""

    url: str
    kind: str


def find_mosquitto() -> str | None:
    """The path of mosquitto, None when it is not installed; Debian keeps it outside an ordinary user's PATH."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextmanager
def demo_broker(folder: Path, clock: Clock, *, embedded: bool = False) -> Iterator[RunningBroker]:
    """Run a broker while the block runs.

    Raises:
        BrokerError: neither mosquitto nor iotcore is there, or the broker did not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    program = None if embedded else find_mosquitto()
    if program is not None:
        command, kind = _mosquitto(program, folder, port), "mosquitto"
    elif importlib.util.find_spec("iotcore") is not None:
        command, kind = _iotcore(folder, port), "iotcore (embedded rumqttd)"
    else:
        raise BrokerError("no broker: neither mosquitto nor the package iotcore is installed; install one of them")
    log = (folder / "broker.log").open("ab")
    with log, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True) as child:
        try:
            _wait_until_it_listens(child, port, clock, folder / "broker.log")
            yield RunningBroker(url=f"mqtt://127.0.0.1:{port}", kind=kind)
        finally:
            child.terminate()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _mosquitto(program: str, folder: Path, port: int) -> list[str]:
    # Started as root it would change to a user of its own, who may not write here.
    user = "user root" if os.geteuid() == 0 else ""
    configuration = folder / "mosquitto.conf"
    configuration.write_text(MOSQUITTO_CONF.format(port=port, folder=folder, user=user))
    return [program, "-c", str(configuration)]


def _iotcore(folder: Path, port: int) -> list[str]:
    configuration = folder / "rumqttd.toml"
    configuration.write_text(RUMQTTD_TOML.format(port=port))
    return [sys.executable, "-c", IOTCORE_CHILD, json.dumps({"config_path": str(configuration)})]


def _wait_until_it_listens(child: subprocess.Popen[bytes], port: int, clock: Clock, log: Path) -> None:
    never = threading.Event()
    deadline_s = clock.mono_s() + START_DEADLINE_S
    while clock.mono_s() < deadline_s:
        if child.poll() is not None:
            raise BrokerError(f"the broker ended with code {child.returncode} before it listened; see {log}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        clock.wait(never, POLL_S)
    raise BrokerError(f"the broker did not listen on 127.0.0.1:{port} within {START_DEADLINE_S:.0f} s; see {log}")
