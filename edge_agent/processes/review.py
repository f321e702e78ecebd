"""The review process: the page on the plant's own LAN. Reads evidence, writes labels, and has no way to anything else.

    evidence.db, pictures <--> review <-- browsers of the plant
    inspect.json ---------------^         what the cameras do now

This is its composition root: everything is built here and handed in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edge_agent.clock import Clock
from edge_agent.config.review import Review, split_address
from edge_agent.device.notify import Notifier
from edge_agent.errors import EXIT_OK, ConfigError, TransientError
from edge_agent.processes.boot import boot
from edge_agent.processes.learn_request import asking
from edge_agent.processes.live import FRAMES_FOLDER, CameraLive, fresh_inspect, is_fresh_file, watch_file
from edge_agent.review.desk import Desk
from edge_agent.review.office import CameraNow, Floor, Office
from edge_agent.review.people import People
from edge_agent.review.server import Certificate, Server, check_certificate, listen
from edge_agent.review.sessions import Lifetime, Sessions
from edge_agent.review.site import site
from edge_agent.review.throttle import Throttle
from edge_agent.storage import lock_file, replace_file

log = logging.getLogger(__name__)

LOCK_FILE, INSPECT_FILE, EVIDENCE = "review.lock", "inspect.json", "evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wished:
    """What the command line says in place of the configuration; None leaves it as it is."""

    listen: str | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def applied(self, keys: Review) -> Review:
        """The keys with these in place.

        Raises:
            ConfigError: one of them cannot be.
        """
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        try:
            return Review.model_validate({**dict(keys), **given})
        except ValidationError as error:
            faults = "; ".join(f"review.{fault['loc'][0]}: expected {fault['msg']}" for fault in error.errors())
            raise ConfigError(faults) from error


def main(config_file: Path, wished: Wished | None = None) -> int:
    """Serve the page as this configuration says, until SIGTERM.

    Raises:
        ConfigError, AlreadyRunningError: a person has to act first.
        TransientError: the state directory cannot be used now, or something else listens there.
    """
    started = boot("review", config_file, secrets_of=())
    notifier = Notifier.from_environment(os.environ, started.clock)
    storage = started.settings.storage
    keys = (wished or Wished()).applied(started.settings.review)
    code = run(
        keys, state_dir=storage.state_dir, runtime_dir=storage.runtime_dir, clock=started.clock, notifier=notifier
    )
    notifier.stopping()
    return code


def run(keys: Review, *, state_dir: Path, runtime_dir: Path, clock: Clock, notifier: Notifier) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        As `main`.
    """
    certificate = _certificate(keys)
    address, port = split_address(keys.listen)
    with (
        lock_file(state_dir / LOCK_FILE, "review process"),
        listen(address, port) as at,
        contextlib.closing(Desk(state_dir / EVIDENCE, clock, asking(state_dir))) as desk,
    ):
        lifetime = Lifetime(session_s=keys.session_hours * 3600, idle_s=keys.idle_minutes * 60)
        office = Office(
            desk=desk,
            people=People(state_dir),
            sessions=Sessions(lifetime, clock),
            throttle=Throttle(clock),
            floor=_floor(runtime_dir, clock),
            clock=clock,
            secure=certificate is not None,
        )
        where = _where(keys, at)

        def ready() -> None:
            log.info("page=%s people=%d", where, len(office.people.all()))
            notifier.ready(where)

        _warn(keys, office)
        server = Server(site(office, (*keys.hosts, *_own_names())), certificate, ready=ready)
        server.run(at, every_s=notifier.watchdog_interval_s, alive=notifier.watchdog)
    return EXIT_OK


def _certificate(keys: Review) -> Certificate | None:
    if keys.cert_file is None or keys.key_file is None:
        return None
    certificate = Certificate(cert_file=keys.cert_file, key_file=keys.key_file)
    check_certificate(certificate)
    return certificate


def _warn(keys: Review, office: Office) -> None:
    address, _ = split_address(keys.listen)
    if not office.secure and not ipaddress.ip_address(address).is_loopback:
        log.warning(
            "page=%s tls=no: passwords and pictures cross the network in the clear; give review.cert_file and key_file",
            keys.listen,
        )
    if not office.people.all():
        log.warning("people=0: nobody can log in yet; edge-agent review user add NAME")


def _where(keys: Review, at: socket.socket) -> str:
    address, _ = split_address(keys.listen)
    shown = f"[{address}]" if ":" in address else address
    return f"{'http' if keys.cert_file is None else 'https'}://{shown}:{at.getsockname()[1]}/"


def _own_names() -> tuple[str, ...]:
    name = socket.gethostname().casefold()
    return name, f"{name}.local"


def _floor(runtime_dir: Path, clock: Clock) -> Floor:
    def cameras() -> Mapping[str, CameraNow] | None:
        live = fresh_inspect(runtime_dir / INSPECT_FILE, clock.utc_s())
        return None if live is None else {name: _now(camera) for name, camera in live.cameras.items()}

    def picture(camera: str) -> bytes | None:
        path = runtime_dir / FRAMES_FOLDER / f"{camera}.jpg"
        if not is_fresh_file(path, clock.utc_s()):
            return None
        try:
            return path.read_bytes()
        except OSError:
            return None

    def watched() -> None:
        try:
            replace_file(watch_file(runtime_dir), b"", durable=False)
        except TransientError as error:
            log.warning("watching=unsaid reason=%s", error)

    return Floor(cameras=cameras, picture=picture, watched=watched)


def _now(camera: CameraLive) -> CameraNow:
    last = camera.recent[0] if camera.recent else None
    words = () if last is None else (last.verdict, last.label or last.reason, last.part)
    return CameraNow(
        state="paused" if camera.paused else camera.state,
        fps=camera.fps,
        passed=camera.passed,
        failed=camera.failed,
        held=camera.held,
        yield_share=camera.yield_share,
        last=" ".join(word for word in words if word),
    )
