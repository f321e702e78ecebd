"""The cameras of one gateway: a worker each, one queue, and what a configured camera means to capture."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import numpy as np

from edge_agent.capture.addresses import Address, parse, with_login
from edge_agent.capture.controls import AS_IT_IS, Controls
from edge_agent.capture.intake import CameraPlan, Gate, Wiring
from edge_agent.capture.knock import knock_of
from edge_agent.capture.load import Load
from edge_agent.capture.picture import Image, prepare
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.source import Source, Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.states import CameraState
from edge_agent.capture.view import Polygon, View
from edge_agent.capture.worker import CameraStatus, CameraWorker
from edge_agent.clock import Clock
from edge_agent.config.camera import Camera
from edge_agent.config.redact import redact
from edge_agent.config.shapes import Shape
from edge_agent.processes.identities import Identities
from edge_agent.processes.picture_watch import PictureWatch
from edge_agent.records import Drop, HoldReason, Region, Trigger
from edge_agent.sync.alarms import Condition

if TYPE_CHECKING:
    from edge_agent.capture.web import Place

log = logging.getLogger(__name__)

# What the operator is told of a camera's state; a state that is not here ends both alarms.
STATE_ALARM: Mapping[CameraState, str] = {
    CameraState.STALLED: "camera-stalled",
    CameraState.WAITING: "camera-lost",
}
NO_NEWS = (CameraState.OPENING,)  # between two attempts: nothing is better or worse than before
# A folder that is through gave all it had: what was said of its parts stands.
UP = (CameraState.STREAMING, CameraState.ENDED)
NO_PIPELINES: Mapping[str, str] = {}
JOIN_S = 1.0  # a read that hangs in a driver is left behind


def plan_of(name: str, camera: Camera) -> CameraPlan:
    """How capture runs this camera.

    Raises:
        ConfigError: the address cannot be read.
    """
    address = parse(camera.source)
    return CameraPlan(
        name=name,
        fps=camera.fps,
        every_nth=camera.every_nth,
        load=Load(camera.load),
        view=view_of(camera),
        stall_s=camera.stall_s,
        # Opening, then a key frame, then the first picture.
        first_frame_s=camera.open_timeout_s + camera.read_timeout_s + camera.stall_s,
        capacity=camera.queue,
        verdict_within_s=None if camera.verdict_within_ms is None else camera.verdict_within_ms / 1e3,
        arrives=address.scheme == "folder" and address.flag("watch"),
    )


def view_of(camera: Camera) -> View:
    """The part of the picture that is judged."""
    return View(
        roi=_shape(camera.roi) if camera.roi is not None else None,
        mask=tuple(_corners(shape) for shape in camera.mask),
        rotation=camera.rotation,
    )


def _shape(shape: Shape) -> Region | Polygon:
    first = shape[0]
    if isinstance(first, tuple):
        return tuple(point for point in shape if isinstance(point, tuple))
    x, y, width, height = (side for side in shape if not isinstance(side, tuple))
    return Region(x=x, y=y, width=width, height=height)


def _corners(shape: Shape) -> Polygon:
    found = _shape(shape)
    if isinstance(found, tuple):
        return found
    right, bottom = found.x + found.width, found.y + found.height
    return ((found.x, found.y), (right, found.y), (right, bottom), (found.x, bottom))


def address_of(camera: Camera) -> Address:
    """Where the camera is, with the login of the configuration where it has one.

    Raises:
        ConfigError: the address cannot be read.
    """
    address = parse(camera.source)
    if camera.username is None:
        return address
    password = camera.password.get_secret_value() if camera.password is not None else ""
    return with_login(address, camera.username, password)


def source_maker(
    camera: Camera, clock: Clock, pipelines: Mapping[str, str] = NO_PIPELINES
) -> Callable[[threading.Event], Source]:
    """What makes this camera's source for each attempt to open it. `pipelines` are those of the device profile.

    Raises:
        ConfigError: the address cannot be read.
    """
    address = address_of(camera)
    service = onvif_of(camera, address)

    def make(stop: threading.Event) -> Source:
        terms = Terms(
            clock=clock,
            stop=stop,
            open_timeout_s=camera.open_timeout_s,
            read_timeout_s=camera.read_timeout_s,
            tls_verify=camera.tls_verify,
            controls=_controls(camera),
            pipelines=pipelines,
            decode=camera.decode,
        )
        source = make_source(address, terms)
        return source if service is None else _identified(source, service, clock)

    return make


def _identified(source: Source, service: Place, clock: Clock) -> Source:
    # HTTP and XML take some MiB, which only a gateway with such a camera pays.
    from edge_agent.capture.onvif.device import ask_identity  # noqa: PLC0415 - see above
    from edge_agent.capture.sources.identified import IdentifiedSource  # noqa: PLC0415

    return IdentifiedSource(source, lambda: ask_identity(service, clock), clock)


def onvif_of(camera: Camera, address: Address) -> Place | None:
    """Where to ask which camera it is, with the login of its stream; None where the configuration names no place."""
    if camera.onvif is None:
        return None
    from edge_agent.capture.web import place_of  # noqa: PLC0415 - as `_identified`

    # A pipeline is no URL, and has no login of its own.
    login = urlsplit("" if address.scheme == "gstreamer" else address.target)
    return dataclasses.replace(
        place_of(camera.onvif, tls_verify=camera.tls_verify),
        username=None if login.username is None else unquote(login.username),
        password=unquote(login.password or ""),
    )


def _controls(camera: Camera) -> Controls:
    return AS_IT_IS if camera.controls is None else Controls(**camera.controls.model_dump())


class CameraCrew:
    """Starts, stops and replaces the workers; turns their states into alarms. Used by the main thread.

    `drop` and `note` hear of dropped frames and of conditions, from camera threads. `input_px` says which size of
    picture a camera's model takes now, None while it has none. `identities` hears which camera answers, `on_up` whether
    it gives pictures. `pipelines` are those of the device profile.
    """

    def __init__(
        self,
        queue: FrameQueue,
        *,
        drop: Callable[[Drop], None],
        note: Callable[[Condition], None],
        clock: Clock,
        rng: np.random.Generator,
        pictures: PictureWatch,
        identities: Identities,
        input_px: Callable[[str], tuple[int, int] | None] = lambda _camera: None,
        on_up: Callable[[str, bool], None] = lambda _camera, _up: None,
        pipelines: Mapping[str, str] = NO_PIPELINES,
    ) -> None:
        self._pipelines = pipelines
        self._queue = queue
        self._on_up = on_up
        self._pictures = pictures
        self._identities = identities
        self._input_px = input_px
        self._drop = drop
        self._note = note
        self._clock = clock
        self._rng = rng
        self._workers: dict[str, CameraWorker] = {}

    def start(self, name: str, camera: Camera, gate: Gate | None = None) -> None:
        """Run this camera; the one of the same name that ran before is stopped first. `gate` None: it runs freely."""
        self.stop(name)
        wiring = Wiring(
            plan=plan_of(name, camera),
            make_source=source_maker(camera, self._clock, self._pipelines),
            queue=self._queue,
            on_drop=self._dropped,
            clock=self._clock,
            prepare=lambda image: self._prepared(name, image),
            gate=gate,
            examine=self._pictures.begin(name, camera, address_of(camera)),
            knock=knock_of(address_of(camera)),
            on_identity=self._identities.found,
            on_unheld=self._identities.held,
        )
        worker = CameraWorker(wiring, self._changed, self._rng)
        self._workers[name] = worker
        worker.start()

    def stop(self, name: str) -> None:
        """Stop a camera, if it runs; what it queued is still judged."""
        worker = self._workers.pop(name, None)
        if worker is not None:
            worker.stop()
            self._pictures.end(name)

    def stop_all(self) -> None:
        """Stop every camera, and drop what still waits to be judged."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            worker.halt()
        for worker in workers:
            worker.join(JOIN_S)
        for drop in self._queue.drain():
            self._drop(drop)

    def lose(self, trigger: Trigger, reason: HoldReason, why: str) -> None:
        """This trigger gets no picture: its part is a HOLD. From any thread."""
        worker = self._workers.get(trigger.camera)
        if worker is None:
            log.warning("camera=%s trigger=lost part=%s reason=%s", trigger.camera, trigger.part, why)
        else:
            worker.lose(trigger, reason, why)

    def statuses(self) -> dict[str, CameraStatus]:
        return {name: worker.status for name, worker in self._workers.items()}

    def _changed(self, status: CameraStatus) -> None:
        level = logging.WARNING if status.state in STATE_ALARM else logging.INFO
        log.log(level, "camera=%s state=%s reason=%s", status.camera, status.state.value, redact(status.reason))
        if status.state in NO_NEWS:
            return
        self._on_up(status.camera, status.state in UP)
        raised = STATE_ALARM.get(status.state)
        for code in STATE_ALARM.values():
            text = redact(status.reason) if code == raised else status.state.value
            self._note(Condition(code=code, subject=status.camera, active=code == raised, text=text))

    def _prepared(self, name: str, image: Image) -> Image | None:
        size = self._input_px(name)
        return None if size is None else prepare(image, size)

    def _dropped(self, drop: Drop, reason: str) -> None:
        log.debug("camera=%s sequence=%d dropped=%s reason=%s", drop.camera, drop.sequence, drop.reason.value, reason)
        self._drop(drop)
