"""What a camera is to the rest of the room: something that opens, gives pictures one by one, and closes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from edge_agent.capture.controls import AS_IT_IS, Controls
from edge_agent.capture.picture import Image
from edge_agent.clock import Clock
from edge_agent.records import CameraIdentity

DEFAULT_OPEN_TIMEOUT_S = 5.0
DEFAULT_READ_TIMEOUT_S = 2.0

Decode = Literal["auto", "software", "hardware"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture as the source gave it: uint8 [h, w, 3], BGR, owned by the receiver (the source forgets it).

    `path` is the file it came from; `part` the number a trigger gave it; `captured_mono_s` when the source knows the
    moment better than the end of `read()` does.
    """

    image: Image = field(repr=False)
    path: str | None = None
    part: str | None = None
    captured_mono_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a source is given beside its address. A read that waits for a file waits on `stop`. `controls` are set at
    each open; what of them does not hold is named in the source's `unheld`, and the camera runs all the same.
    `tls_verify` False: the certificate of an https:// camera is taken as it is. `pipelines` are GStreamer templates of
    the device profile, by kind of camera (`csi`, `rtsp-h264`); `decode` says whether streams are decoded by them.
    """

    clock: Clock
    stop: threading.Event
    open_timeout_s: float = DEFAULT_OPEN_TIMEOUT_S
    read_timeout_s: float = DEFAULT_READ_TIMEOUT_S
    controls: Controls = AS_IT_IS
    tls_verify: bool = True
    pipelines: Mapping[str, str] = field(default_factory=dict)
    decode: Decode = "auto"


class Source(Protocol):
    """A camera, stream, file or folder. Making one does nothing yet; one thread opens, reads and closes it.

    After a fault it is closed and opened again: nothing of a broken connection lives on, but a watched folder still
    knows what it has given. A source whose call hangs is left behind with its thread, and another one is made.
    """

    @property
    def live(self) -> bool:
        """True: pictures come when they come and the newest counts. False: each waits until it is read."""

    @property
    def description(self) -> str:
        """For people and logs; without credentials."""

    @property
    def identity(self) -> CameraIdentity | None:
        """Which camera answered the last `open`; None when it does not say, has not said it yet, or is none."""

    @property
    def decoding(self) -> str | None:
        """How pictures are decoded since the last `open`, where there is a choice: `decoded by hardware: x`."""

    @property
    def unheld(self) -> tuple[str, ...]:
        """What was to be locked at the last `open` and is not, a line each: `exposure_us 2000: it has 10000`."""

    def open(self) -> None:
        """Get ready to read.

        Raises:
            CameraError: not now; the reason is the message.
        """

    def read(self) -> Picture | None:
        """The next picture; None when there will be no more, or `stop` was set.

        Raises:
            CameraError: nothing more comes from here, open again.
            BadPictureError: this one cannot be decoded, the next may be.
        """

    def close(self) -> None:
        """Let go of everything; also after a failed `open`, and twice."""
