"""Drift of every camera: numbers from its thread, features and verdicts from the inspect thread, alarms, files.

    camera thread  --heard--> numbers of sound pictures --+
    inspect thread --looked--> features of this picture --+--witness--> Monitor --> drift-CAUSE, once for each change
    main thread    --step--> learns what is ripe, keeps it: STATE/drift/CAMERA.json, CAMERA.safetensors

Only the inspect thread feeds a monitor. What it costs there: 20 us a frame (tests/bench/drift.py).
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture_health import HealthPlan
from edge_agent.capture.picture_reference import Reference, identity
from edge_agent.clock import Clock
from edge_agent.config.camera import Camera
from edge_agent.config.drift import DriftKeys
from edge_agent.inspect.lane import Judge, Lane
from edge_agent.learn.drift import Cause, Kind, strengths
from edge_agent.learn.drift_file import Kept
from edge_agent.learn.drift_measure import Judged
from edge_agent.learn.drift_monitor import Finding, Monitor
from edge_agent.models.loading import AnyModel, LoadedModel
from edge_agent.processes.drift_files import DriftFiles
from edge_agent.records import Features, Frame, HoldReason, Inspection
from edge_agent.records import Finding as Found
from edge_agent.sync.alarms import Condition

log = logging.getLogger(__name__)

OFF = "off"
# How often charts are written that nothing happened in: a power cut costs so much of a slow rise.
KEEP_EVERY_S = 600.0
# Numbers of pictures that wait for the inspect thread; where it judges nothing they are of no use.
WAITING_MOST = 256

Hear = Callable[[Reference, Mapping[str, float]], None]


def alarm_code(cause: Cause) -> str:
    """The code of the alarm that says what drifted."""
    return f"drift-{cause.value}"


def is_watched(camera: Camera, plan: HealthPlan) -> bool:
    """Whether this camera's drift is told."""
    enabled = _keys(camera).enabled
    if enabled is not None:
        return enabled
    return bool(plan.checks) and not camera.recipes


def _keys(camera: Camera) -> DriftKeys:
    return camera.drift if camera.drift is not None else DriftKeys()


class _Watched:
    """One camera. `vector` is what its first model made of the picture that is being judged."""

    def __init__(self, name: str, camera: Camera, every: int) -> None:
        keys = _keys(camera)
        self.monitor = Monitor(keys.frames, keys.tolerance)
        self.told: Finding | None = None
        self.vector: NDArray[np.float32] | None = None
        self.numbers: deque[tuple[str, Mapping[str, float]]] = deque(maxlen=WAITING_MOST)
        self.name = name
        self._camera = camera
        self._every = every
        self._count = 0

    def anew(self) -> _Watched:
        """The same camera, of which nothing is known."""
        return _Watched(self.name, self._camera, self._every)

    def turn(self) -> bool:
        """Whether this picture counts: of a camera that runs freely, one a second."""
        self._count += 1
        return self._count % self._every == 0


