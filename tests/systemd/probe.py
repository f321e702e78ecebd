"""Run by a unit in its own sandbox (ExecStartPre=): tries what must not work and what must, and writes down how it went.

Only the standard library: it runs on the container's Python, outside the program's own environment.
"""

import errno
import json
import mmap
import os
import socket
import sys
from pathlib import Path

STATE, RUNTIME = Path("/var/lib/edge-agent"), Path("/run/edge-agent")


def attempt(action):
    """ "ok", or the name of the errno."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return "ok"


def write_into(directory):
    def write():
        path = Path(directory) / "probe.tmp"
        path.touch()
        path.unlink()

    return attempt(write)


def connect(host, port):
    return attempt(lambda: socket.create_connection((host, port), timeout=2).close())


def writable_code():
    return attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close())


def status():
    """The lines of /proc/self/status that tell of rights."""
    lines = (line.partition(":") for line in Path("/proc/self/status").read_text().splitlines())
    return {key: value.strip() for key, _, value in lines if key.startswith(("Cap", "NoNewPrivs", "Seccomp", "Uid"))}


def found(places):
    """What this process may do; `places` names hosts and ports to try."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return {
        "status": status(),
        "write": {name: write_into(name) for name in ("/etc", "/usr", "/opt", str(STATE), str(RUNTIME), "/tmp")},
        "evidence": attempt((STATE / "evidence" / "part.png").read_bytes),
        "frames": attempt(lambda: list((RUNTIME / "live").iterdir())),
        "writable_code": writable_code(),
        "connect": {name: connect(host, port) for name, (host, port) in places.items()},
        "network_namespace": str(Path("/proc/self/ns/net").readlink()),
        "forbidden_device": attempt(lambda: os.close(os.open("/dev/edge-agent-test", os.O_WRONLY))),
        "devices": sorted(path.name for path in Path("/dev").iterdir()),
        "credentials": sorted(path.name for path in Path(credentials).iterdir()) if credentials else [],
        "foreign_processes": attempt(Path("/proc/1/status").read_bytes),
    }


if __name__ == "__main__":
    unit, places = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    (RUNTIME / f"probe-{unit}.json").write_text(json.dumps(found(places)))
