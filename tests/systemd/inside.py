"""Run by root in the container at boot: installs the gateway as docs/service.md says, does to it what a plant does, and
writes what it sees to /stage/facts.jsonl, one line a step. It judges nothing: test_real_systemd.py does.

Only the standard library. A step that fails writes its traceback as `fault`; the next one is tried, unless the gateway
did not even start.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import traceback
from pathlib import Path

STAGE, STATE, RUNTIME = Path("/stage"), Path("/var/lib/edge-agent"), Path("/run/edge-agent")
CONFIG, UNITS = Path("/etc/edge-agent/agent.yaml"), Path("/etc/systemd/system")
SERVICES = ("inspect", "sync", "learn")
PASSWORDS = {"gw": "from-the-credential-store", "witness": "another"}
PREFIX = "acme/lyon/ev1/gw-07/"
# 203.0.113.0/24 is for documentation (RFC 5737): public, and nobody's. 10/8 is where cameras stand.
PLACES = {
    "public": ("203.0.113.7", 7777),
    "camera": ("10.20.30.40", 7777),
    "neighbour": ("10.20.30.41", 7777),
    "loopback": ("127.0.0.1", 1883),
}
# A character device that is no camera and no accelerator, and that anybody may open: the kernel's log, for writing.
FORBIDDEN_DEVICE = Path("/dev/edge-agent-test")
POLL_S = 0.1
LONG_S = 90.0  # longer than the longest WatchdogSec and its restart
STEPS = []


def step(function):
    STEPS.append(function)
    return function


def run(*command, check=True, timeout=60, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, **options)
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


LEARN_S = 90.0  # it stays a minute for the next label


def until(condition, deadline_s=20.0):
    never = threading.Event()
    for _ in range(int(deadline_s / POLL_S)):
        value = condition()
        if value:
            return value
        never.wait(POLL_S)
    raise TimeoutError(f"not true within {deadline_s} s: {condition.__doc__ or condition}")


def unit(name):
    return f"edge-agent-{name}.service"


def show(name):
    """What systemd says of a service."""
    keys = "Type,ActiveState,SubState,MainPID,NRestarts,Result,ExecMainStatus,StatusText,InvocationID,NotifyAccess"
    lines = run("systemctl", "show", "-p", keys, unit(name)).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def active(name):
    return show(name)["ActiveState"] == "active"


def journal(name, since="0"):
    return run("journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit(name), f"--since=@{since}").stdout


def ask(topic, count=1, wait_s=20, password=PASSWORDS["witness"], check=True):
    """Messages on a topic below our prefix, as the broker hands them out."""
    who = ("-h", "127.0.0.1", "-u", "witness", "-P", password)
    done = run("mosquitto_sub", *who, "-t", PREFIX + topic, "-C", str(count), "-W", str(wait_s), "-v", check=check)
    return done.stdout.splitlines() if check else done.returncode


def payloads(topic, count=1):
    return [json.loads(line.split(" ", 1)[1]) for line in ask(topic, count)]


def snapshot(name):
    return json.loads((RUNTIME / f"{name}.json").read_text())


def rights(name):
    """What the kernel says of the service's main process."""
    lines = Path("/proc", show(name)["MainPID"], "status").read_text().splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key: value.strip() for key, _, value in pairs if key.startswith(("Cap", "NoNewPrivs", "Seccomp", "Groups"))}


def probe(name):
    return json.loads((RUNTIME / f"probe-{name}.json").read_text())