class DriftWatch:
    """The drift of every camera that runs. `witness` is called by the inspect thread, all else by the main one."""

    def __init__(self, files: DriftFiles, note: Callable[[Condition], None], clock: Clock) -> None:
        self._files = files
        self._note = note
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._keys: dict[str, Mapping[Kind, str]] = {}  # by camera: what features and verdicts belong to
        self._next_keep_s = clock.mono_s() + KEEP_EVERY_S

    def begin(self, name: str, camera: Camera, plan: HealthPlan) -> Hear | None:
        """Watch this camera from now on. Returns what hears the numbers of its pictures, in its own thread; None where
        it is not watched.
        """
        self._watched.pop(name, None)
        if not is_watched(camera, plan):
            self._tell(name, None)
            return None
        watched = _Watched(name, camera, plan.learn_every)
        kept = self._files.load(name)
        watched.monitor.restore(kept.known, kept.finding)
        watched.told = kept.finding
        self._watched[name] = watched
        self._tell(name, kept.finding)
        return self._hearing(name)

    def _hearing(self, name: str) -> Hear:
        known: tuple[Reference, str] | None = None

        def hear(reference: Reference, numbers: Mapping[str, float]) -> None:
            nonlocal known
            if known is None or known[0] is not reference:
                known = reference, identity(reference)
            watched = self._watched.get(name)
            if watched is not None:
                watched.numbers.append((known[1], numbers))

        return hear

    def end(self, name: str) -> None:
        """The camera stopped: what was learned is kept, nothing is said of it any more."""
        watched = self._watched.pop(name, None)
        if watched is not None:
            self._keep(watched)
            self._tell(name, None)

    def relearn(self, name: str) -> None:
        """Learn anew what is normal for this camera.

        Raises:
            StorageReadOnlyError, TransientError: what it knew may come back after a restart; nothing was changed.
        """
        watched = self._watched.get(name)
        if watched is not None:
            self._files.forget(name)
            self._watched[name] = watched.anew()
            self._tell(name, None)

    def watches(self, name: str) -> bool:
        return name in self._watched

    def state(self, name: str) -> str:
        """For people: off, how far learning is, steady, or what drifted."""
        watched = self._watched.get(name)
        return OFF if watched is None else watched.monitor.state

    def numbers(self, name: str) -> dict[str, float]:
        """By sign (light, place, ...) how near it is to an alarm, which it is at 1."""
        watched = self._watched.get(name)
        if watched is None:
            return {}
        return {sign.name.lower(): round(found, 3) for sign, found in strengths(watched.monitor.charts).items()}

    def listening(self, lanes: Mapping[str, Lane], models: Mapping[str, AnyModel]) -> dict[str, Lane]:
        """The lanes, with us beside their first models: features are heard on their way to the assessor."""
        return {name: self._listening(name, lane, models) for name, lane in lanes.items()}

    def _listening(self, name: str, lane: Lane, models: Mapping[str, AnyModel]) -> Lane:
        judge = lane.first
        if not isinstance(judge, Judge):
            return lane
        model = models.get(judge.name)
        encoder = model.manifest.encoder(model.flavour).sha256 if isinstance(model, LoadedModel) else judge.digest
        # Other thresholds make other shares of FAIL and HOLD; a new head on the same encoder leaves the features alone.
        self._keys[name] = {Kind.FEATURES: encoder, Kind.VERDICTS: f"{judge.digest} {judge.rules}"}

        def look(picture: NDArray[np.uint8]) -> Any:
            answer = judge.look(picture)
            watched = self._watched.get(name)
            if watched is not None and isinstance(answer, Features):
                watched.vector = answer.vector
            return answer

        return dataclasses.replace(lane, first=dataclasses.replace(judge, look=look))

    def witness(self, frame: Frame, inspection: Inspection) -> None:
        """A frame and its verdict; inspect thread."""
        watched = self._watched.get(frame.camera)
        if watched is None:
            return
        monitor, vector, watched.vector = watched.monitor, watched.vector, None
        counts = watched.turn()
        while watched.numbers:
            key, numbers = watched.numbers.popleft()
            if counts:
                monitor.take(Kind.PICTURES, key, numbers)
        keys, judged = self._keys.get(frame.camera), _judged(inspection)
        if not counts or keys is None or judged is None:
            return
        if vector is not None:
            monitor.take(Kind.FEATURES, keys[Kind.FEATURES], vector)
        monitor.take(Kind.VERDICTS, keys[Kind.VERDICTS], judged)

    def step(self) -> None:
        """Learn what is ripe, say what is new, keep it now and then; whenever the main thread turns."""
        due = self._clock.mono_s() >= self._next_keep_s
        if due:
            self._next_keep_s = self._clock.mono_s() + KEEP_EVERY_S
        for name, watched in list(self._watched.items()):
            learned, finding = watched.monitor.learn(), watched.monitor.finding
            if learned:
                log.info("camera=%s drift=learned charts=%d", name, len(watched.monitor.charts))
            news = finding != watched.told
            if news:
                watched.told = finding
                self._tell(name, finding)
            if learned or news or due:
                self._keep(watched)

    def close(self) -> None:
        """Keep where the charts are."""
        for watched in self._watched.values():
            self._keep(watched)

    def _keep(self, watched: _Watched) -> None:
        known = {kind: stream.known for kind, stream in watched.monitor.streams.items() if stream.known is not None}
        if known:
            self._files.save(watched.name, Kept(known=known, finding=watched.monitor.finding))

    def _tell(self, name: str, finding: Finding | None) -> None:
        for cause in Cause:
            if finding is None or cause is not finding.cause:
                text = "it is as it was learned again"
                self._note(Condition(code=alarm_code(cause), subject=name, active=False, text=text))
        if finding is not None:
            self._note(Condition(code=alarm_code(finding.cause), subject=name, active=True, text=finding.text))


def _judged(inspection: Inspection) -> Judged | None:
    """What the first model said; None where it said nothing that counts."""
    found: Inspection | Found = inspection.findings[0] if inspection.findings else inspection
    if found.score is None or found.reason is HoldReason.LEARNING or inspection.latency is None:
        return None
    return Judged(label=found.label, score=float(found.score), verdict=found.verdict)
