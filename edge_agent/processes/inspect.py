"""The inspect process: holds the cameras and the model; reaches the broker only through the outbox.

    cameras --FrameQueue--> inspect thread --sinks--> counters, outbox.db (group commit) --bell--> sync
    inbox.db --bell--> main thread: commands, reloads, models, snapshot, telemetry, watchdog

This is its composition root: everything is built here and handed in.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from edge_agent import __version__
from edge_agent.capture.picture import prepare_for
from edge_agent.capture.queue import FrameQueue
from edge_agent.config.settings import Settings, load
from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_FAULT, EXIT_OK, ConfigError
from edge_agent.inspect.counters import Counters
from edge_agent.inspect.loop import Heat, InspectLoop
from edge_agent.inspect.shadow import Pair, Shadow
from edge_agent.line.exchange import Exchange
from edge_agent.models.finetune.right_of_way import WAY_SOCKET, Judging
from edge_agent.models.journal import Journal
from edge_agent.models.store import ModelStore
from edge_agent.processes.addresses import Addresses
from edge_agent.processes.alarm_desk import AlarmDesk
from edge_agent.processes.boot import Boot, begin_log, boot
from edge_agent.processes.cameras import CameraCrew
from edge_agent.processes.drift_files import DriftFiles
from edge_agent.processes.drift_watch import DriftWatch
from edge_agent.processes.evidence_desk import EvidenceDesk
from edge_agent.processes.floor import InspectFloor, Parts
from edge_agent.processes.glimpses import Glimpses
from edge_agent.processes.goodonly_files import GoodOnlyFiles
from edge_agent.processes.heart import Body, Heart
from edge_agent.processes.identities import Identities
from edge_agent.processes.lanes import LaneBook
from edge_agent.processes.models_in_use import ModelsInUse
from edge_agent.processes.orders import Orders
from edge_agent.processes.picture_watch import PictureWatch, ReferenceFiles
from edge_agent.processes.release import Instruments, ReleaseDesk
from edge_agent.processes.release_policy import release_policy
from edge_agent.processes.runtime_plan import RuntimePlan, runtime_plan
from edge_agent.processes.seconds import SecondModels
from edge_agent.processes.signals import SignalCrew
from edge_agent.processes.triggers import TriggerCrew
from edge_agent.records import Frame, HoldReason, Inspection
from edge_agent.storage import lock_file
from edge_agent.sync.alarms import Condition
from edge_agent.sync.doorbell import Doorbell, ringer, rung_by_signals
from edge_agent.sync.inbox import Inbox
from edge_agent.sync.messages import inspection_message
from edge_agent.sync.outbox import OutboxWriter, WriterOptions
from edge_agent.sync.outbox_table import OutboxLimits

log = logging.getLogger(__name__)

OUTBOX_FILE, INBOX_FILE = "outbox.db", "inbox.db"
SYNC_BELL, INSPECT_BELL, SNAPSHOT_FILE = "sync.bell", "inspect.bell", "inspect.json"
STOP_COMMIT_S = 5.0
PATIENCE_S = 30.0  # what systemd is asked for, about once a second
SECRETS = ("cameras", "signals")


def main(config_file: Path) -> int:
    """Inspect until SIGTERM; returns the exit code.

    Raises:
        ConfigError, AlreadyRunningError: a person has to act first.
        StorageReadOnlyError, StorageFullError, TransientError: the state directory cannot be used now.
    """
    started = boot("inspect", config_file, addresses=Addresses(), secrets_of=SECRETS)
    storage = started.settings.storage
    with lock_file(storage.state_dir / "inspect.lock", "inspect process"):
        bell_path = storage.runtime_dir / INSPECT_BELL
        bell = Doorbell(bell_path)
        try:
            with rung_by_signals(bell_path):
                return _Process(started, runtime_plan(started.settings, Path("/"), os.uname().machine)).run(bell)
        finally:
            bell.close()


class _Process:
    """Builds the parts and runs them; one instance a process."""

    def __init__(self, started: Boot, plan: RuntimePlan) -> None:
        settings, clock = started.settings, started.clock
        state_dir, runtime_dir = settings.storage.state_dir, settings.storage.runtime_dir
        self._started = started
        self._began_mono_s = clock.mono_s()
        self._first_start_s = plan.choice.profile.inference.first_start_s
        self._failing: set[str] = set()  # cameras whose model failed on their last picture; inspect thread only
        self._notifier = Notifier.from_environment(os.environ, clock)
        self._ring_sync = ringer(runtime_dir / SYNC_BELL)
        self._writer = OutboxWriter(
            state_dir / OUTBOX_FILE,
            clock,
            listener=self._note,
            ring=self._ring_sync,
            options=_writer_options(settings),
        )
        self._desk = AlarmDesk(file=state_dir / "alarms-inspect.json", clock=clock, publish=self._writer.put)
        self._evidence = EvidenceDesk(settings, clock, np.random.default_rng(), self._note)
        self._glimpses = Glimpses(runtime_dir, clock)
        self._judging = Judging(runtime_dir / WAY_SOCKET, clock)
        counters, queue, exchange = Counters(), FrameQueue(clock, self._judging), Exchange(runtime_dir, clock)
        self._signals = SignalCrew(exchange, steps=lambda: loop.steps, note=self._note, clock=clock)
        pairs: SimpleQueue[Pair] = SimpleQueue()
        shadow = Shadow(prepare=prepare_for, waiting=queue.has_waiting, tell=pairs.put, clock=clock)
        loop = InspectLoop(
            frames=queue,
            lanes={},
            prepare=prepare_for,
            # The line first: it waits for the verdict, everybody else reads it later.
            sinks=(self._signals.sink, counters, self._publish),
            clock=clock,
            on_fault=self._model_fault,
            follow=shadow.follow,
            witness=self._witness,
        )
        self._drift = DriftWatch(DriftFiles(state_dir / "drift"), self._note, clock)
        pictures = PictureWatch(ReferenceFiles(state_dir / "picture-health"), self._note, self._drift)
        identities = Identities(state_dir / "cameras.json", self._note)
        crew = CameraCrew(
            queue,
            drop=loop.drop,
            note=self._note,
            clock=clock,
            rng=np.random.default_rng(),
            pictures=pictures,
            identities=identities,
            input_px=loop.input_px,
            pipelines=plan.choice.profile.capture.pipelines,
            on_up=lambda camera, up: self._signals.set_up(camera, up=up),
        )
        store = ModelStore(state_dir / "models")
        ring = ringer(runtime_dir / INSPECT_BELL)
        models = ModelsInUse(store, plan.runtime, plan.flavour, self._note, clock, ring)
        seconds = SecondModels(store, plan.runtime, plan.flavour, ring)
        instruments = Instruments(
            root=store.root,
            trials=store.trials,
            models=models,
            seconds=seconds,
            shadow=shadow,
            pairs=pairs,
            said=self._evidence.said,
            note=self._note,
            clock=clock,
        )
        parts = Parts(
            loop=loop,
            crew=crew,
            triggers=TriggerCrew(exchange, lose=crew.lose, note=self._note, clock=clock),
            signals=self._signals,
            pictures=pictures,
            drift=self._drift,
            identities=identities,
            evidence=self._evidence,
            models=models,
            seconds=seconds,
            release=ReleaseDesk(instruments, lambda name: release_policy(self._floor.settings, name)),
            book=LaneBook(GoodOnlyFiles(state_dir / "good-only", Journal(state_dir / "models"), clock)),
            counters=counters,
            desk=self._desk,
            clock=clock,
        )
        self._floor = InspectFloor(settings, state_dir / "overrides.json", parts)
        self._inbox = Inbox(state_dir / INBOX_FILE, clock)
        self._orders = Orders(self._inbox, self._floor, self._ring_sync)
        self._stop_loop = threading.Event()
        self._thread = threading.Thread(target=loop.run, args=(self._stop_loop,), name="inspect", daemon=True)
        body = Body(
            floor=self._floor,
            queue=queue,
            put=self._writer.put,
            writer_alive=self._writer.is_alive,
            inspect_thread=self._thread,
            profile=plan.choice.profile,
            providers=", ".join(name for name, _ in plan.runtime.providers),
        )
        self._heart = Heart(body, runtime_dir / SNAPSHOT_FILE, clock, self._notifier.watchdog)
        for warning in plan.choice.warnings:
            log.warning("profile=%s warning=%s", plan.choice.profile.name, warning)

    def run(self, bell: Doorbell) -> int:
        """Open everything, then turn until told to stop or the inspect thread dies."""
        try:
            self._orders.begin()
            self._thread.start()
            self._floor.open(self._patience)
            self._heart.announce()
            cameras = ", ".join(self._floor.settings.cameras)
            log.info("event=ready version=%s cameras=%s", __version__, cameras)
            self._notifier.ready(f"inspecting {cameras}")
            while not self._started.stop.is_set():
                self._turn(bell)
            return EXIT_FAULT if self._started.broken.is_set() else EXIT_OK
        finally:
            self._close()

    def _patience(self, progress: str) -> None:
        """Starting takes its time, and systemd is asked for more of it; a first engine may take as the profile says."""
        if self._started.clock.mono_s() - self._began_mono_s < self._first_start_s:
            self._notifier.extend_timeout(PATIENCE_S)
        self._notifier.status(f"starting: {progress}")

    def _turn(self, bell: Doorbell) -> None:
        bell.wait(self._heart.seconds_to_next())
        if self._started.reload.is_set():
            self._started.reload.clear()
            self._reload()
        self._orders.step()
        told = self._floor.step_release()
        self._floor.parts.models.watch(self._floor.model_names)
        if self._floor.parts.models.poll():
            self._floor.relane()
            told = True
        if told:
            self._heart.announce()
        if self._floor.parts.identities.take_news():
            self._heart.announce()
        self._drift.step()
        self._heart.beat()

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            settings = load(self._started.config_file, addresses=Addresses(), secrets_of=SECRETS)
            waiting = self._floor.reload(settings)
        except ConfigError as error:
            log.error("config=refused reason=%s", error)  # noqa: TRY400 - the message is the whole story
            self._floor.refuse(str(error).partition("\n")[0])
        else:
            begin_log("inspect", settings, self._started.clock)
            log.info("config=reloaded digest=%s", self._floor.settings.digest[:12])
            for change in waiting:
                log.warning("config=needs-restart %s", change)
        self._heart.announce()
        self._notifier.ready()

    def _close(self) -> None:
        """Cameras first, then what they captured, then the disk: nothing that was captured goes without a verdict."""
        self._notifier.stopping()
        self._floor.parts.triggers.stop_all()
        self._floor.parts.crew.stop_all()
        self._stop_loop.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_COMMIT_S)
        self._signals.stop_all()
        self._floor.parts.release.close(clean=not self._started.broken.is_set())
        self._drift.close()
        forgotten = self._evidence.close(STOP_COMMIT_S)
        if forgotten:
            log.warning("evidence=unkept pictures=%d", forgotten)
        lost = self._writer.close(STOP_COMMIT_S)
        if lost:
            log.error("outbox=uncommitted messages=%d", lost)
        self._inbox.close()
        self._judging.close()
        log.info("event=stopped")

    def _witness(self, frame: Frame, inspection: Inspection, heat: Heat | None, differs: bool) -> None:
        self._evidence.witness(frame, inspection, heat, differs=differs)
        self._glimpses.witness(frame, inspection)
        self._drift.witness(frame, inspection)

    def _publish(self, inspection: Inspection) -> None:
        self._heart.sink(inspection)
        if inspection.camera in self._failing and _all_judged(inspection):
            self._failing.discard(inspection.camera)
            self._note(_model_condition(inspection.camera, active=False, text="the model judges again"))
        self._writer.put(inspection_message(inspection), self._signals.durable(inspection))

    def _note(self, condition: Condition) -> None:
        self._desk.note(condition)

    def _model_fault(self, camera: str, text: str) -> None:
        self._failing.add(camera)
        self._note(_model_condition(camera, active=True, text=text))


def _all_judged(inspection: Inspection) -> bool:
    """Whether every model gave this picture a verdict."""
    return inspection.latency is not None and all(found.reason is not HoldReason.MODEL for found in inspection.findings)


def _model_condition(camera: str, *, active: bool, text: str) -> Condition:
    return Condition(code="model-failed", subject=f"camera {camera}", active=active, text=text)


def _writer_options(settings: Settings) -> WriterOptions:
    keys = settings.outbox
    limits = OutboxLimits(max_bytes=keys.limit_bytes, max_age_s=keys.max_age_days * 86_400)
    return WriterOptions(window_s=keys.commit_window_ms / 1e3, limits=limits)
