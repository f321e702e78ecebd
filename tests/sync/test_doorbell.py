import os
import signal
import tempfile
import threading
from pathlib import Path

import pytest

from edge_agent.errors import ConfigError, StorageReadOnlyError, TransientError
from edge_agent.sync.doorbell import Doorbell, ringer, rung_by_signals


@pytest.fixture
def path():
    # A unix socket's path is short; a test's own directory may not be.
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "a.bell"


def test_a_ring_is_heard_once(path):
    bell = Doorbell(path)

    ringer(path)()

    assert bell.wait(5) is True
    assert bell.clear() is False
    bell.close()


def test_many_rings_are_one(path):
    bell = Doorbell(path)
    ring = ringer(path)

    for _ in range(5000):
        ring()

    assert bell.clear() is True
    assert bell.clear() is False
    bell.close()


def test_ringing_where_nobody_listens_is_no_fault(path):
    ringer(path)()
    Doorbell(path).close()
    ringer(path)()


def test_a_bell_that_a_killed_process_left_behind_is_replaced(path):
    left = Doorbell(path)
    bell = Doorbell(path)

    ringer(path)()

    assert bell.wait(5) is True
    left._socket.close()
    bell.close()


def test_a_waiting_thread_is_woken_by_another(path):
    bell = Doorbell(path)
    heard = []
    thread = threading.Thread(target=lambda: heard.append(bell.wait(10)))
    thread.start()

    ringer(path)()
    thread.join(10)

    assert heard == [True]
    bell.close()


def test_a_signal_rings(path):
    bell = Doorbell(path)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    with rung_by_signals(path):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert bell.wait(5) is True
    signal.signal(signal.SIGUSR1, before)
    bell.close()


def test_a_path_that_no_socket_can_have_is_named():
    with pytest.raises(ConfigError, match="runtime_dir"):
        Doorbell(Path("/" + "x" * 120) / "a.bell")


def test_a_missing_runtime_directory_is_named(path):
    with pytest.raises((StorageReadOnlyError, TransientError), match="nowhere"):
        Doorbell(path.parent / "nowhere" / "a.bell")
