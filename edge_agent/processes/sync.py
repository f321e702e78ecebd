"""The sync process: holds the network and nothing that could show a picture.

    outbox.db --> uplink <--> broker
    inbox.db  <--   |
    sync.json <-----+     what `edge-agent status` shows

This is its composition root: everything is built here and handed in.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.config.settings import Settings, load
from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_FAULT, EXIT_OK, ConfigError, TransientError
from edge_agent.processes.alarm_desk import AlarmDesk
from edge_agent.processes.boot import Boot, begin_log, boot
from edge_agent.processes.broker_options import branch_of, mqtt_options
from edge_agent.records import ulid
from edge_agent.storage import free_bytes, lock_file, replace_file
from edge_agent.sync.alarms import Condition, Listener
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.command_desk import CommandDesk
from edge_agent.sync.delivery import Delivery
from edge_agent.sync.doorbell import Doorbell, ringer, rung_by_signals
from edge_agent.sync.inbox import Inbox
from edge_agent.sync.link import Link
from edge_agent.sync.messages import Message
from edge_agent.sync.outbox import OutboxReader
from edge_agent.sync.sender import Sender
from edge_agent.sync.topics import Branch
from edge_agent.sync.uplink import Identity, Uplink, UplinkHealth, will

log = logging.getLogger(__name__)

OUTBOX_FILE, INBOX_FILE, LOCK_FILE, ALARMS_FILE = "outbox.db", "inbox.db", "sync.lock", "alarms-sync.json"
SYNC_BELL, INSPECT_BELL, HEALTH_FILE = "sync.bell", "inspect.bell", "sync.json"
HEALTH_EVERY_S = 1.0
SECRETS = ("mqtt",)
# Below this SQLite cannot be sure of its next commits; a person is told before they fail.
FREE_BYTES_MIN = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncOptions:
    """What the configuration says to this process."""

    state_dir: Path
    runtime_dir: Path
    branch: Branch
    mqtt: MqttOptions
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceManager:
    """What the service manager is told; see sd_notify(3). The defaults tell nobody."""

    ready: Callable[[], object] = lambda: None
    alive: Callable[[], object] = lambda: None
    status: Callable[[str], object] = lambda _text: None


class Stop(Protocol):
    """Says when to end; a threading.Event is one."""

    def is_set(self) -> bool: ...


def run(options: SyncOptions, *, clock: Clock, stop: Stop, service: ServiceManager | None = None) -> int:
    """Send and receive until `stop` is set.

    Raises:
        AlreadyRunningError: another sync process uses this state directory.
        ConfigError: the broker's URL, or a runtime directory with too long a name.
        CorruptStoreError, TransientError: the inbox cannot be opened.
    """
    service = service or ServiceManager()
    bell_path = options.runtime_dir / SYNC_BELL
    lock = lock_file(options.state_dir / LOCK_FILE, "sync process")
    bell = Doorbell(bell_path)
    inbox = Inbox(options.state_dir / INBOX_FILE, clock)
    outbox = OutboxReader(options.state_dir / OUTBOX_FILE, clock)
    uplink, alarms = _build(options, outbox, inbox, clock)
    try:
        with rung_by_signals(bell_path):
            service.ready()
            _loop(uplink, bell, _Reporter(options, alarms, service, clock), stop)
            uplink.close(bell)
    finally:
        outbox.close()
        inbox.close()
        bell.close()
        lock.close()
    return EXIT_OK


def _build(options: SyncOptions, outbox: OutboxReader, inbox: Inbox, clock: Clock) -> tuple[Uplink, AlarmDesk]:
    identity = Identity(version=options.version, session=ulid(clock.utc_s()))
    # The desk speaks through the sender, and the sender reports to the desk.
    alarms = AlarmDesk(
        file=options.state_dir / ALARMS_FILE,
        clock=clock,
        publish=lambda message: sender.say(message),  # noqa: PLW0108
    )
    delivery = Delivery(outbox, clock, alarms.note)
    sender = Sender(options.branch, delivery, alarms.note, clock, in_flight=options.mqtt.in_flight)

    def send(message: Message) -> bool:
        if not delivery.add(message):
            sender.say(message)  # not durable, but the disk is what is at fault
        return True

    desk = CommandDesk(
        inbox,
        clock,
        send=send,
        ring=ringer(options.runtime_dir / INSPECT_BELL),
        acknowledge_alarm=alarms.acknowledge,
    )
    link = Link(
        options.mqtt,
        clock,
        random.Random(),  # noqa: S311 - jitter, not a secret
        will=lambda: will(options.branch, identity, clock.utc_s()),
        wake=ringer(options.runtime_dir / SYNC_BELL),
    )
    uplink = Uplink(
        link=link,
        sender=sender,
        delivery=delivery,
        desk=desk,
        branch=options.branch,
        identity=identity,
        clock=clock,
    )
    return uplink, alarms


def _loop(uplink: Uplink, bell: Doorbell, reporter: _Reporter, stop: Stop) -> None:
    rung = True
    while not stop.is_set():
        uplink.step(rung=rung)
        reporter.step(uplink)
        rung = uplink.wait(bell)


class _Reporter:
    """Once a second: the health snapshot, the watchdog, the disk, alarms of an earlier run."""

    def __init__(self, options: SyncOptions, alarms: AlarmDesk, service: ServiceManager, clock: Clock) -> None:
        self._options = options
        self._alarms = alarms
        self._service = service
        self._clock = clock
        self._next_mono_s = float("-inf")
        self._text = ""

    def step(self, uplink: Uplink) -> None:
        if self._clock.mono_s() < self._next_mono_s:
            return
        self._next_mono_s = self._clock.mono_s() + HEALTH_EVERY_S
        health = uplink.health()
        self._service.alive()
        self._alarms.settle()
        look_at_disk(self._options.state_dir, self._alarms.note)
        text = _status_text(health)
        if text != self._text:
            self._text = text
            self._service.status(text)
        try:
            replace_file(self._options.runtime_dir / HEALTH_FILE, self._snapshot(health), durable=False)
        except TransientError as error:
            log.warning("health=unwritten reason=%s", error)

    def _snapshot(self, health: UplinkHealth) -> bytes:
        facts = {
            "pid": os.getpid(),
            "version": self._options.version,
            "written_utc_s": self._clock.utc_s(),
            "alarms": [f"{alarm.code}.{alarm.subject}" for alarm in self._alarms.active],
        }
        return json.dumps({**facts, **dataclasses.asdict(health)}, separators=(",", ":")).encode()


def _status_text(health: UplinkHealth) -> str:
    where = f"connected to {health.broker}" if health.connected else f"not connected: {health.reason}"
    return f"{where}, {'?' if health.queued is None else 'some' if health.queued > 0 else 'nothing'} queued"


def look_at_disk(state_dir: Path, listener: Listener) -> None:
    """Report a state directory that is nearly full or read-only: inspect cannot tell it through the outbox then."""
    free = free_bytes(state_dir)
    text = f"{state_dir}: {free // 2**20} MiB free, {FREE_BYTES_MIN // 2**20} MiB are needed"
    listener(Condition(code="disk-full", subject="state", active=free < FREE_BYTES_MIN, text=text))
    read_only = bool(os.statvfs(state_dir).f_flag & os.ST_RDONLY)
    text = f"{state_dir} is {'' if read_only else 'no longer '}mounted read-only"
    listener(Condition(code="state-read-only", subject="state", active=read_only, text=text))


class _Turn:
    """One connection's time: over when the process is told to stop, or when a reload changed the connection."""

    def __init__(self, started: Boot, settings: Settings) -> None:
        self._started = started
        self._settings = settings
        self.next: Settings | None = None

    def is_set(self) -> bool:
        if self._started.reload.is_set():
            self._started.reload.clear()
            self._reload()
        return self._started.stop.is_set() or self.next is not None

    def _reload(self) -> None:
        try:
            settings = load(self._started.config_file, secrets_of=SECRETS)
        except ConfigError as error:
            # Inspect raises the alarm about the file; here it only matters that the connection stays.
            log.warning("config=refused reason=%s", str(error).partition("\n")[0])
            return
        begin_log("sync", settings, self._started.clock)
        if (settings.mqtt, settings.site) != (self._settings.mqtt, self._settings.site):
            log.info("config=reloaded event=reconnect")
            self.next = settings


def main(config_file: Path) -> int:
    """Sync as this configuration says, until SIGTERM; a changed connection is taken over on SIGHUP.

    Raises:
        ConfigError, AlreadyRunningError: a person has to act first.
        StorageReadOnlyError, StorageFullError, TransientError: the state directory cannot be used now.
    """
    started = boot("sync", config_file, secrets_of=SECRETS)
    notifier = Notifier.from_environment(os.environ, started.clock)
    service = ServiceManager(ready=notifier.ready, alive=notifier.watchdog, status=notifier.status)
    settings: Settings | None = started.settings
    storage = started.settings.storage  # a change of it waits for a restart, as it does in inspect
    code = EXIT_OK
    while settings is not None:
        options = SyncOptions(
            state_dir=storage.state_dir,
            runtime_dir=storage.runtime_dir,
            branch=branch_of(settings),
            mqtt=mqtt_options(settings),
            version=__version__,
        )
        turn = _Turn(started, settings)
        code = run(options, clock=started.clock, stop=turn, service=service)
        settings = turn.next
    notifier.stopping()
    return EXIT_FAULT if started.broken.is_set() else code
