"""Which camera stands at each name: remembered over restarts, so that an exchanged one is noticed whenever it was.

    found --compare with the accepted one--> first: accepted | same | exchanged: alarm, parts go on being judged
    alarm acknowledged --> the one that the alarm named is accepted

An exchanged camera may look elsewhere, or otherwise: a model that was right for the old one need not be for it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from edge_agent.errors import TransientError
from edge_agent.records import CameraIdentity
from edge_agent.storage import replace_file
from edge_agent.sync.alarms import Condition

log = logging.getLogger(__name__)

EXCHANGED, UNHELD = "camera-exchanged", "camera-controls"
TELLING = ("vendor", "model", "serial")  # a new firmware does not make another camera


class Standing(enum.Enum):
    """What an identity is, held against the accepted one."""

    UNKNOWN = enum.auto()  # it says nothing that could be compared
    FIRST = enum.auto()
    SAME = enum.auto()
    EXCHANGED = enum.auto()


def compare(accepted: CameraIdentity | None, found: CameraIdentity | None) -> Standing:
    """Another camera is one that contradicts the accepted one; what only one of them says decides nothing."""
    if found is None or not any(getattr(found, name) for name in TELLING):
        return Standing.UNKNOWN
    if accepted is None:
        return Standing.FIRST
    pairs = ((getattr(accepted, name), getattr(found, name)) for name in TELLING)
    return Standing.EXCHANGED if any(a and b and a != b for a, b in pairs) else Standing.SAME


def describe(identity: CameraIdentity) -> str:
    """For people: `Acme Eye 4, serial A1, firmware 1.3.0`."""
    name = " ".join(word for word in (identity.vendor, identity.model) if word)
    serial = f"serial {identity.serial}" if identity.serial else "no serial number"
    firmware = f"firmware {identity.firmware}" if identity.firmware else ""
    # Whatever a camera says ends up in logs and on terminals.
    return "".join(letter for letter in ", ".join(filter(None, (name, serial, firmware))) if letter.isprintable())


class Identities:
    """Hears of identities and locks from camera threads, and of acknowledgements from the main thread."""

    def __init__(self, file: Path, note: Callable[[Condition], None]) -> None:
        self._file = file
        self._note = note
        self._lock = threading.RLock()
        self._accepted = _read(file)
        self._last: dict[str, CameraIdentity] = {}  # who answered last at each name
        self._silent: set[str] = set()  # names where nobody says who answers now
        self._told: dict[str, CameraIdentity] = {}  # whom the active alarm names
        self._unheld: dict[str, tuple[str, ...]] = {}
        self._news = False

    def found(self, camera: str, identity: CameraIdentity | None) -> None:
        """This camera answered at this name; None: it does not say, or not yet."""
        with self._lock:
            if identity is None:
                self._silent.add(camera)
                return
            self._silent.discard(camera)
            self._news = self._news or self._last.get(camera) != identity
            self._last[camera] = identity
            log.info("camera=%s device=%s", camera, describe(identity))
            self._judge(camera, identity)

    def held(self, camera: str, unheld: tuple[str, ...]) -> None:
        """These locks of a camera that came up do not hold."""
        with self._lock:
            self._unheld[camera] = unheld
            text = "; ".join(unheld) or "every lock holds"
            self._note(Condition(code=UNHELD, subject=camera, active=bool(unheld), text=text))

    def accept(self, camera: str) -> None:
        """A person has seen the alarm: the camera that it named is the right one. Durable when this returns.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: nothing was accepted.
        """
        with self._lock:
            told = self._told.get(camera)
            if told is not None:
                self._keep({**self._accepted, camera: told})
                del self._told[camera]

    def look_again(self, camera: str) -> None:
        """After the alarm has ended: a third camera may stand there by now."""
        with self._lock:
            identity = self.of(camera)
            if identity is not None:
                self._judge(camera, identity)

    def settle(self, cameras: Collection[str]) -> None:
        """Forget cameras that the configuration no longer has: their names are free."""
        with self._lock:
            for name in self._unheld.keys() - set(cameras):
                self.held(name, ())
            kept = [{n: v for n, v in book.items() if n in cameras} for book in (self._last, self._told)]
            self._last, self._told = kept
            self._silent &= set(cameras)
            self._unheld = {name: lines for name, lines in self._unheld.items() if name in cameras}
            accepted = {name: identity for name, identity in self._accepted.items() if name in cameras}
            if accepted != self._accepted:
                self._try_keep(accepted)

    def of(self, camera: str) -> CameraIdentity | None:
        """The camera that answers now, None where it does not say."""
        with self._lock:
            return None if camera in self._silent else self._last.get(camera)

    def unheld(self, camera: str) -> tuple[str, ...]:
        """Its locks that do not hold."""
        with self._lock:
            return self._unheld.get(camera, ())

    def take_news(self) -> bool:
        """Whether an identity changed since this was last asked."""
        with self._lock:
            news, self._news = self._news, False
            return news

    def _judge(self, camera: str, identity: CameraIdentity) -> None:
        accepted = self._accepted.get(camera)
        standing = compare(accepted, identity)
        if standing is Standing.EXCHANGED and accepted is not None:
            self._told.setdefault(camera, identity)
            text = f"{describe(identity)} answers where {describe(accepted)} was; acknowledge this to accept it"
            self._note(Condition(code=EXCHANGED, subject=camera, active=True, text=text))
        elif standing in (Standing.FIRST, Standing.SAME):
            self._told.pop(camera, None)
            self._note(Condition(code=EXCHANGED, subject=camera, active=False, text=f"{describe(identity)} answers"))
            known = _completed(identity, accepted)
            if known != accepted:
                self._try_keep({**self._accepted, camera: known})

    def _try_keep(self, accepted: dict[str, CameraIdentity]) -> None:
        try:
            self._keep(accepted)
        except TransientError as error:
            # Known until the process ends; after that the camera is compared with what is on disk.
            self._accepted = accepted
            log.warning("identities=unsaved file=%s reason=%s", self._file, error)

    def _keep(self, accepted: dict[str, CameraIdentity]) -> None:
        plain = {name: dataclasses.asdict(identity) for name, identity in sorted(accepted.items())}
        replace_file(self._file, json.dumps({"cameras": plain}).encode())
        self._accepted = accepted


def _completed(found: CameraIdentity, before: CameraIdentity | None) -> CameraIdentity:
    """What is said now, and what only was said before: a camera that is silent on a point has not changed it."""
    if before is None:
        return found
    said = {name: value for name, value in dataclasses.asdict(found).items() if value is not None}
    return dataclasses.replace(before, **said)


def _read(file: Path) -> dict[str, CameraIdentity]:
    """The accepted cameras; none where the file is missing or damaged, which the log says."""
    try:
        value: Any = json.loads(file.read_bytes())
        return {str(name): _identity(plain) for name, plain in value["cameras"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("identities=ignored file=%s reason=%s", file, error)
        return {}


def _identity(plain: dict[str, Any]) -> CameraIdentity:
    if not all(value is None or isinstance(value, str) for value in plain.values()):
        raise ValueError("an identity is text")
    return CameraIdentity(**plain)
