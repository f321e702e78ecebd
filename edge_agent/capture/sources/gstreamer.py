"""Any GStreamer pipeline, and CSI cameras through the pipeline that the device profile has for them."""

from __future__ import annotations

from edge_agent.capture import argus
from edge_agent.capture.addresses import Address
from edge_agent.capture.launch import complete, fill
from edge_agent.capture.source import Picture, Source, Terms
from edge_agent.capture.sources.native import NativeCamera
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity

DEFAULT_WIDTH, DEFAULT_HEIGHT, DEFAULT_FPS = 1920, 1080, 30
MOST_DESCRIPTION = 120
ARGUS = "nvarguscamerasrc"


class GstreamerSource:
    """A pipeline `gstreamer:PIPELINE`, played in a process of its own."""

    live = True
    identity: CameraIdentity | None = None
    decoding: str | None = None

    def __init__(
        self, address: Address, terms: Terms, pipeline: str | None = None, unheld: tuple[str, ...] = ()
    ) -> None:
        self.description = _shortened(str(address))
        self.unheld = unheld
        self._job = {"stack": "gstreamer", "pipeline": complete(pipeline or address.target)}
        self._camera = NativeCamera(self.description, terms)

    def open(self) -> None:
        self._camera.open(self._job)

    def read(self) -> Picture | None:
        return self._camera.read()

    def close(self) -> None:
        self._camera.close()


def csi(address: Address, terms: Terms) -> Source:
    """A camera `csi:SENSOR[?width=W&height=H&fps=N]` on the board's own connector."""
    template = terms.pipelines.get("csi")
    if template is None:
        return _Refusal(address, "the device profile has no pipeline `csi`: this board has no CSI camera that we know")
    values = {
        "sensor": int(address.target),
        "width": address.number("width") or DEFAULT_WIDTH,
        "height": address.number("height") or DEFAULT_HEIGHT,
        "fps": address.number("fps") or DEFAULT_FPS,
    }
    locks = argus.properties(terms.controls)
    if locks and ARGUS not in template:
        unheld = (f"{locks}: the pipeline of this board has no {ARGUS} to lock",)
        return GstreamerSource(address, terms, fill(template, values), unheld)
    return GstreamerSource(address, terms, fill(template.replace(ARGUS, f"{ARGUS} {locks}".strip(), 1), values))


def _shortened(text: str) -> str:
    """It begins every message of the camera."""
    return text if len(text) <= MOST_DESCRIPTION else text[: MOST_DESCRIPTION - 3] + "..."


class _Refusal:
    """Stands where a source cannot be made on this machine: says so whenever it is opened."""

    live = True
    identity = None
    decoding = None
    unheld = ()

    def __init__(self, address: Address, why: str) -> None:
        self.description = str(address)
        self._why = why

    def open(self) -> None:
        raise CameraError(f"{self.description}: {self._why}")

    def read(self) -> Picture | None:
        raise CameraError(f"{self.description}: is not open")

    def close(self) -> None:
        pass