def connected(*prefix):
    """Whether a connection to the public address succeeds, for a process started with `prefix`."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)"
    host, port = PLACES["public"]
    return run(*prefix, "/usr/bin/python3", "-c", program, host, str(port), check=False).returncode == 0


@step
def network():
    """Addresses of our own on loopback stand for the world; someone listens there."""
    run("ip", "link", "set", "lo", "up")
    for host, port in (PLACES[name] for name in ("public", "camera", "neighbour")):
        run("ip", "address", "add", f"{host}/32", "dev", "lo")
        listener = socket.create_server((host, port))
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    # Whether this kernel enforces IPAddressDeny= for a unit in here is found out with a unit that is not ours.
    denied = ("systemd-run", "--quiet", "--wait", "--collect", "-p", "IPAddressDeny=any")
    return {
        "free": connected(),
        "free_unit": connected("systemd-run", "--quiet", "--wait", "--collect"),
        "denied_unit": connected(*denied),
        "namespace": str(Path("/proc/self/ns/net").readlink()),
    }


def _accept(listener):
    while True:
        listener.accept()[0].close()


@step
def device():
    """A node that any unit may open unless its DevicePolicy= says otherwise; whether that is enforced in here."""
    os.mknod(FORBIDDEN_DEVICE, 0o666 | stat.S_IFCHR, os.makedev(1, 11))
    FORBIDDEN_DEVICE.chmod(0o666)
    return {"free_unit": _opened(), "denied_unit": _opened("-p", "DevicePolicy=closed")}


def _opened(*properties):
    program = f"import os; os.open({str(FORBIDDEN_DEVICE)!r}, os.O_WRONLY)"
    unit_of_nobody = ("systemd-run", "--quiet", "--wait", "--collect", "-p", "User=nobody", *properties)
    return run(*unit_of_nobody, "/usr/bin/python3", "-c", program, check=False).returncode == 0


@step
def broker():
    """A mosquitto that wants a password of everybody."""
    passwords = Path("/etc/mosquitto/passwords")
    passwords.touch()
    for user, password in PASSWORDS.items():
        run("mosquitto_passwd", "-b", str(passwords), user, password)
    run("chown", "mosquitto:", str(passwords))
    text = f"listener 1883 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
    Path("/etc/mosquitto/conf.d/test.conf").write_text(text)
    run("systemctl", "restart", "mosquitto")
    return {"wrong_password": ask("#", password=PASSWORDS["gw"], wait_s=2, check=False)}


@step
def install():
    """The shell blocks of docs/service.md, then what they leave to a person: configuration, password, model."""
    _program()
    done = run("sh", "-eux", "install.sh", cwd=STAGE)
    CONFIG.write_bytes((STAGE / "agent.yaml").read_bytes())
    run("chown", "root:edge-agent", str(CONFIG))
    CONFIG.chmod(0o640)
    password = Path("/etc/credstore/mqtt-password")
    password.write_text(PASSWORDS["gw"])
    password.chmod(0o600)
    (STATE / "evidence").mkdir()
    (STATE / "evidence" / "part.png").write_bytes(b"a picture")
    run("chown", "-R", "edge-agent:edge-agent", str(STATE))
    words = ("models", "import", str(STAGE / "bundle"), "--activate", "--config", str(CONFIG))
    model = run("runuser", "-u", "edge-agent", "--", "edge-agent", *words)
    checked = run("edge-agent", "check", "--config", str(CONFIG), check=False)
    foreign = [str(path) for path in STATE.rglob("*") if path.owner() != "edge-agent"]
    (STAGE / "places.json").write_text(json.dumps(PLACES))
    for name in SERVICES:
        text = f"[Service]\nExecStartPre=-/usr/bin/python3 /stage/probe.py {name} /stage/places.json\n"
        _drop_in(name, "probe.conf", text)
    run("systemctl", "daemon-reload")
    return {
        "said": done.stderr,
        "model": model.stdout,
        "check": [checked.returncode, checked.stdout + checked.stderr],
        "foreign": foreign,
    }


def _drop_in(name, file, text):
    path = UNITS / f"{unit(name)}.d" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _program():
    """What `python3 -m venv` and pip make, with the packages that the host has laid out."""
    run("/usr/bin/python3", "-m", "venv", "--without-pip", "/opt/edge-agent")
    (site,) = Path("/opt/edge-agent/lib").glob("python3.*/site-packages")
    (site / "edge-agent.pth").write_text("/opt/packages\n/opt/program\n")
    program = Path("/opt/edge-agent/bin/edge-agent")
    program.write_text("#!/opt/edge-agent/bin/python\nimport sys\nfrom edge_agent.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    Path("/usr/bin/edge-agent").symlink_to(program)


@step
def start():
    run("systemctl", "start", "edge-agent.target")
    for name in ("inspect", "sync"):
        until(lambda name=name: active(name), 60)
    states = run("systemctl", "is-active", "edge-agent.target", "edge-agent-learn.timer", "edge-agent-learn.path")
    return {
        "services": {name: show(name) for name in ("inspect", "sync")},
        "others": states.stdout.split(),
        "enabled": run("systemctl", "is-enabled", "edge-agent.target").stdout.strip(),
    }


@step
def verdicts():
    """What a subscriber hears while the gateway runs."""
    return {"heard": payloads("insp/+", 20), "status": payloads("status"), "sync": snapshot("sync")}


@step
def sandbox():
    run("systemctl", "start", unit("learn"), timeout=90)
    return {
        "main": {name: rights(name) for name in ("inspect", "sync")},
        "probes": {name: probe(name) for name in SERVICES},
    }


@step
def drop_ins():
    """The drop-ins of docs/service.md: one camera's address, and a credential by its path."""
    for name in ("inspect", "sync"):
        _drop_in(name, "site.conf", (STAGE / f"{name}.conf").read_text())
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", unit("inspect"), unit("sync"))
    until(lambda: snapshot("sync")["connected"] and str(snapshot("sync")["pid"]) == show("sync")["MainPID"])
    return {"connect": probe("inspect")["connect"], "credentials": probe("sync")["credentials"]}


@step
def without_probes():
    for name in SERVICES:
        shutil.rmtree(UNITS / f"{unit(name)}.d")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", unit("inspect"), unit("sync"))
    exposure = {}
    for name in SERVICES:
        text = run("systemd-analyze", "security", "--no-pager", unit(name)).stdout
        exposure[name] = float(re.search(r"exposure level for \S+: ([0-9.]+)", text)[1])
    return {"exposure": exposure}


@step
def learn_by_hand():
    done = run("systemctl", "start", unit("learn"), check=False, timeout=90)
    until(lambda: show("learn")["ActiveState"] == "inactive", LEARN_S)
    return {"rc": done.returncode, "after": show("learn"), "journal": journal("learn")}


