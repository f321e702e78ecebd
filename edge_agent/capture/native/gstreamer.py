"""A GStreamer pipeline that ends in an appsink: parsed, played, its newest picture handed out.

pipeline --appsink--> puller thread --newest--> next()        no callbacks into Python: libffi makes those in memory
                                                              that is written and executed, which our unit forbids
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Mapping
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstApp, GstVideo  # noqa: E402 - the versions come first

from edge_agent.capture.native.wire import CAMERA, DECODER, MISSING, REQUEST, SharedMemory, StackError  # noqa: E402

# What pixels.py of the daemon takes, the cheapest first: negotiation goes by this order.
FORMATS = ("BGR", "BGRx", "BGRA", "RGB", "RGBx", "RGBA", "GRAY8", "YUY2", "UYVY")
_PULL_NS = 200_000_000
_TROUBLE = Gst.MessageType.ERROR | Gst.MessageType.EOS
# A pipeline time further back than this is not the moment of a picture but a stream that counts from elsewhere.
_OLDEST_S = 10.0
_MOST_CAPS_CHARACTERS = 240

_library = ctypes.CDLL("libgstreamer-1.0.so.0")
_library.gst_buffer_extract.restype = ctypes.c_size_t
_library.gst_buffer_extract.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)


class PipelineStack:
    """`job`: `pipeline`; or `pipelines` by codec, the `elements` each one names, and the `url` of the stream, which is
    asked for its codec first where `codec` is None.
    """

    def __init__(self, job: Mapping[str, Any], memory: SharedMemory) -> None:
        Gst.init(None)
        self._job = job
        self._memory = memory
        self._pipeline: Any = None
        self._sink: Any = None
        self._live_clock = False
        self._stop = threading.Event()
        self._arrival = threading.Condition()
        self._newest: tuple[Any, float] | None = None  # sample, and when it arrived
        self._puller = threading.Thread(target=self._pull, daemon=True)

    def open(self) -> dict[str, Any]:
        """Play until the first picture is there."""
        codec = None
        if "pipelines" in self._job:
            codec, text = self._chosen()
        else:
            text = self._job["pipeline"]
        try:
            self._pipeline = _parse(text)
            self._sink = _appsink(self._pipeline)
        except StackError as error:
            raise StackError(str(error), error.kind if codec is None else DECODER) from error
        if self._sink.get_property("caps") is None:
            names = ",".join(FORMATS)
            self._sink.set_property("caps", Gst.Caps.from_string(f"video/x-raw,format={{{names}}}"))
        self._pipeline.set_state(Gst.State.PLAYING)
        self._puller.start()
        while not self._wait(0.1):
            if self._raise_trouble() and not self._wait(0.1):
                raise StackError("the stream ended before its first picture")
        self._live_clock = self._has_live_clock()
        return {"codec": codec, "decoder": _decoder(self._pipeline)}

    def next(self, within_s: float) -> dict[str, Any]:
        if not self._wait(within_s):
            ended = self._raise_trouble()
            return {"end": True} if ended else {"idle": True}
        with self._arrival:
            assert self._newest is not None  # noqa: S101 - only this thread takes it
            (sample, arrived_s), self._newest = self._newest, None
        return {"frame": self._hand_over(sample, arrived_s)}

    def close(self) -> None:
        self._stop.set()
        if self._pipeline is not None:
            self._pipeline.set_state(Gst.State.NULL)

    def _chosen(self) -> tuple[str, str]:
        """Codec and pipeline of a stream, of those that can be played here."""
        missing = {
            name for names in self._job["elements"].values() for name in names if not Gst.ElementFactory.find(name)
        }
        usable = {
            codec: text
            for codec, text in self._job["pipelines"].items()
            if not missing.intersection(self._job["elements"][codec])
        }
        if not usable:
            raise StackError(f"{', '.join(sorted(missing))} not installed", MISSING)
        codec = self._job["codec"] or self._asked_codec()
        if codec not in usable:
            raise StackError(
                f"the stream is {codec}, which is decoded by {' and '.join(usable)} pipelines only", MISSING
            )
        return codec, usable[codec]

    def _asked_codec(self) -> str:
        """What the camera's SDP says the video is: the first packet tells."""
        self._pipeline = _parse(
            "rtspsrc name=stream protocols=tcp latency=0 ! application/x-rtp,media=video"
            " ! appsink drop=true max-buffers=1 sync=false"
        )
        self._pipeline.get_by_name("stream").set_property("location", self._job["url"])
        sink = _appsink(self._pipeline)
        self._pipeline.set_state(Gst.State.PLAYING)
        sample = sink.try_pull_sample(_PULL_NS)
        while sample is None:
            if self._raise_trouble():
                raise StackError("the stream ended before it began")
            sample = sink.try_pull_sample(_PULL_NS)
        self._pipeline.set_state(Gst.State.NULL)
        return str(sample.get_caps().get_structure(0).get_string("encoding-name"))

    def _pull(self) -> None:
        while not self._stop.is_set():
            sample = self._sink.try_pull_sample(_PULL_NS)
            if sample is not None:
                with self._arrival:
                    self._newest = (sample, time.monotonic())
                    self._arrival.notify()
            elif self._sink.is_eos():
                return

    def _wait(self, within_s: float) -> bool:
        with self._arrival:
            return self._arrival.wait_for(lambda: self._newest is not None, within_s)

    def _raise_trouble(self) -> bool:
        """Whether the stream ended. Raises StackError when an element failed."""
        message = self._pipeline.get_bus().pop_filtered(_TROUBLE)
        if message is None:
            return False
        if message.type == Gst.MessageType.EOS:
            return True
        raise self._explained(message)

    def _explained(self, message: Any) -> StackError:
        error, debug = message.parse_error()
        element = message.src
        factory = element.get_factory() if isinstance(element, Gst.Element) else None
        name = factory.get_name() if factory is not None else message.src.get_name()
        words = f"{name}: {error.message}"
        if "not-negotiated" in (debug or ""):
            words = f"{name}: the formats of two elements do not fit{self._offer()}"
        elif debug:
            words += f" ({debug.strip().splitlines()[-1]})"
        return StackError(words, self._blame(factory, "not-negotiated" in (debug or "")))

    def _blame(self, factory: Any, misfit: bool) -> str:
        """Of a pipeline that the profile chose for a stream everything but its source is "the decoder"."""
        from_camera = factory is not None and "Source" in (factory.get_metadata("klass") or "")
        return DECODER if "pipelines" in self._job and (misfit or not from_camera) else CAMERA

    def _offer(self) -> str:
        """What arrives before the appsink, and what it takes."""
        peer = self._sink.get_static_pad("sink").get_peer() if self._sink is not None else None
        if peer is None:
            return ""
        offered = peer.query_caps(None).to_string()[:_MOST_CAPS_CHARACTERS]
        return (
            f": before the appsink comes {offered}, expected video/x-raw in one of {', '.join(FORMATS)}; "
            "put `! videoconvert ! video/x-raw,format=BGR` there"
        )

    def _has_live_clock(self) -> bool:
        """Whether pipeline times are CLOCK_MONOTONIC moments: a live pipeline on the system's clock."""
        clock = self._pipeline.get_clock()
        if not isinstance(clock, Gst.SystemClock) or clock.get_property("clock-type") != Gst.ClockType.MONOTONIC:
            return False
        query = Gst.Query.new_latency()
        return bool(self._pipeline.query(query)) and bool(query.parse_latency()[0])

    def _hand_over(self, sample: Any, arrived_s: float) -> dict[str, Any]:
        buffer = sample.get_buffer()
        caps = sample.get_caps()
        info = _video_info(caps)
        if info is None:
            raise StackError(
                f"the appsink gets {caps.to_string()[:_MOST_CAPS_CHARACTERS]}, expected video/x-raw", REQUEST
            )
        meta = GstVideo.buffer_get_video_meta(buffer)
        size = buffer.get_size()
        address = self._memory.slots(1, size)
        # PyGObject gives the address of a boxed value as its hash, which NVIDIA's DeepStream bindings rely on too. One
        # copy, 0.3 ms for 1080p; through `map` there are two and 2.4 ms, through `extract_dup` 3.7 ms.
        copied = _library.gst_buffer_extract(hash(buffer), 0, address, size)
        if copied != size:
            raise StackError(f"only {copied} of {size} bytes of a picture could be read")
        return {
            "format": info.finfo.name,
            "width": info.width,
            "height": info.height,
            "stride": meta.stride[0] if meta is not None else info.stride[0],
            "offset": 0,
            "size": size,
            "captured_s": self._moment(sample, buffer, arrived_s),
        }

    def _moment(self, sample: Any, buffer: Any, arrived_s: float) -> float:
        """When the picture was taken, by CLOCK_MONOTONIC; when it arrived, where the pipeline does not say."""
        if not self._live_clock or buffer.pts == Gst.CLOCK_TIME_NONE:
            return arrived_s
        running = sample.get_segment().to_running_time(Gst.Format.TIME, buffer.pts)
        if running == Gst.CLOCK_TIME_NONE:
            return arrived_s
        moment_s = float(self._pipeline.get_base_time() + running) / 1e9
        return moment_s if arrived_s - _OLDEST_S <= moment_s <= arrived_s else arrived_s


