"""A full disk and a disk that cannot be written: told, survived where there is memory, refused where there is none."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from edge_agent.errors import EXIT_TEMPORARY
from tests.gateway.witness import without_gaps
from tests.waiting import until

DISK = "64m"
# Enough for a snapshot and the log, too little for the write-ahead log of the outbox.
SMALL_FILE_BYTES = 64 * 1024
# SQLite has no word of its own for a file that must not grow: that one is a fault without a name.
FULL = ("disk-full", "outbox-fault")


@contextlib.contextmanager
def mounted(*options):
    """A disk of its own, None where we may not mount."""
    with tempfile.TemporaryDirectory(prefix="ea-disk-", dir="/tmp") as name:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@pytest.fixture
def small_disk():
    with mounted(f"size={DISK}") as disk:
        yield disk


@contextlib.contextmanager
def filled(gateway, disk):
    """No byte is left on the gateway's disk; where we may not mount, the kernel refuses its files to grow."""
    if disk is not None:
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x")
        yield
        ballast.unlink()
        return
    processes = [psutil.Process(gateway.pid(name)) for name in ("inspect", "sync")]
    before = processes[0].rlimit(psutil.RLIMIT_FSIZE)
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, (SMALL_FILE_BYTES, before[1]))
    yield
    for process in processes:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


def test_on_a_full_disk_parts_are_judged_on_a_person_is_told_and_in_the_end_every_verdict_arrives(
    small_disk, gateway_with, line, witness
):
    gateway = gateway_with({"top": line}, state=small_disk and small_disk / "state").start()
    until(lambda: len(witness.parts("top")) > 10)
    pids = gateway.pid("inspect"), gateway.pid("sync")

    with filled(gateway, small_disk):
        # Said past the outbox, which cannot take it.
        until(lambda: any(alarm["code"] in FULL for alarm in raised(witness)), 20)
        judged = gateway.camera("top")["judged"]
        until(lambda: gateway.camera("top")["judged"] > judged + 40)

    until(lambda: max(witness.parts("top")) > judged + 40, 30)
    until(lambda: without_gaps(witness.parts("top")))
    until(lambda: not any(alarm["code"] in FULL for alarm in raised(witness)), 30)
    assert (gateway.pid("inspect"), gateway.pid("sync")) == pids


def raised(witness):
    """The alarms that a dashboard shows now."""
    identities = {message.topic.rpartition("/")[2] for message in witness.heard if "/alarm/" in message.topic}
    return [alarm for alarm in map(witness.alarm, identities) if alarm is not None]


def test_a_read_only_state_directory_ends_the_start_with_75_and_says_what_to_look_at(gateway_with, line):
    with mounted("ro") as disk, tempfile.TemporaryDirectory() as name:
        state = disk or Path(name)
        if disk is None:
            state.chmod(0o500)
        gateway = gateway_with({"top": line}, models=None, state=state)

        for process in ("run", "inspect", "sync"):
            gateway.launch(process)
            assert gateway.wait(process) == EXIT_TEMPORARY
            said = (gateway.folder / f"{process}.log").read_text()
            assert "cannot be written" in said
            assert str(state) in said
            assert "check the mount and the owner" in said
