"""GigE Vision and USB3 Vision cameras through aravis, in a process of their own."""

from __future__ import annotations

from dataclasses import asdict

from edge_agent.capture.addresses import Address
from edge_agent.capture.pixels import FORMATS
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.sources.native import NativeCamera
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity

SOFTWARE = "software"


class GenicamSource:
    """A camera `genicam:[SERIAL|IP|NAME][?trigger=...&pixel=...]`.

    Free-running it is live. With a trigger each picture is a part and waits until it is read: `trigger=software` takes
    one exposure for each read, a line of the camera takes one whenever the line says so.
    """

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self.decoding = None
        self.identity: CameraIdentity | None = None
        self.unheld: tuple[str, ...] = ()
        self._address = address
        self._terms = terms
        trigger = address.options.get("trigger")
        self._trigger = "Software" if trigger == SOFTWARE else trigger
        self.live = trigger is None
        self._camera = NativeCamera(self.description, terms, patient=trigger not in (None, SOFTWARE))

    def open(self) -> None:
        facts = self._camera.open(self._job())
        try:
            self.identity = CameraIdentity(**facts["identity"])
            self.unheld = tuple(str(line) for line in facts["unheld"])
        except (KeyError, TypeError) as error:
            raise CameraError(f"{self.description}: the camera process does not say which camera it is") from error

    def read(self) -> Picture | None:
        return self._camera.read()

    def close(self) -> None:
        self._camera.close()

    def _job(self) -> dict[str, object]:
        options = self._address.options
        return {
            "stack": "genicam",
            "target": self._address.target,
            "trigger": self._trigger,
            "activation": options.get("activation"),
            "pixel": options.get("pixel"),
            "formats": list(FORMATS),
            "width": self._address.number("width"),
            "height": self._address.number("height"),
            "packet": self._address.number("packet"),
            "chunk": self._address.flag("chunk"),
            "features": dict(pair.split("=", 1) for pair in options.get("features", "").split(",") if pair),
            "controls": asdict(self._terms.controls),
        }
