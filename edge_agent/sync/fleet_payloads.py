"""What plants and coordinator say to one another, as frozen records that refuse to be made wrong. Pure.

    coordinator --fl/offer--> gateway --fl/up--> coordinator --xf/<xid>/get--> gateway --xf/<xid>/blk--> coordinator
                                                             --fl/receipt-> gateway

As in `payloads`: integer `v`, RFC 3339 UTC milliseconds, units in names, unknown fields ignored. Large things go by
transfer: a message holds their manifest only.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.errors import BadMessageError

FLEET_VERSION = 1

RoundKind = Literal["statistics", "delta"]
Privacy = Literal["open", "secagg", "grouped"]
ManifestKind = Literal["statistics", "delta", "head", "bundle"]
ReceiptState = Literal["counted", "late", "refused"]

ROUND_MAX = 2**31 - 1
SAMPLES_MAX = 2**39  # what sums can hold exactly (learn.statistics)
TRANSFER_MAX_BYTES = 2**31 - 1
# AWS IoT Core takes 128 KiB; a block and its header stay below. 64 KiB was as quick as anything larger (measured over
# loopback with TLS).
CHUNK_MIN_BYTES, CHUNK_BYTES, CHUNK_MAX_BYTES = 4 * 1024, 64 * 1024, 120 * 1024
WINDOW_BLOCKS = 8
FORMATS_MAX = 8
SETTINGS_MAX = 64
FIGURES_MAX = 64
RANGES_MAX = 256
FEATURES_MAX = 2**16
REASON_MAX_CHARS = 512

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FORMAT = re.compile(r"edge-agent/[a-z0-9-]{1,32}/[0-9]{1,4}")
_KEY = re.compile(r"[a-z0-9_]{1,64}")
_BITMAP = re.compile(r"(?:[0-9a-f]{2}){1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPayload:
    """A round that a gateway may take part in. Repeats carry the same `id`; another `id` is another round.

    `base` is the sha256 of what a contribution must be made against: the encoder's for statistics, the model's for a
    delta. `formats` are those that the coordinator reads, its favourite first. `features` are the parts of the
    statistics that are asked for, as [first, end) of the feature vector, ascending; null asks for all. `settings` are
    the trainer's, by name. `roster` is the sha256 of the list of those invited; null where it is open.

    Raises:
        BadMessageError: a field is outside what can be meant.
    """

    v: int = FLEET_VERSION
    id: str
    ts: str
    task: str
    round: int
    kind: RoundKind
    base: str
    deadline: str
    min_samples: int
    privacy: Privacy
    formats: tuple[str, ...]
    max_bytes: int
    roster: str | None = None
    features: tuple[tuple[int, int], ...] | None = None
    settings: Mapping[str, float | int | str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_round("offer", self.v, self.id, self.ts, self.task, self.round)
        _match("offer: base", self.base, _DIGEST, "sha256 as 64 hex digits")
        moment_s(self.deadline, "offer: deadline")
        _between("offer: min_samples", self.min_samples, 1, SAMPLES_MAX)
        _between("offer: max_bytes", self.max_bytes, 1, TRANSFER_MAX_BYTES)
        _between("offer: number of formats", len(self.formats), 1, FORMATS_MAX)
        for name in self.formats:
            _match("offer: format", name, _FORMAT, "edge-agent/NAME/NUMBER")
        if self.roster is not None:
            _match("offer: roster", self.roster, _DIGEST, "sha256 as 64 hex digits, or null")
        if self.features is not None:
            _check_ranges(self.features)
        _between("offer: number of settings", len(self.settings), 0, SETTINGS_MAX)
        for name, value in self.settings.items():
            _match("offer: name of a setting", name, _KEY, "1 to 64 of a-z, 0-9 and _")
            if isinstance(value, float):
                _finite(f"offer: setting {name}", value)

    @property
    def deadline_utc_s(self) -> float:
        """The deadline as seconds since 1970 UTC."""
        return moment_s(self.deadline, "offer: deadline")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPayload:
    """What is to be transferred. `id` names the transfer, `sha256` decides whether it arrived; `codec` is its format.

    `parent` is the sha256 of what a delta or a patch is to be applied to; null where it stands for itself.

    Raises:
        BadMessageError: a field is outside what can be meant.
    """

    id: str
    kind: ManifestKind
    size_bytes: int
    sha256: str
    chunk_bytes: int
    codec: str
    parent: str | None = None

    def __post_init__(self) -> None:
        _match("manifest: id", self.id, _ULID, "a ULID")
        _between("manifest: size_bytes", self.size_bytes, 1, TRANSFER_MAX_BYTES)
        _match("manifest: sha256", self.sha256, _DIGEST, "64 hex digits")
        _between("manifest: chunk_bytes", self.chunk_bytes, CHUNK_MIN_BYTES, CHUNK_MAX_BYTES)
        _match("manifest: codec", self.codec, _FORMAT, "edge-agent/NAME/NUMBER")
        if self.parent is not None:
            _match("manifest: parent", self.parent, _DIGEST, "sha256 as 64 hex digits, or null")

    @property
    def blocks(self) -> int:
        """How many blocks it has; all but the last are `chunk_bytes` long."""
        return -(-self.size_bytes // self.chunk_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionPayload:
    """What a gateway gives to the round `offer`, or why it gives nothing (`declined`, then `reason` and no manifest).

    `id` is made once for each contribution and stays through every repeat: it is what is counted once. `samples` is
    how many it was learned from. `figures` are for people: losses, seconds, shares.

    Raises:
        BadMessageError: a field is outside what can be meant, or state, manifest and reason do not fit together.
    """

    v: int = FLEET_VERSION
    id: str
    ts: str
    gateway: str
    task: str
    round: int
    offer: str
    state: Literal["ready", "declined"]
    base: str
    samples: int
    manifest: ManifestPayload | None
    reason: str | None
    figures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_round("contribution", self.v, self.id, self.ts, self.task, self.round)
        _match("contribution: gateway", self.gateway, _NAME, "1 to 64 of a-z, 0-9 and -")
        _match("contribution: offer", self.offer, _ULID, "the ULID of the offer")
        _match("contribution: base", self.base, _DIGEST, "sha256 as 64 hex digits")
        _between("contribution: samples", self.samples, 0, SAMPLES_MAX)
        ready = self.state == "ready"
        if ready != (self.manifest is not None) or ready != (self.reason is None) or ready > (self.samples > 0):
            raise BadMessageError(
                f"contribution: state {self.state} with {self.samples} samples, manifest {self.manifest is not None}, "
                f"reason {self.reason!r}; expected samples and a manifest when ready, a reason alone when declined"
            )
        _check_reason("contribution", self.reason)
        _between("contribution: number of figures", len(self.figures), 0, FIGURES_MAX)
        for name, value in self.figures.items():
            _match("contribution: name of a figure", name, _KEY, "1 to 64 of a-z, 0-9 and _")
            _finite(f"contribution: figure {name}", value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPayload:
    """What became of a contribution; repeats say the same. Only then may the gateway delete it.

    counted: it is part of round `counted_in`. late: it came after the deadline, fits its base still and is kept for
    the next round. refused: `reason` says why, and it will not be taken.

    Raises:
        BadMessageError: a field is outside what can be meant, or state, reason and round do not fit together.
    """

    v: int = FLEET_VERSION
    id: str
    ts: str
    task: str
    round: int
    offer: str
    state: ReceiptState
    sha256: str | None
    counted_in: int | None
    reason: str | None

    def __post_init__(self) -> None:
        _check_round("receipt", self.v, self.id, self.ts, self.task, self.round)
        _match("receipt: offer", self.offer, _ULID, "the ULID of the offer")
        if self.sha256 is not None:
            _match("receipt: sha256", self.sha256, _DIGEST, "64 hex digits, or null")
        if self.counted_in is not None:
            _between("receipt: counted_in", self.counted_in, 1, ROUND_MAX)
        counted, refused = self.state == "counted", self.state == "refused"
        if counted != (self.counted_in is not None) or (counted and self.sha256 is None):
            raise BadMessageError(
                f"receipt: state {self.state} with round {self.counted_in} and sha256 {self.sha256}; expected both "
                "when counted, no round otherwise"
            )
        if refused != (self.reason is not None):
            raise BadMessageError(
                f"receipt: state {self.state} with reason {self.reason!r}; expected one when refused, none otherwise"
            )
        _check_reason("receipt", self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksPayload:
    """Said by the receiver of a transfer: which blocks to send, or that no more are wanted.

    `missing` is a bitmap in hex: bit i (from the lowest of the first byte) set asks for block `first` + i; at most
    8 bits. state `done`: all is here and its sha256 is right. `stopped`: give up, `reason` says why.

    Raises:
        BadMessageError: a field is outside what can be meant, or more blocks are asked for than a window has.
    """

    v: int = FLEET_VERSION
    state: Literal["want", "done", "stopped"]
    first: int = 0
    missing: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        _between("blocks: v", self.v, 1, FLEET_VERSION)
        _between("blocks: first", self.first, 0, TRANSFER_MAX_BYTES // CHUNK_MIN_BYTES)
        if self.state != "want":
            if self.missing:
                raise BadMessageError(f"blocks: state {self.state} and yet blocks {self.missing!r} are asked for")
            _check_reason("blocks", self.reason)
            return
        _match("blocks: missing", self.missing, _BITMAP, "2 to 64 hex digits")
        _between("blocks: how many are asked for", len(self.wanted), 1, WINDOW_BLOCKS)

    @property
    def wanted(self) -> tuple[int, ...]:
        """The numbers of the blocks that are asked for, ascending."""
        bits = int.from_bytes(bytes.fromhex(self.missing), "little")
        return tuple(self.first + place for place in range(bits.bit_length()) if bits >> place & 1)


FLEET_PAYLOADS: Mapping[str, type] = {
    "offer": OfferPayload,
    "contribution": ContributionPayload,
    "receipt": ReceiptPayload,
    "blocks": BlocksPayload,
}


def moment_s(text: str, what: str) -> float:
    """An RFC 3339 moment as seconds since 1970 UTC.

    Raises:
        BadMessageError: it is none, or has no time zone.
    """
    try:
        moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 does not know Z
    except ValueError as error:
        raise BadMessageError(f"{what} is {text[:40]!r}, expected RFC 3339 as 2026-11-24T09:58:42.120Z") from error
    if moment.tzinfo is None:
        raise BadMessageError(f"{what} is {text[:40]!r} without a time zone, expected UTC: ...Z")
    return moment.timestamp()


def _check_round(what: str, version: int, identity: str, moment: str, task: str, number: int) -> None:
    _between(f"{what}: v", version, 1, FLEET_VERSION)
    _match(f"{what}: id", identity, _ULID, "a ULID")
    moment_s(moment, f"{what}: ts")
    _match(f"{what}: task", task, _NAME, "1 to 64 of a-z, 0-9 and -")
    _between(f"{what}: round", number, 1, ROUND_MAX)


def _check_reason(what: str, reason: str | None) -> None:
    if reason is not None and not 1 <= len(reason) <= REASON_MAX_CHARS:
        raise BadMessageError(f"{what}: reason of {len(reason)} characters, expected 1 to {REASON_MAX_CHARS}, or null")


def _check_ranges(ranges: tuple[tuple[int, int], ...]) -> None:
    _between("offer: number of feature ranges", len(ranges), 1, RANGES_MAX)
    before = 0
    for first, end in ranges:
        if not before <= first < end <= FEATURES_MAX:
            raise BadMessageError(
                f"offer: features [{first}, {end}) after {before}; expected ascending ranges within 0 to {FEATURES_MAX}"
            )
        before = end


def _match(what: str, text: str, pattern: re.Pattern[str], expected: str) -> None:
    if not pattern.fullmatch(text):
        raise BadMessageError(f"{what} is {text[:80]!r}, expected {expected}")


def _between(what: str, number: int, low: int, high: int) -> None:
    if not low <= number <= high:
        raise BadMessageError(f"{what} is {number}, expected {low} to {high}")


def _finite(what: str, number: float) -> None:
    if not math.isfinite(number):
        raise BadMessageError(f"{what} is {number}, expected a finite number")
