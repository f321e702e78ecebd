"""Picture health of every camera: what a configured camera means to it, references on disk, findings as alarms.

camera thread --examine--> PictureHealth --> HOLD reason of the frame
                                         --> picture-unhealthy, once for each change
a reference that was learned --> STATE/picture-health/NAME.json
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

from edge_agent.capture.addresses import Address
from edge_agent.capture.picture import Image
from edge_agent.capture.picture_health import (
    Health,
    HealthPlan,
    PictureHealth,
    default_checks,
    frozen_after,
    shows_parts,
)
from edge_agent.capture.picture_reference import MOST_REFERENCE_BYTES, Reference, from_json, to_json
from edge_agent.config.camera import Camera
from edge_agent.errors import CorruptStoreError, TransientError
from edge_agent.processes.drift_watch import DriftWatch
from edge_agent.records import HoldReason
from edge_agent.storage import remove_file, replace_file, storage_faults
from edge_agent.sync.alarms import Condition

log = logging.getLogger(__name__)

ALARM = "picture-unhealthy"
UNWATCHED = Health(state="off")


def health_plan(camera: Camera, address: Address) -> HealthPlan:
    """Which checks apply to this camera, and to what of its pictures."""
    checks = default_checks(address) if camera.health is None else frozenset(map(HoldReason, camera.health))
    triggered = camera.trigger is not None
    parts = shows_parts(address, triggered=triggered)
    view = json.dumps([camera.roi, camera.mask, camera.rotation, parts])
    return HealthPlan(
        checks=checks,
        view=hashlib.sha256(view.encode()).hexdigest()[:16],
        pictures=camera.health_frames,
        frozen_after=frozen_after(address, triggered=triggered),
        parts=parts,
        # What a camera that runs freely sees in one second is much the same.
        learn_every=1 if parts else math.ceil(camera.fps),
    )


class ReferenceFiles:
    """The references under `folder`, one file a camera."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def load(self, camera: str) -> Reference | None:
        """What was learned; None when nothing was, or it is damaged, which the log says."""
        path = self._path(camera)
        try:
            with path.open("rb") as file:
                return from_json(file.read(MOST_REFERENCE_BYTES + 1))
        except FileNotFoundError:
            return None
        except (OSError, CorruptStoreError) as error:
            log.warning("camera=%s picture_reference=learn-again file=%s reason=%s", camera, path, error)
            return None

    def save(self, camera: str, reference: Reference) -> None:
        """Keep what was learned; a full disk costs learning again after a restart."""
        fixed = "none" if reference.template is None else f"{reference.template.where.mean():.1%}"
        try:
            replace_file(self._path(camera), to_json(reference))
        except TransientError as error:
            log.warning("camera=%s picture_reference=unsaved reason=%s", camera, error)
        else:
            pictures = reference.pictures
            log.info("camera=%s picture_reference=learned pictures=%d fixed_structure=%s", camera, pictures, fixed)

    def forget(self, camera: str) -> None:
        """Take it away for good.

        Raises:
            StorageReadOnlyError, TransientError: it may still be there.
        """
        remove_file(self._path(camera))

    def _path(self, camera: str) -> Path:
        return self._folder / f"{camera}.json"


class PictureWatch:
    """The health of every camera that runs. Begun, ended and asked by the main thread; `note` is called by cameras'."""

    def __init__(
        self, files: ReferenceFiles, note: Callable[[Condition], None], drift: DriftWatch | None = None
    ) -> None:
        self._files = files
        self._note = note
        self._drift = drift
        self._watched: dict[str, PictureHealth] = {}

    def begin(self, name: str, camera: Camera, address: Address) -> Callable[[Image], HoldReason | None]:
        """What examines this camera's views from now on."""
        plan = health_plan(camera, address)
        hear = None if self._drift is None else self._drift.begin(name, camera, plan)
        plan = dataclasses.replace(plan, measure=hear is not None)
        reference = self._files.load(name) if plan.checks or plan.measure else None
        health = PictureHealth(plan, reference, lambda learned: self._files.save(name, learned), hear)
        self._watched[name] = health
        # What an earlier process left behind, or the camera as it was configured before, ends here.
        self._tell(name, health.health)

        def examine(image: Image) -> HoldReason | None:
            before = health.health.finding
            reason = health.examine(image)
            if (before.reason if before else None) is not reason:
                self._tell(name, health.health)
            return reason

        return examine

    def end(self, name: str) -> None:
        """The camera stopped: nothing is said of its pictures any more."""
        if self._watched.pop(name, None) is not None:
            self._tell(name, UNWATCHED)
            if self._drift is not None:
                self._drift.end(name)

    def relearn(self, name: str) -> None:
        """Learn this camera's pictures anew, from its next one on.

        Raises:
            StorageReadOnlyError, TransientError: what it knew may come back after a restart; nothing was changed.
        """
        # Gone from the disk first: an old reference that a restart brings back must not be called forgotten.
        self._files.forget(name)
        if self._drift is not None:
            self._drift.relearn(name)
        self._watched[name].relearn()

    def state(self, name: str) -> str:
        """For people: off, how far learning is, healthy, or what is wrong."""
        watched = self._watched.get(name)
        return UNWATCHED.state if watched is None else watched.health.state

    def watches(self, name: str) -> bool:
        """Whether any check applies to this camera, or its drift is told."""
        drifts = self._drift is not None and self._drift.watches(name)
        return drifts or self.state(name) != UNWATCHED.state

    def _tell(self, name: str, health: Health) -> None:
        finding = health.finding
        # An alarm's text does not change while it is active: another reason is another alarm.
        self._note(Condition(code=ALARM, subject=name, active=False, text="the pictures are sound again"))
        if finding is not None:
            log.warning("camera=%s picture=%s text=%s", name, finding.reason.value, finding.text)
            text = f"{finding.reason.value}: {finding.text}"
            self._note(Condition(code=ALARM, subject=name, active=True, text=text))
