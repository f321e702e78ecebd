"""The running gateway as commands and reloads change it: settings, overrides, lanes, cameras. Main thread only."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_agent.clock import Clock, rfc3339
from edge_agent.config.diff import cameras_to_reopen, diff
from edge_agent.config.keys import Apply
from edge_agent.config.settings import Settings
from edge_agent.errors import BadCommandError, TransientError
from edge_agent.inspect.counters import Counters
from edge_agent.inspect.loop import InspectLoop
from edge_agent.models.journal import operator
from edge_agent.processes.alarm_desk import AlarmDesk
from edge_agent.processes.cameras import CameraCrew
from edge_agent.processes.drift_watch import DriftWatch
from edge_agent.processes.evidence_desk import EvidenceDesk
from edge_agent.processes.finetuning import request
from edge_agent.processes.identities import EXCHANGED, Identities
from edge_agent.processes.lanes import LaneBook, Overrides
from edge_agent.processes.learn_request import ask
from edge_agent.processes.models_in_use import Done, ModelsInUse
from edge_agent.processes.picture_watch import PictureWatch
from edge_agent.processes.release import ReleaseDesk
from edge_agent.processes.seconds import SecondModels
from edge_agent.processes.signals import SignalCrew
from edge_agent.processes.triggers import TriggerCrew
from edge_agent.sync.alarms import Condition
from edge_agent.sync.payloads import ConfigPayload

log = logging.getLogger(__name__)

RELEASE_STEPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the floor works with; built once by the composition root."""

    loop: InspectLoop
    crew: CameraCrew
    triggers: TriggerCrew
    signals: SignalCrew
    pictures: PictureWatch
    drift: DriftWatch
    identities: Identities
    evidence: EvidenceDesk
    models: ModelsInUse
    seconds: SecondModels
    release: ReleaseDesk
    book: LaneBook
    counters: Counters
    desk: AlarmDesk
    clock: Clock


