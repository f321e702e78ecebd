"""The cameras of one gateway: a worker each, one queue, and what a configured camera means to capture."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np

from edge_agent.capture.addresses import parse
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.source import Source, Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.states import CameraState
from edge_agent.capture.view import View
from edge_agent.capture.worker import CameraPlan, CameraStatus, CameraWorker
from edge_agent.clock import Clock
from edge_agent.config.sections import Camera
from edge_agent.records import Drop, Region
from edge_agent.sync.alarms import Condition

# What the operator is told of a camera's state; a state that is not here ends both alarms.
STATE_ALARM: Mapping[CameraState, str] = {
    CameraState.STALLED: "camera-stalled",
    CameraState.WAITING: "camera-lost",
}
NO_NEWS = (CameraState.OPENING,)  # between two attempts: nothing is better or worse than before


def plan_of(name: str, camera: Camera) -> CameraPlan:
    """How capture runs this camera."""
    return CameraPlan(
        name=name,
        fps=camera.fps,
        view=view_of(camera),
        stall_s=camera.stall_s,
        first_frame_s=camera.stall_s + camera.open_timeout_s,
        capacity=camera.queue,
    )


def view_of(camera: Camera) -> View:
    """The part of the picture that is judged."""
    return View(
        roi=_shape(camera.roi) if camera.roi is not None else None,
        mask=tuple(_corners(shape) for shape in camera.mask),
        rotation=camera.rotation,
    )


def _shape(shape: tuple[float, ...] | tuple[tuple[float, float], ...]) -> Region | tuple[tuple[float, float], ...]:
    if isinstance(shape[0], tuple):
        return tuple((float(x), float(y)) for x, y in shape)  # type: ignore[misc]  # a polygon's corners are pairs
    x, y, width, height = (float(side) for side in shape)  # type: ignore[arg-type]  # a rectangle's sides are numbers
    return Region(x=x, y=y, width=width, height=height)


def _corners(shape: tuple[float, ...] | tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    found = _shape(shape)
    if isinstance(found, tuple):
        return found
    right, bottom = found.x + found.width, found.y + found.height
    return ((found.x, found.y), (right, found.y), (right, bottom), (found.x, bottom))


def address_of(camera: Camera) -> str:
    """The camera's source, with the user and password of the configuration where it has them."""
    if camera.username is None:
        return camera.source
    parts = urlsplit(camera.source)
    password = camera.password.get_secret_value() if camera.password is not None else ""
    user = f"{quote(camera.username, safe='')}:{quote(password, safe='')}@"
    return urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2]))


def source_maker(camera: Camera, clock: Clock) -> Callable[[threading.Event], Source]:
    """What makes this camera's source for each attempt to open it.

    Raises:
        ConfigError: the address cannot be read.
    """
    address = parse(address_of(camera))

    def make(stop: threading.Event) -> Source:
        return make_source(
            address,
            Terms(
                clock=clock,
                stop=stop,
                open_timeout_s=camera.open_timeout_s,
                read_timeout_s=camera.read_timeout_s,
            ),
        )

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewListeners:
    """Who hears of dropped frames and of conditions."""

    drop: Callable[[Drop], None]
    note: Callable[[Condition], None]


class CameraCrew:
    """Starts, stops and replaces the workers; turns their states into alarms. Main thread only, but for the listener."""

    def __init__(self, queue: FrameQueue, listeners: CrewListeners, clock: Clock, rng: np.random.Generator) -> None:
        self._queue = queue
        self._listeners = listeners
        self._clock = clock
        self._rng = rng
        self._workers: dict[str, CameraWorker] = {}

    def start(self, name: str, camera: Camera) -> None:
        """Run this camera; the one of the same name that ran before is stopped first."""
        self.stop(name)
        worker = CameraWorker(
            plan_of(name, camera), source_maker(camera, self._clock), self._queue, self, self._clock, self._rng
        )
        self._workers[name] = worker
        worker.start()

    def stop(self, name: str) -> None:
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.stop()

    def stop_all(self) -> None:
        """Stop every camera, and drop what still waits to be judged."""
        for name in list(self._workers):
            self.stop(name)
        for drop in self._queue.drain():
            self._listeners.drop(drop)

    def statuses(self) -> dict[str, CameraStatus]:
        return {name: worker.status for name, worker in self._workers.items()}

    # The listener of the workers: called from camera threads.

    def changed(self, status: CameraStatus) -> None:
        if status.state in NO_NEWS:
            return
        raised = STATE_ALARM.get(status.state)
        for code in STATE_ALARM.values():
            text = status.reason if code == raised else f"{status.state.value}"
            self._listeners.note(Condition(code=code, subject=status.camera, active=code == raised, text=text))

    def dropped(self, drop: Drop, reason: str) -> None:
        del reason  # the drop carries its reason for the line; the text is in capture's own log
        self._listeners.drop(drop)
