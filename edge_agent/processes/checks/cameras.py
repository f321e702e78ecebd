"""Cameras: each address read, each camera opened for real and asked for frames, and which one it is."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edge_agent.capture.onvif.device import ask_identity
from edge_agent.capture.source import Source
from edge_agent.capture.web import Place
from edge_agent.clock import Clock
from edge_agent.config.camera import Camera
from edge_agent.device.detect import choose, detect
from edge_agent.device.profile import profiles
from edge_agent.errors import BadPictureError, CameraError, ConfigError
from edge_agent.processes.cameras import address_of, onvif_of, source_maker
from edge_agent.processes.checks.finding import Check, Context, Finding, error, ok, warning
from edge_agent.processes.identities import describe
from edge_agent.processes.live import CameraLive, fresh_inspect
from edge_agent.records import CameraIdentity

# OpenCV's own limit for a silent V4L2 camera is 10 s; a source that does not answer by then never will.
SPARE_S = 5.0
STOP_S = 1.0
STEADY = {"v4l2": "edge-agent init lists the stable names"}
HIDDEN = "rtsp:// and http:// cameras take `username` and `password: !secret NAME`"
VIEWERS = {
    "gstreamer": "try it with gst-launch-1.0 in a terminal; docs/capture.md says what the messages mean",
    "csi": "try the profile's pipeline with gst-launch-1.0 in a terminal; docs/capture.md says what the messages mean",
    "genicam": "edge-agent init --discover lists what answers; docs/capture.md says what the messages mean",
}
OTHER_VIEWER = "try the address with another viewer (ffplay, v4l2-ctl --all)"
MOST_AT_ONCE = 16  # cameras that are asked which one they are


def addresses(context: Context) -> tuple[Finding, ...]:
    findings = []
    for name, camera in context.valid.cameras.items():
        try:
            address = address_of(camera)
        except ConfigError as fault:
            findings.append(error(str(fault), subject=name))
            continue
        if address.warning:
            findings.append(warning(address.warning, STEADY.get(address.scheme, HIDDEN), name))
        else:
            findings.append(ok(str(address), name))
    return tuple(findings)


def frames(context: Context) -> tuple[Finding, ...]:
    """Frames of every camera, all at the same time. What the running daemon reads is not opened a second time."""
    settings = context.valid
    running = fresh_inspect(settings.storage.runtime_dir / "inspect.json", context.clock.utc_s())
    trials: list[tuple[str, Camera, _Trial | Finding]] = []
    for name, camera in settings.cameras.items():
        live = running.cameras.get(name) if running else None
        if live is not None:
            trials.append((name, camera, _of_daemon(name, camera, live)))
            continue
        try:
            trials.append((name, camera, _Trial(name, camera, context)))
        except ConfigError as fault:
            trials.append((name, camera, error(str(fault), subject=name)))
    return tuple(trial if isinstance(trial, Finding) else trial.finding() for _, _, trial in trials)


def identities(context: Context) -> tuple[Finding, ...]:
    """Every camera with an ONVIF service is asked which one it is; others say it with their frames."""
    places = []
    for name, camera in context.valid.cameras.items():
        with contextlib.suppress(ConfigError):  # `addresses` says it
            place = onvif_of(camera, address_of(camera))
            places += [(name, place)] if place is not None else []

    def ask(name: str, place: Place) -> Finding:
        try:
            return ok(describe(ask_identity(place, context.clock)), name)
        except CameraError as fault:
            advice = "the camera runs without it, but an exchanged one is not noticed; check `onvif` and its user"
            return warning(f"{context.valid.cameras[name].onvif}: {fault}", advice, name)

    with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
        return tuple(pool.map(lambda place: ask(*place), places))


def _pipelines(context: Context) -> Mapping[str, str]:
    """Those of this machine's profile."""
    device = detect(context.root, context.machine)
    return choose(device, profiles(), context.valid.device.profile).profile.capture.pipelines


