"""RTSP cameras, decoded by the board's own decoder where it has one that works, else by FFmpeg.

open --profile has a pipeline, element is installed--> camera process (GStreamer)
  `---- not here, or the decoder fails (decode: auto) --> FFmpeg inside OpenCV, from then on
"""

from __future__ import annotations

from typing import Any

from edge_agent.capture.addresses import Address
from edge_agent.capture.bridge import StackUnavailableError
from edge_agent.capture.launch import complete, elements, fill
from edge_agent.capture.source import Picture, Source, Terms
from edge_agent.capture.sources.native import NativeCamera
from edge_agent.capture.sources.rtsp import RtspSource
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity

# Key of the profile's pipelines -> the codec's name in SDP (RFC 6184, RFC 7798).
CODECS = {"rtsp-h264": "H264", "rtsp-h265": "H265"}


def stream(address: Address, terms: Terms) -> Source:
    """A stream `rtsp://` or `rtsps://`, as `terms.decode` says."""
    jobs = _pipelines(address, terms)
    if terms.decode == "software" or (terms.decode == "auto" and not jobs):
        return RtspSource(address, terms)
    return DecodedStream(address, terms, jobs)


class DecodedStream:
    """See the module's first lines. `pipelines` by codec; none of them is a reason as good as a missing decoder."""

    live = True
    identity: CameraIdentity | None = None
    unheld: tuple[str, ...] = ()

    def __init__(self, address: Address, terms: Terms, pipelines: dict[str, str]) -> None:
        self.description = str(address)
        self.decoding: str | None = None
        self._terms = terms
        self._software = RtspSource(address, terms)
        self._hardware = NativeCamera(self.description, terms)
        self._job: dict[str, Any] = {
            "stack": "gstreamer",
            "url": address.target,
            "pipelines": pipelines,
            "elements": {codec: elements(text) for codec, text in pipelines.items()},
            "codec": None,
        }
        self._why_not: str | None = None  # hardware is out of the question since this was said

    def open(self) -> None:
        if self._why_not is None:
            try:
                self._open_hardware()
            except StackUnavailableError as error:
                self._give_up(error)
            else:
                return
        self._software.open()
        self.decoding = f"decoded in software: {self._why_not}"

    def read(self) -> Picture | None:
        if self._why_not is not None:
            return self._software.read()
        try:
            return self._hardware.read()
        except StackUnavailableError as error:
            self._give_up(error)
            raise CameraError(str(error)) from error

    def close(self) -> None:
        self._hardware.close()
        self._software.close()

    def _open_hardware(self) -> None:
        if not self._job["pipelines"]:
            known = " or ".join(CODECS)
            raise StackUnavailableError(f"{self.description}: the device profile has no pipeline {known} for it")
        facts = self._hardware.open(self._job)
        self._job["codec"] = facts.get("codec")  # need not be asked again
        self.decoding = f"decoded by hardware: {facts.get('decoder')}"

    def _give_up(self, error: StackUnavailableError) -> None:
        """From now on in software.

        Raises:
            StackUnavailableError: `decode: hardware` forbids it.
        """
        self._hardware.close()
        if self._terms.decode == "hardware":
            raise error
        self._why_not = str(error).removeprefix(f"{self.description}: ")


def _pipelines(address: Address, terms: Terms) -> dict[str, str]:
    # An rtsps:// camera has a certificate that nobody signed, which rtspsrc refuses.
    if address.scheme != "rtsp":
        return {}
    templates = {codec: terms.pipelines[kind] for kind, codec in CODECS.items() if kind in terms.pipelines}
    return {codec: complete(fill(text, {"url": address.target})) for codec, text in templates.items()}
