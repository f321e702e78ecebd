"""A real mosquitto on a free port, as a fixture: started, stopped, killed, restarted; TLS, passwords, ACL, limits.

Nothing here pretends: it is the broker itself, and `Listener` is a plain paho client beside the code under test.
"""

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

DEADLINE_S = 10.0
LOOK_S = 0.02
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*words, directory):
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True, timeout=30)


class Authority:
    """A certificate authority of its own, made with the openssl program."""

    def __init__(self, directory: Path, name="Plant CA"):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "30",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign", directory=directory)  # fmt: skip
        self.ca_file = directory / "ca.crt"

    def issue(self, name, *, expired=False):
        """(certificate file, key file) for `name`, which is also valid for 127.0.0.1 and localhost."""
        where = self.directory
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", directory=where)  # fmt: skip
        (where / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        (where / "index.txt").touch()
        (where / "serial").write_text(f"{len(list(where.glob('*.csr'))):04x}\n")
        (where / "ca.cnf").write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={where}/index.txt\nserial={where}/serial\nnew_certs_dir={where}\n"
            "default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        )
        start, end = ("20200101000000Z", "20200201000000Z") if expired else ("20240101000000Z", "20490101000000Z")
        openssl("ca", "-batch", "-config", "ca.cnf", "-cert", "ca.crt", "-keyfile", "ca.key", "-in", f"{name}.csr", "-out", f"{name}.crt",
                "-startdate", start, "-enddate", end, "-extfile", f"{name}.ext", "-notext", directory=where)  # fmt: skip
        return where / f"{name}.crt", where / f"{name}.key"


class Broker:
    """One mosquitto. Further configuration lines go in as they stand in mosquitto.conf; `extra` belongs to the listener."""

    def __init__(self, directory: Path, *, lines=(), tls=None, passwords=None, acl=None, websocket=False):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self._process = None
        self._config = directory / "mosquitto.conf"
        self._log = directory / "mosquitto.log"
        self.scheme = ("ws" if websocket else "mqtt") + ("s" if tls else "")
        config = [
            # Started as root mosquitto drops to its own user, which may not enter a test's directory.
            "user root",
            "persistence true",
            f"persistence_location {directory}/",
            "max_queued_messages 0",
            *lines,
            f"listener {self.port} 127.0.0.1",
        ]
        if websocket:
            # 2.0.11 ends at once when websockets are all it listens to.
            config += ["protocol websockets", f"listener {free_port()} 127.0.0.1"]
        if tls is not None:
            config += [f"{key} {value}" for key, value in tls.items()]
        if passwords is None:
            config.append("allow_anonymous true")
        else:
            file = directory / "passwords"
            file.touch(mode=0o600)
            for user, password in passwords.items():
                subprocess.run(["mosquitto_passwd", "-b", str(file), user, password], check=True, capture_output=True)
            config += ["allow_anonymous false", f"password_file {file}"]
        if acl is not None:
            (directory / "acl").write_text(acl)
            (directory / "acl").chmod(0o600)
            config.append(f"acl_file {directory}/acl")
        self._config.write_text("\n".join(config) + "\n")

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"mosquitto did not start: {self._log.read_text()}")
            threading.Event().wait(0.02)

    def kill(self):
        """kill -9: nothing is saved, nobody is told."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)

    def reload(self):
        """Have the ACL and passwords read again; returns when the broker has begun to, before it reads another packet."""
        before = self._log.read_text().count("Reloading config")
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE_S
        while self._log.read_text().count("Reloading config") == before:
            assert time.monotonic() < deadline, "mosquitto did not reload"
            threading.Event().wait(0.02)

    def write_acl(self, acl):
        (self.directory / "acl").write_text(acl)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


class Listener:
    """A subscriber that keeps all it hears, and can publish; MQTT 5, reconnects by itself."""

    def __init__(self, broker: Broker, topics=("#",), *, username=None, password=None, tls=None, client_id=""):
        self.heard = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._topics = topics
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5,
                                   transport="websockets" if broker.scheme.startswith("ws") else "tcp")  # fmt: skip
        self._client.reconnect_delay_set(1, 1)
        if username:
            self._client.username_pw_set(username, password)
        if tls:
            self._client.tls_set(**tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", broker.port, keepalive=10)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S), "the listener could not subscribe"

    def _on_connect(self, client, _userdata, _flags, reason, _properties):
        if not reason.is_failure:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, _client, _userdata, message):
        with self._changed:
            self.heard.append(message)
            self._changed.notify_all()

    def wait_for(self, found, timeout_s=DEADLINE_S):
        """Wait until `found(heard)` is true; returns its value."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                known = len(self.heard)
                value = found(self.heard)
                if value:
                    return value
                remaining_s = deadline - time.monotonic()
                assert remaining_s > 0, f"not heard in {timeout_s} s; heard {[one.topic for one in self.heard][-20:]}"
                self._changed.wait_for(lambda known=known: len(self.heard) > known, remaining_s)
            # Looked at anew for each of thousands of messages, all of them would be read again for every one.
            threading.Event().wait(LOOK_S)

    def on(self, suffix):
        """Messages so far whose topic ends in `suffix`."""
        with self._changed:
            return [message for message in self.heard if message.topic.endswith(suffix)]

    def publish(self, topic, payload, *, retain=False):
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
