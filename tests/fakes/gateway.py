"""A running gateway in a folder of its own: real child processes, a real store with a tiny model, nothing pretended.

    with Gateway(folder, url, {"top": {"source": "synthetic:good"}}, models=store) as gateway:
        gateway.start()                  # edge-agent run; or start("inspect"), start("sync") as systemd does
        gateway.live("inspect")          # what the process writes about itself
        gateway.kill("sync")             # SIGKILL; the supervisor starts it again
        gateway.cli("outbox", "--output", "json")

The children inherit this environment, so that they run the checkout, or a wheel that PYTHONPATH names.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from edge_agent.clock import SystemClock
from edge_agent.processes.live import fresh_json
from tests.waiting import until

START_S = 30.0
LOCKS = {"run": "supervisor.lock"} | {name: f"{name}.lock" for name in ("inspect", "sync", "learn", "finetune")}
ENTERPRISE, PLANT, GATEWAY = "acme", "lyon", "gw-07"
PREFIX = f"{ENTERPRISE}/{PLANT}/ev1/{GATEWAY}/"
# One thread and one flavour whatever the machine; numbers often, so that tests need not wait for them.
FIXED = {
    "device": {"profile": "x86-vnni", "providers": ["CPUExecutionProvider"], "threads": 1},
    "telemetry": {"interval_s": 1, "summary_interval_s": 1},
    "logging": {"format": "text"},
}


class Secret(str):
    """A value that stands in the file as `!secret NAME`."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Secret, lambda dumper, name: dumper.represent_scalar("!secret", str(name), style=""))


class Gateway:
    """`folder` must have a short path: unix sockets lie in it. `models` is a model store to copy, None for none."""

    def __init__(self, folder, url, cameras, *, models=None, state=None, mqtt=None, **sections):
        self.folder = folder
        self.state = state or folder / "state"
        self.runtime = folder / "run"
        self.config = folder / "agent.yaml"
        self._children = {}
        self._stopped = set()
        self.settings = {
            "version": 1,
            "site": {"enterprise": ENTERPRISE, "plant": PLANT, "gateway": GATEWAY},
            "cameras": cameras,
            "mqtt": {"url": url, **(mqtt or {})},
            "storage": {"state_dir": str(self.state), "runtime_dir": str(self.runtime), "min_free_bytes": 0},
            **FIXED,
            **sections,
        }
        if models is not None:
            shutil.copytree(models, self.state / "models")
        self.write()

    def write(self):
        """Put the settings into the configuration file."""
        self.config.write_text(yaml.dump(self.settings, Dumper=_Dumper, sort_keys=False))

    def start(self, *processes):
        """Start processes (`run` unless others are named) and wait until each writes its snapshot."""
        for process in processes or ("run",):
            self.launch(process)
        wanted = ("inspect", "sync") if not processes or "run" in processes else processes
        for process in wanted:
            until(lambda process=process: self.live(process) or self._check_alive(), START_S)
        return self

    def launch(self, process):
        """Start one process and wait for nothing."""
        words = ["run"] if process == "run" else ["serve", process]
        command = [sys.executable, "-m", "edge_agent", *words, "--config", str(self.config)]
        with (self.folder / f"{process}.log").open("ab") as log:
            self._children[process] = subprocess.Popen(command, stdout=log, stderr=log)

    def _check_alive(self):
        for process, child in self._children.items():
            assert child.poll() is None, f"{process} ended with {child.returncode}:\n{self.log}"

    @property
    def log(self):
        """Everything that was said on stderr."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def pid(self, process):
        """The pid of `run`, `inspect` or `sync`, None while it does not run.

        Not asked with `lock_holder`: that takes the lock for a moment, in which the process itself may want it.
        """
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.state / LOCKS[process]).read_text())
            if b"edge_agent" in Path(f"/proc/{pid}/cmdline").read_bytes():  # empty once it is dead
                return pid
        return None

    def live(self, process):
        """The snapshot of `inspect` or `sync`, None when it does not write one now."""
        value = fresh_json(self.runtime / f"{process}.json", SystemClock().utc_s())
        return value if value is not None and value["pid"] == self.pid(process) else None

    def camera(self, name):
        """One camera of inspect's snapshot, None when there is none."""
        return ((self.live("inspect") or {}).get("cameras") or {}).get(name)

    def reload(self):
        """Write the settings and send SIGHUP to whatever was started."""
        self.write()
        for child in self._children.values():
            child.send_signal(signal.SIGHUP)

    def signal(self, process, number):
        pid = self.pid(process)
        assert pid, f"{process} does not run:\n{self.log}"
        os.kill(pid, number)
        (self._stopped.add if number == signal.SIGSTOP else self._stopped.discard)(pid)
        return pid

    def kill(self, process):
        """SIGKILL; returns when it is gone."""
        pid = self.signal(process, signal.SIGKILL)
        child = self._children.get(process)
        if child is not None:
            child.wait(START_S)
        until(lambda: self.pid(process) != pid)

    def stop(self):
        """SIGTERM to what was started; returns the exit codes by process."""
        for pid in self._stopped:
            os.kill(pid, signal.SIGCONT)
        self._stopped.clear()
        for child in self._children.values():
            child.terminate()
        codes = {process: child.wait(START_S) for process, child in self._children.items()}
        self._children = {}
        return codes

    def wait(self, process):
        """The exit code of a process that is expected to end by itself."""
        return self._children.pop(process).wait(START_S)

    def cli(self, *words, timeout_s=60.0):
        """Run a verb with this configuration."""
        command = [sys.executable, "-m", "edge_agent", *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    def report(self, *words):
        """A verb's `--output json`, read."""
        done = self.cli(*words, "--output", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def mapped(self, process):
        """Names of the files that a process has mapped: its libraries."""
        maps = Path(f"/proc/{self.pid(process)}/maps").read_text()
        return set(re.findall(r"/\S.*$", maps, re.MULTILINE))

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.stop()
        for process in LOCKS:
            pid = self.pid(process)
            if pid:  # an orphan of a supervisor that was killed
                os.kill(pid, signal.SIGKILL)
