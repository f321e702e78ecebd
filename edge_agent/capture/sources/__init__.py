"""One table from the scheme of an address to the source that serves it.

A new kind of camera is a file here, a line in this table, and a line in `addresses.SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.capture.addresses import Address
from edge_agent.capture.source import Source, Terms
from edge_agent.capture.sources.folder import FolderSource
from edge_agent.capture.sources.genicam import GenicamSource
from edge_agent.capture.sources.gstreamer import GstreamerSource, csi
from edge_agent.capture.sources.mjpeg import MjpegSource
from edge_agent.capture.sources.stream import stream
from edge_agent.capture.sources.synthetic import SyntheticSource
from edge_agent.capture.sources.v4l2 import V4l2Source
from edge_agent.capture.sources.video import VideoSource

Opener = Callable[[Address, Terms], Source]

OPENERS: Mapping[str, Opener] = {
    "rtsp": stream,
    "rtsps": stream,
    "http": MjpegSource,
    "https": MjpegSource,
    "v4l2": V4l2Source,
    "gstreamer": GstreamerSource,
    "csi": csi,
    "genicam": GenicamSource,
    "folder": FolderSource,
    "video": VideoSource,
    "synthetic": SyntheticSource,
}


def make_source(address: Address, terms: Terms) -> Source:
    """The source of an address; nothing is opened yet."""
    return OPENERS[address.scheme](address, terms)