class InspectFloor:
    """Implements `orders.Floor`."""

    def __init__(self, settings: Settings, overrides_file: Path, parts: Parts) -> None:
        self.settings = settings
        self.parts = parts
        self.overrides = Overrides.read(overrides_file).settled(settings.cameras)
        self._overrides_file = overrides_file
        self._loaded = rfc3339(parts.clock.utc_s())
        self._refused: str | None = None

    @property
    def model_names(self) -> tuple[str, ...]:
        return tuple(sorted({name for camera in self.settings.cameras.values() for name in camera.model_names}))

    def open(self, progress: Callable[[str], None]) -> None:
        """Load the models, build the lanes, start the cameras: in this order, so that the first frame finds a model.

        `progress` hears what a long start waits for.
        """
        # The line first: a model may take minutes to be built, and meanwhile what an earlier run left must not stand.
        self._tell_line()
        self.parts.release.begin(self.model_names)
        self.parts.models.start(self.model_names, progress)
        self.relane()
        self.parts.identities.settle(self.settings.cameras)
        for name in self.settings.cameras:
            self._start_camera(name)

    def relane(self) -> None:
        """Build every lane anew and hand them to the loop by one assignment."""
        before = self.parts.loop.lanes
        lanes = self.parts.book.build(
            self.settings.cameras, self.parts.models.models, self.overrides, self.parts.seconds.models
        )
        self.parts.loop.lanes = self.parts.drift.listening(lanes, self.parts.models.models)
        self.parts.evidence.declare(self.parts.models.models)
        for name, lane in lanes.items():
            known = before.get(name)
            if known is not None and known.grounds != lane.grounds:
                self.parts.loop.forget(name)

    def reload(self, settings: Settings) -> tuple[str, ...]:
        """Take new settings: what can be changed live is, the rest is named and waits for a restart.

        Returns the changes that wait. A camera whose keys did not change loses no frame.
        """
        changes = diff(self.settings, settings)
        for change in changes:
            log.info("config=changed %s", change)
        gone = set(self.settings.cameras) - set(settings.cameras)
        reopened = cameras_to_reopen(changes)
        self.settings = settings
        self.parts.evidence.settle(settings)
        self._settle_overrides()
        self.parts.models.watch(self.model_names)
        for name in gone:
            self.parts.triggers.stop(name)
            self.parts.crew.stop(name)
        self.parts.identities.settle(settings.cameras)
        self.relane()
        for name in sorted(reopened - gone):
            self._start_camera(name)
        self._tell_line()
        self._loaded, self._refused = rfc3339(self.parts.clock.utc_s()), None
        self._note_refusal()
        # Connection keys are sync's, which reads the same file on the same signal.
        return tuple(str(change) for change in changes if change.apply is Apply.RESTART)

    def _start_camera(self, name: str) -> None:
        """Trigger last and camera first, and the other way round when they stop: no trigger goes unheard."""
        camera = self.settings.cameras[name]
        gate = self.parts.triggers.prepare(name, camera)
        self.parts.crew.start(name, camera, gate)
        self.parts.triggers.start(name)

    def _tell_line(self) -> None:
        self.parts.signals.apply(self.settings.signals, tuple(self.settings.cameras))

    def _settle_overrides(self) -> None:
        settled = self.overrides.settled(self.settings.cameras)
        if settled != self.overrides:
            self.overrides = settled
            try:
                settled.write(self._overrides_file)
            except TransientError as error:
                # After a restart they settle again in the same way, unless the key was edited back meanwhile.
                log.warning("overrides=unsaved file=%s reason=%s", self._overrides_file, error)

    def refuse(self, reason: str) -> None:
        """A changed file was not taken: the old settings stay in force, and a person is told."""
        self._refused = reason
        self._note_refusal()

    def config_state(self) -> ConfigPayload:
        """What `cfg/is` says."""
        return ConfigPayload(
            ts=rfc3339(self.parts.clock.utc_s()),
            hash=self.settings.digest,
            loaded=self._loaded,
            refused=self._refused,
        )

    def _note_refusal(self) -> None:
        text = self._refused or "a valid configuration is in force"
        self.parts.desk.note(Condition(code="config-refused", subject="", active=self._refused is not None, text=text))

    # orders.Floor

    def set_threshold(self, camera: str, value: float) -> None:
        self._known(camera)
        self._override(self.overrides.with_threshold(camera, value, self.settings.cameras[camera]))

    def set_paused(self, camera: str | None, *, paused: bool) -> None:
        if camera is not None:
            self._known(camera)
        names = frozenset(self.settings.cameras) if camera is None else frozenset({camera})
        now = self.overrides.paused | names if paused else self.overrides.paused - names
        self._override(dataclasses.replace(self.overrides, paused=now))

    def relearn_pictures(self, camera: str) -> None:
        self._known(camera)
        if not self.parts.pictures.watches(camera):
            raise BadCommandError(
                f"camera {camera!r} has no picture checks and no drift: `health` is empty, or it shows files"
            )
        self.parts.pictures.relearn(camera)

    def counters(self) -> dict[str, Any]:
        cameras = {}
        for name in self.settings.cameras:
            counts = self.parts.counters.snapshot(name)
            cameras[name] = {
                "passed": counts.passed,
                "failed": counts.failed,
                "held": counts.held,
                "held_by_reason": counts.held_by_reason,
                "labels": counts.labels,
            }
        return {"cameras": cameras}

    def trigger(self, camera: str, part: str | None, recipe: str | None) -> None:
        self._known(camera)
        self.parts.triggers.fire(camera, part, recipe)

    def label(self, sample: str, label: str, *, by: str, identity: str, new_class: bool) -> dict[str, Any]:
        settled = self.parts.evidence.label(sample, label, by=by, identity=identity, new_class=new_class)
        return {"sample": settled.id, "standing": settled.standing.value, "label": settled.truth}

    def ask_to_learn(self) -> None:
        ask(self.settings.storage.state_dir)

    def ask_to_finetune(self, action: Literal["start", "cancel"], model: str | None, *, by: str) -> None:
        if model is not None:
            self._known_model(model)
        request.ask(self.settings.storage.state_dir, action, by=by, clock=self.parts.clock, model=model)

    def acknowledge_alarm(self, code: str, subject: str) -> bool:
        if code != EXCHANGED:
            return self.parts.desk.acknowledge(code, subject)
        self.parts.identities.accept(subject)
        known = self.parts.desk.acknowledge(code, subject)
        self.parts.identities.look_again(subject)
        return known

    def activate_model(self, name: str, digest: str, done: Done, *, by: str) -> None:
        self._known_model(name)
        self.parts.models.activate(name, digest, done, by=operator(by))

    def roll_back_model(self, name: str, done: Done, *, by: str) -> None:
        self._known_model(name)
        self.parts.models.roll_back(name, done, by=operator(by))

    def decide_trial(self, name: str, *, confirm: bool, by: str) -> None:
        self._known_model(name)
        self.parts.release.decide(name, confirm=confirm, by=by)
        self.relane()

    def step_release(self) -> bool:
        """Follow candidates on trial; True when something is to be told of them."""
        # Loaded, tried on past parts, switched: each needs the lanes of the step before.
        for _ in range(RELEASE_STEPS):
            if not self.parts.release.step(self.model_names, self.parts.loop.lanes):
                break
            self.relane()
        return self.parts.release.take_news()

    def _override(self, overrides: Overrides) -> None:
        # Durable first: a threshold that a restart would forget must not be called set.
        overrides.write(self._overrides_file)
        self.overrides = overrides
        self.relane()

    def _known(self, camera: str) -> None:
        if camera not in self.settings.cameras:
            known = ", ".join(sorted(self.settings.cameras))
            raise BadCommandError(f"no camera {camera!r} here, the cameras are {known}")

    def _known_model(self, name: str) -> None:
        if name not in self.model_names:
            raise BadCommandError(f"no camera uses model {name!r}, in use are {', '.join(self.model_names)}")