@step
def learn_by_request():
    before = show("learn")["InvocationID"]
    (STATE / "learn.request").touch()
    until(lambda: show("learn")["InvocationID"] not in ("", before), 30)
    until(lambda: show("learn")["ActiveState"] == "inactive", LEARN_S)
    return {"after": show("learn")}


@step
def finetune_by_request():
    """The terminal's request, made by root as people do, reaches the unit by its path."""
    before = show("finetune")["InvocationID"]
    asked = run("/usr/bin/edge-agent", "finetune", "--now", "--by", "maintainer", "--config", str(CONFIG), check=False)
    until(lambda: show("finetune")["InvocationID"] not in ("", before), 30)
    until(lambda: show("finetune")["ActiveState"] == "inactive", LEARN_S)
    paths = run("systemctl", "is-active", "edge-agent-finetune.timer", "edge-agent-finetune.path", check=False)
    told = run("/usr/bin/edge-agent", "finetune", "--output", "json", "--config", str(CONFIG), check=False)
    return {
        "asked": [asked.returncode, asked.stdout, asked.stderr],
        "after": show("finetune"),
        "journal": journal("finetune"),
        "units": paths.stdout.split(),
        "told": told.stdout,
        "wanted": json.loads((STATE / "finetune.request").read_text())["id"],
        "served": (STATE / "finetune" / "served").read_text(),
    }


@step
def reload():
    """Another fps in the file, told by `systemctl reload` of the target."""
    before = {name: show(name) for name in ("inspect", "sync")}
    digest, fps = snapshot("inspect")["config_digest"], until(lambda: _fps() if _fps() > 5 else None)
    CONFIG.write_text(CONFIG.read_text().replace("fps: 10", "fps: 3"))
    done = run("systemctl", "reload", "edge-agent.target", check=False)
    facts = {"rc": done.returncode, "said": done.stderr, "before": before, "fps_before": fps}
    if done.returncode == 0:
        until(lambda: snapshot("inspect")["config_digest"] != digest)
        facts["fps_after"] = until(lambda: _fps() if 0 < _fps() < 4 else None, 30)
    return {**facts, "after": {name: show(name) for name in ("inspect", "sync")}}


def _fps():
    return snapshot("inspect")["cameras"]["press-1"]["fps"]


@step
def kill():
    """SIGKILL of inspect."""
    before = {name: show(name) for name in ("inspect", "sync")}
    os.kill(int(before["inspect"]["MainPID"]), signal.SIGKILL)
    until(lambda: show("inspect")["NRestarts"] != before["inspect"]["NRestarts"] and active("inspect"), 60)
    after = {name: show(name) for name in ("inspect", "sync")}
    return {"before": before, "after": after, "heard": payloads("insp/+", 3)}


@step
def freeze():
    """SIGSTOP of both: whoever makes no progress is ended by the watchdog and started again."""
    before = {name: show(name) for name in ("inspect", "sync")}
    for name in before:
        os.kill(int(before[name]["MainPID"]), signal.SIGSTOP)
    for name in before:
        until(lambda name=name: show(name)["NRestarts"] != before[name]["NRestarts"] and active(name), LONG_S)
    heard = payloads("insp/+", 3)
    journals = {name: journal(name) for name in before}
    return {"before": before, "after": {name: show(name) for name in before}, "journals": journals, "heard": heard}


@step
def invalid():
    """A key that does not exist, and a restart; then the file is put right and inspect started by hand."""
    good, sync = CONFIG.read_text(), show("sync")
    CONFIG.write_text(good.replace("fps:", "fpz:"))
    checked = run("edge-agent", "check", "--config", str(CONFIG), check=False)
    done = run("systemctl", "restart", unit("inspect"), check=False)
    broken, said = show("inspect"), journal("inspect")
    CONFIG.write_text(good)
    run("systemctl", "start", unit("inspect"))
    return {
        "check": checked.returncode,
        "rc": done.returncode,
        "broken": broken,
        "journal": said,
        "repaired": show("inspect"),
        "sync": [sync, show("sync")],
    }


@step
def stop():
    """The target ends before its services do, and systemctl waits for what it was told to stop."""
    run("systemctl", "stop", "edge-agent.target", unit("inspect"), unit("sync"))
    services = {name: show(name) for name in ("inspect", "sync")}
    return {"services": services, "status": payloads("status")}


def main():
    with (STAGE / "facts.jsonl").open("a") as file, contextlib.ExitStack() as last:
        last.callback(lambda: file.write(json.dumps({"step": "end", "journal": _everything()}) + "\n"))
        for function in STEPS:
            try:
                facts = function()
            except Exception:  # noqa: BLE001 - whatever it is, the host has to be told
                facts = {"fault": traceback.format_exc()}
            file.write(json.dumps({"step": function.__name__, **facts}) + "\n")
            file.flush()
            if "fault" in facts and function in (network, broker, install, start):
                return


def _everything():
    return run("journalctl", "--no-pager", "-q", "-b", "-u", "edge-agent*", "-u", "mosquitto", check=False).stdout


if __name__ == "__main__":
    main()