def _of_daemon(name: str, camera: Camera, live: CameraLive) -> Finding:
    if live.frame_age_s is not None and live.frame_age_s <= camera.stall_s:
        text = f"read by the running daemon: {live.fps:.1f} frames/s"
        text += f", {live.reason}" if "decoded" in live.reason else ""
        return _locked_or_not(name, text, live.device, live.unheld)
    return error(f"the running daemon gets no frames: {live.state}, {live.reason}", "edge-agent status shows it", name)


def _locked_or_not(name: str, text: str, device: CameraIdentity | None, unheld: tuple[str, ...]) -> Finding:
    """A camera that gives frames: which one it is, and whether what is to be locked is."""
    text += f"; {describe(device)}" if device is not None else ""
    if not unheld:
        return ok(text, name)
    advice = "compare `controls` with what the camera has; its parts are judged all the same"
    return warning(f"{text}; not locked: {'; '.join(unheld)}", advice, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    count: int
    height: int
    width: int
    seconds: float
    device: CameraIdentity | None
    unheld: tuple[str, ...]
    decoding: str | None


class _Trial:
    """One camera being tried in a thread of its own: a blocking read must not hold up the others."""

    def __init__(self, name: str, camera: Camera, context: Context) -> None:
        self._name, self._camera, self._wanted = name, camera, context.frames
        self._stop = threading.Event()
        self._answer: queue.SimpleQueue[_Seen | CameraError | BadPictureError] = queue.SimpleQueue()
        # Which one it is, `identities` asks.
        make = source_maker(camera.model_copy(update={"onvif": None}), context.clock, _pipelines(context))
        self._source = make(self._stop)
        arguments = (self._source, self._wanted, context.clock)
        threading.Thread(target=self._try, args=arguments, name=f"try-{name}", daemon=True).start()

    def finding(self) -> Finding:
        """Wait for the camera as long as its own time-outs allow."""
        limit_s = self._camera.open_timeout_s + self._wanted * self._camera.read_timeout_s + SPARE_S
        with contextlib.suppress(queue.Empty):
            return self._finding(self._answer.get(timeout=limit_s))
        self._stop.set()
        with contextlib.suppress(queue.Empty):  # what waits for a file or for its trigger ends its read
            return self._finding(self._answer.get(timeout=STOP_S))
        return error(f"no answer within {limit_s:.0f} s", "is another program using it?", self._name)

    def _finding(self, answer: _Seen | CameraError | BadPictureError) -> Finding:
        self._stop.set()
        if isinstance(answer, (CameraError, BadPictureError)):
            return error(str(answer), VIEWERS.get(address_of(self._camera).scheme, OTHER_VIEWER), self._name)
        if answer.count == 0:
            advice = "put one picture there, or trigger it once; or look at the path"
            return warning("opens, and gives no picture yet", advice, self._name)
        text = f"{answer.width}x{answer.height}, {answer.count} frames in {answer.seconds:.2f} s"
        text += f", {answer.decoding}" if answer.decoding else ""
        return _locked_or_not(self._name, text, answer.device, answer.unheld)

    def _try(self, source: Source, wanted: int, clock: Clock) -> None:
        begun_s = clock.mono_s()
        height = width = count = 0
        try:
            source.open()
            while count < wanted and (picture := source.read()) is not None:
                height, width = picture.image.shape[:2]
                count += 1
            seen = _Seen(
                count=count,
                height=height,
                width=width,
                seconds=clock.mono_s() - begun_s,
                device=source.identity,
                unheld=source.unheld,
                decoding=source.decoding,
            )
            self._answer.put(seen)
        except (CameraError, BadPictureError) as fault:
            self._answer.put(fault)
        finally:
            source.close()


CHECKS = (
    Check(id="camera-address", group="cameras", title="address", run=addresses),
    Check(id="camera-frames", group="cameras", title="frames", run=frames),
    Check(id="camera-identity", group="cameras", title="identity", run=identities),
)
