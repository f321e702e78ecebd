"""A Debian 12 container with a systemd of its own, booted by systemd-nspawn; what happens in it leaves no trace.

    root = debian_root(cache)            # debootstrap, once; kept
    packages = gateway_packages(cache)   # the lock's wheels for the container's Python, once; kept
    boot(root, binds, network=False)     # an overlay on the root: what is written in there is gone afterwards

The root starts `/stage/inside.py` at boot, whatever the caller binds there, and is off when that has ended.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

RELEASE = "bookworm"
PACKAGES = (
    "dbus",
    "iproute2",
    "mosquitto",
    "mosquitto-clients",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
    "udev",
)
DRIVER = "edge-agent-test.service"
DRIVER_UNIT = """\
[Unit]
Description=The test that this container was booted for
Wants=network.target
After=multi-user.target

[Service]
ExecStart=/usr/bin/python3 /stage/inside.py
ExecStopPost=/bin/systemctl poweroff --no-block

[Install]
WantedBy=default.target
"""
TOOLS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}
LOCK = Path(__file__).parents[2] / "deploy" / "requirements.lock"


def missing(which=shutil.which, uid=None):
    """What this machine lacks to boot a container, in words; empty when it lacks nothing."""
    lacks = [f"{tool} (apt install {package})" for tool, package in TOOLS.items() if not which(tool)]
    if (os.getuid() if uid is None else uid) != 0:
        lacks.append("the rights of root (namespaces, mounts)")
    return lacks


def debian_root(cache):
    """The container's root directory, made by debootstrap at the first call. It is complete, or it is not there."""
    root, partial = cache / "root", cache / "root.partial"
    marker = root / "etc" / "made-of"
    if marker.exists() and marker.read_text() == " ".join(PACKAGES):
        return root
    for old in (root, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    include = ",".join(PACKAGES)
    _run("debootstrap", "--variant=minbase", f"--include={include}", RELEASE, partial, log=cache / "debootstrap.log")
    # minbase brings no file that names localhost, and mosquitto's clients ask for it.
    (partial / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    units = partial / "etc" / "systemd" / "system"
    (units / DRIVER).write_text(DRIVER_UNIT)
    (units / "default.target.wants").mkdir()
    (units / "default.target.wants" / DRIVER).symlink_to(f"../{DRIVER}")
    (partial / marker.relative_to(root)).write_text(" ".join(PACKAGES))
    partial.rename(root)
    return root


def python_of(root):
    """The version of the container's Python, such as 3.11."""
    return max(
        re.findall(r"python(3\.\d+)$", "\n".join(str(path) for path in root.glob("usr/bin/python3.*")), re.MULTILINE)
    )


def gateway_pins(lock, python):
    """The pins of the lock's part for a gateway (no torch, no test tools) that hold for this version of Python."""
    part = lock.partition("# the gateway\n")[2].partition("\n# ")[0]
    wanted = [Requirement(line) for line in part.splitlines() if line]
    return [f"{r.name}{r.specifier}" for r in wanted if not r.marker or r.marker.evaluate({"python_version": python})]


def gateway_packages(cache, root):
    """A directory for PYTHONPATH with what a gateway needs, for the container's Python whatever this one is."""
    python = python_of(root)
    pins = gateway_pins(LOCK.read_text(), python)
    name = hashlib.sha256("\n".join((python, *pins)).encode()).hexdigest()[:12]
    target, partial = cache / f"packages-{name}", cache / "packages.partial"
    if not target.exists():
        shutil.rmtree(partial, ignore_errors=True)
        pip = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps")
        foreign = ("--only-binary", ":all:", "--implementation", "cp", "--python-version", python)
        _run(*pip, *foreign, "--target", partial, *pins, log=cache / "pip.log")
        partial.rename(target)
    return target


def boot(root, stage, read_only, *, log, deadline_s):
    """Boot, with `stage` writable at /stage and each (source, target) of `read_only`; returns when it is off.

    At the deadline it is made to be. It has loopback and no other network. Its console goes to the file `log`.
    """
    command = ["systemd-nspawn", "--quiet", "--boot", "--directory", root, "--volatile=overlay", "--private-network"]
    command += ["--register=no", "--keep-unit", "--machine", f"edge-agent-{os.getpid()}"]
    # IPAddressDeny= and DevicePolicy= are BPF programs on cgroup v2: without these three, systemd in there drops them
    # silently (252, seen on a host with both versions of cgroups).
    command += ["--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf"]
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    command += [f"--bind={stage}:/stage", *(f"--bind-ro={source}:{target}" for source, target in read_only)]
    with log.open("wb") as console:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(deadline_s)
        finally:
            _end(child)


def _end(child, grace_s=15):
    child.terminate()  # nspawn passes it on as a request to power off
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _run(*command, log):
    with log.open("wb") as file:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False, umask=0o022)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}; {log} ends with:\n{tail}"
