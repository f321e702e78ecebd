"""Topics: where a gateway's branch begins, what hangs on it, and what a legal segment is. Pure.

    acme/lyon/press-shop / ev1 / gw-07 / insp/press-3
    root (1 to 3)          ver.  gateway  tail (1 to 3)

Every segment has a fixed position, so that one subscription and one ACL line fit a gateway
(thin-edge.io, design/decisions/0002-mqtt-topic-schema.md).
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.errors import BadMessageError

VERSION_SEGMENT = "ev1"
# AWS IoT Core allows 7 slashes and 256 bytes, the least of the brokers that we name (docs.aws.amazon.com, IoT quotas).
MAX_SEGMENTS = 8
MAX_TOPIC_BYTES = 256
MAX_ROOT_SEGMENTS = 3
GATEWAY_PATTERN = re.compile(r"[a-z0-9-]{1,64}")
_FORBIDDEN = re.compile("[+#/\x00]")


class Direction(str, enum.Enum):
    """As the gateway sees it."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"  # a transfer goes either way; who receives asks


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicShape:
    """One row of the topic table. `pattern` is the tail, names in angle brackets stand for one segment."""

    name: str
    pattern: str
    direction: Direction
    qos: int
    retained: bool
    purpose: str


_UP, _DOWN, _BOTH = Direction.UP, Direction.DOWN, Direction.BOTH


def _row(
    name: str, pattern: str, direction: Direction, qos: int, purpose: str, *, retained: bool = False
) -> TopicShape:
    return TopicShape(name=name, pattern=pattern, direction=direction, qos=qos, retained=retained, purpose=purpose)


TOPICS: tuple[TopicShape, ...] = (
    _row("status", "status", _UP, 1, "Whether the gateway is online; also its Will.", retained=True),
    _row("info", "info", _UP, 1, "Hardware, profile, cameras and model digests.", retained=True),
    _row("telemetry", "tm", _UP, 0, "Live numbers, flat, for plotting; the latest wins."),
    _row("inspection", "insp/<camera>", _UP, 1, "One part, judged or expressly not judged."),
    _row("summary", "sum/<camera>", _UP, 1, "Counts, yield and last verdict of a camera.", retained=True),
    _row("alarm", "alarm/<id>", _UP, 1, "A condition a person should know of; emptied when cleared.", retained=True),
    _row("command", "cmd/<type>/<id>", _DOWN, 1, "An order to this gateway; never retained."),
    _row("acknowledgement", "ack/<type>/<id>", _UP, 1, "How an order fares."),
    _row("config", "cfg/is", _UP, 1, "The configuration in force.", retained=True),
    _row("model", "model/is", _UP, 1, "The models in force and those before them.", retained=True),
    _row("learn", "learn/is", _UP, 1, "Fine-tuning: state, progress, when it goes on.", retained=True),
    _row("offer", "fl/offer", _DOWN, 1, "A round that this gateway may take part in."),
    _row("contribution", "fl/up", _UP, 1, "What it gives to the round, or why nothing; the bytes go by transfer."),
    _row("receipt", "fl/receipt", _DOWN, 1, "What became of a contribution; only then is it deleted here."),
    _row("blocks", "xf/<xid>/get", _BOTH, 1, "The receiver of a transfer asks for blocks, or says that it ended."),
    _row("block", "xf/<xid>/blk", _BOTH, 1, "One block of a transfer: binary, see docs/federated.md."),
)


def check_segment(text: str, what: str) -> str:
    """`text` if it can be one segment of a topic.

    Raises:
        BadMessageError: it is empty or holds `+`, `#`, `/` or NUL.
    """
    if not text or _FORBIDDEN.search(text):
        raise BadMessageError(f"{what} {text!r} cannot be part of a topic: it must not be empty nor hold + # / or NUL")
    return text


@functools.lru_cache(maxsize=1024)  # a gateway uses a few dozen topics over and over
def check_topic(topic: str) -> str:
    """`topic` if every broker that we name takes it.

    Raises:
        BadMessageError: too long, too deep, an empty segment, or a character that topics must not hold.
    """
    size_bytes = len(topic.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_TOPIC_BYTES:
        raise BadMessageError(f"topic of {size_bytes} bytes ({topic[:40]}...), at most {MAX_TOPIC_BYTES} are portable")
    segments = topic.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise BadMessageError(f"topic {topic!r} has {len(segments)} segments, at most {MAX_SEGMENTS} are portable")
    for segment in segments:
        check_segment(segment, "segment")
    return topic


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """The part of the topic tree that is one gateway's own.

    Raises:
        BadMessageError: a root segment or the gateway's name is not legal.
    """

    root: tuple[str, ...]
    gateway: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.root) <= MAX_ROOT_SEGMENTS:
            raise BadMessageError(f"topic root has {len(self.root)} segments, expected 1 to {MAX_ROOT_SEGMENTS}")
        for segment in self.root:
            check_segment(segment, "root segment")
            if segment.startswith("$"):
                raise BadMessageError(f"root segment {segment!r} starts with $, which brokers keep for themselves")
        if not GATEWAY_PATTERN.fullmatch(self.gateway):
            raise BadMessageError(f"gateway name {self.gateway!r}: expected 1 to 64 of a-z, 0-9 and -")

    @property
    def prefix(self) -> str:
        """Everything before the tail, with the closing slash."""
        return "/".join((*self.root, VERSION_SEGMENT, self.gateway, ""))

    def topic(self, tail: str) -> str:
        """The whole topic of `tail`.

        Raises:
            BadMessageError: the tail, or the whole, is not legal.
        """
        return check_topic(self.prefix + tail)

    def tail(self, topic: str) -> str | None:
        """What follows our prefix, or None when the topic is not on this branch."""
        prefix = self.prefix
        return topic[len(prefix) :] if topic.startswith(prefix) and len(topic) > len(prefix) else None

    def command_filter(self) -> str:
        """The one subscription of a gateway."""
        return self.prefix + "cmd/+/+"


def parse_tail(tail: str) -> tuple[TopicShape, Mapping[str, str]] | None:
    """Which row of the table `tail` belongs to, and what stands in its angle brackets; None when no row fits."""
    segments = tail.split("/")
    for shape in TOPICS:
        places = shape.pattern.split("/")
        if len(places) != len(segments) or not all(segments):
            continue
        names: dict[str, str] = {}
        for place, segment in zip(places, segments, strict=True):
            if place.startswith("<"):
                names[place[1:-1]] = segment
            elif place != segment:
                break
        else:
            return shape, names
    return None