def _video_info(caps: Any) -> Any:
    """Size and layout of pictures; None where these are none that lie in memory."""
    if caps.get_structure(0).get_name() != "video/x-raw":
        return None
    if hasattr(GstVideo.VideoInfo, "new_from_caps"):
        return GstVideo.VideoInfo.new_from_caps(caps)
    info = GstVideo.VideoInfo()  # before GStreamer 1.20
    return info if info.from_caps(caps) else None


def _parse(text: str) -> Any:
    try:
        return Gst.parse_launch_full(text, None, Gst.ParseFlags.FATAL_ERRORS)
    except GLib.Error as error:
        missing = error.matches(Gst.ParseError.quark(), Gst.ParseError.NO_SUCH_ELEMENT)
        raise StackError(f"the pipeline is wrong: {error.message}", MISSING if missing else REQUEST) from error


def _appsink(pipeline: Any) -> Any:
    found = [element for element in _elements(pipeline) if isinstance(element, GstApp.AppSink)]
    if len(found) != 1:
        raise StackError(f"the pipeline has {len(found)} appsinks, expected one", REQUEST)
    if not isinstance(pipeline, Gst.Pipeline):
        raise StackError("the pipeline is one element, expected at least a source before the appsink", REQUEST)
    return found[0]


def _elements(pipeline: Any) -> list[Any]:
    if not isinstance(pipeline, Gst.Bin):
        return [pipeline]
    found = []
    walk = pipeline.iterate_recurse()
    result, element = walk.next()
    while result == Gst.IteratorResult.OK:
        found.append(element)
        result, element = walk.next()
    return found


def _decoder(pipeline: Any) -> str | None:
    """Name of the element that decodes, None where none does."""
    factories = [element.get_factory() for element in _elements(pipeline)]
    return next((factory.get_name() for factory in factories if _decodes(factory)), None)


def _decodes(factory: Any) -> bool:
    return factory is not None and "Decoder/Video" in (factory.get_metadata("klass") or "")
