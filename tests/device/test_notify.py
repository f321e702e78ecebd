from __future__ import annotations

import os
import socket
import uuid

import pytest

from edge_agent.clock import SystemClock
from edge_agent.device.notify import Notifier
from tests.fakes.clock import FakeClock


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """A socket as systemd has it, and the name it would put into the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@edge-agent-{uuid.uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if name.startswith("@") else name)
        server.settimeout(5)
        yield name, server


def heard(systemd, send) -> list[str]:
    name, server = systemd
    assert send(Notifier.from_environment({"NOTIFY_SOCKET": name}, FakeClock(mono_s=12.5)))
    return server.recv(4096).decode().split("\n")


def test_systemd_hears_each_state(systemd):
    assert heard(systemd, lambda n: n.ready("2 cameras")) == ["READY=1", "STATUS=2 cameras"]
    assert heard(systemd, lambda n: n.watchdog()) == ["WATCHDOG=1"]
    assert heard(systemd, lambda n: n.reloading()) == ["RELOADING=1", "MONOTONIC_USEC=12500000"]
    assert heard(systemd, lambda n: n.stopping()) == ["STOPPING=1"]
    assert heard(systemd, lambda n: n.extend_timeout(1.5)) == ["EXTEND_TIMEOUT_USEC=1500000"]


def test_a_status_is_one_line_whatever_it_is_made_of(systemd):
    assert heard(systemd, lambda n: n.status("a\nREADY=1\n" + "x" * 500)) == [
        "STATUS=" + ("a READY=1 " + "x" * 500)[:200]
    ]


def test_without_systemd_nothing_happens():
    notifier = Notifier.from_environment({}, SystemClock())
    assert not notifier.ready()
    assert notifier.watchdog_interval_s is None


def test_a_socket_that_is_gone_is_no_fault(tmp_path):
    assert not Notifier(str(tmp_path / "gone"), SystemClock()).watchdog()


def test_the_watchdog_is_fed_twice_within_its_time():
    assert Notifier.from_environment({"WATCHDOG_USEC": "20000000"}, SystemClock()).watchdog_interval_s == 10


def test_the_watchdog_of_another_process_is_not_ours():
    environment = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier.from_environment(environment, SystemClock()).watchdog_interval_s is None
