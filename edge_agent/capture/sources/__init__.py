"""One table from the scheme of an address to the source that serves it.

A new kind of camera is a file here, a line in this table, and a line in `addresses.SCHEMES`. A kind is loaded when
there is a camera of it: what HTTP, TLS, drivers and camera processes need takes some MiB that others should not pay.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

from edge_agent.capture.addresses import Address
from edge_agent.capture.source import Source, Terms

Opener = Callable[[Address, Terms], Source]

# Scheme -> module here, and what in it makes the source.
OPENERS: Mapping[str, tuple[str, str]] = {
    "rtsp": ("stream", "stream"),
    "rtsps": ("stream", "stream"),
    "http": ("mjpeg", "MjpegSource"),
    "https": ("mjpeg", "MjpegSource"),
    "v4l2": ("v4l2", "V4l2Source"),
    "gstreamer": ("gstreamer", "GstreamerSource"),
    "csi": ("gstreamer", "csi"),
    "genicam": ("genicam", "GenicamSource"),
    "folder": ("folder", "FolderSource"),
    "video": ("video", "VideoSource"),
    "synthetic": ("synthetic", "SyntheticSource"),
}


def opener(scheme: str) -> Opener:
    """What makes the sources of this scheme."""
    module, name = OPENERS[scheme]
    found: Opener = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found


def make_source(address: Address, terms: Terms) -> Source:
    """The source of an address; nothing is opened yet."""
    return opener(address.scheme)(address, terms)
