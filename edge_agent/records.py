"""The nouns that rooms hand to one another: frozen, slotted, keyword-only, units in the names.

numpy is imported for type checking only: the sync process uses these records and must stay small.
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CROCKFORD_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Verdict(str, enum.Enum):
    """What the line is told. HOLD = unsure, late, or never inspected: a part is never silently skipped."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    HOLD = "HOLD"


class HoldReason(str, enum.Enum):
    """Why a part has no PASS or FAIL."""

    UNSURE = "unsure"  # the score lies in the band between pass and fail
    LEARNING = "learning"  # good-only start: the first parts are still being taken as good
    OVERLOAD = "overload"  # newer frames came before this one could be judged
    CAMERA = "camera"  # the camera stalled, was lost, or gave a picture that could not be decoded
    MODEL = "model"  # no usable model, or the model failed on this picture
    PAUSED = "paused"  # an operator paused inspection
    FROZEN = "frozen"  # the camera gives the same picture again and again
    REPEATED = "repeated"  # a picture that was seen shortly before came again
    DARK = "dark"  # the picture is black, or far darker than this camera's pictures are
    OVEREXPOSED = "overexposed"  # the picture is burnt out
    BLURRED = "blurred"  # out of focus, or a dirty lens
    MOVED = "moved"  # the camera no longer looks where it looked
    NO_PICTURE = "no-picture"  # a trigger came and no picture in time
    LATE = "late"  # the picture or the verdict came too late for the part
    RECIPE = "recipe"  # the trigger names a recipe that this camera does not have
    STOPPING = "stopping"  # the daemon stopped before the frame was judged


class Severity(str, enum.Enum):
    """How urgently a person is needed."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle in the frame, as fractions of its width and height, origin top left."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The picture that a model takes: `px` is (height, width).

    Without `letterbox` a picture is stretched to fill it; with it the picture keeps its proportions, stands in the
    middle, and even grey fills the rest.
    """

    px: tuple[int, int]
    letterbox: bool = False

    def inner(self, height_px: int, width_px: int) -> tuple[int, int, int, int]:
        """Where a picture of this size comes to lie: top, left, height, width in pixels of the canvas."""
        height, width = self.px
        if not self.letterbox:
            return 0, 0, height, width
        scale = min(height / height_px, width / width_px)
        inner_h = min(height, max(1, round(height_px * scale)))
        inner_w = min(width, max(1, round(width_px * scale)))
        return (height - inner_h) // 2, (width - inner_w) // 2, inner_h, inner_w


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One thing that a detector found. `score` 0 to 1 is how sure it is; a `defect` speaks against the part."""

    label: str
    score: float
    where: Region
    defect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraIdentity:
    """Which camera it is, as it says itself; None where it does not say. `serial` tells two of one model apart."""

    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A part is in front of the camera: said by the line at this moment, by the clock of this machine."""

    camera: str
    utc_s: float
    mono_s: float
    part: str | None = None
    recipe: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One captured picture. `sequence` counts from 1 per camera and process, without gaps.

    `image` is uint8 [height, width, 3], BGR, read-only: rotated, cut to the region of interest and masked already.
    `path` is set by file sources; `part` by triggers. `prepared` is the picture at the size the camera's model took
    when the frame came, made in the camera's own thread in `prepare_ms`; None where no model was loaded yet.
    `trigger` is what asked for the picture, None where the camera runs freely. `fault` says what is wrong with the
    picture itself: then the part is a HOLD with that reason and no model looks at it. `due_mono_s` is the moment after
    which a verdict comes too late for the line (HOLD, late); None where the line sets none.
    """

    camera: str
    sequence: int
    captured_utc_s: float
    captured_mono_s: float
    image: NDArray[np.uint8] = field(repr=False)
    part: str | None = None
    path: str | None = None
    prepared: NDArray[np.uint8] | None = field(default=None, repr=False)
    prepare_ms: float = 0.0
    recipe: str | None = None
    device: CameraIdentity | None = None
    trigger: Trigger | None = None
    fault: HoldReason | None = None
    due_mono_s: float | None = None

    @property
    def part_id(self) -> str | None:
        """What identifies the part: what a trigger said, else the name of the file that shows it."""
        return self.part if self.part is not None or self.path is None else PurePath(self.path).name


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """A frame that was captured and will not be judged; becomes a HOLD inspection with this reason."""

    camera: str
    sequence: int
    captured_utc_s: float
    reason: HoldReason
    part: str | None = None
    recipe: str | None = None
    device: CameraIdentity | None = None
    trigger: Trigger | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the encoder makes of a picture.

    `vector` float32 [D]: mean pools of the blocks, concatenated. `map` float32 [height, width, C]: the outputs of
    one block in the middle of the network, for localisation; C consecutive entries of `vector` are its mean.
    """

    vector: NDArray[np.float32] = field(repr=False)
    map: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What a head or a good-only model says of one picture, before the rules of the line are applied.

    `score` is the calibrated probability of a defect, 0 to 1. `label` names the most likely class ("ok", "unlike-good",
    or a class of the model). `heat` float32 [h, w] >= 0 over the whole picture, None where it says nothing.
    `detections` are what a detector found, surest first; `where` is the box that speaks most for a defect.
    `unlikeness` is how unlike anything the model was taught the part is, in units of the model's own limit; None where
    it does not say.
    """

    label: str
    score: float
    heat: NDArray[np.float32] | None = field(default=None, repr=False)
    hold: HoldReason | None = None
    detections: tuple[Detection, ...] = ()
    where: Region | None = None
    unlikeness: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds by stage; total is capture (frame complete in memory) to verdict."""

    queue_ms: float
    prepare_ms: float
    encode_ms: float
    decide_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one of several models said of a part: `name` is the model's, `model` its bundle's digest (sha256 hex)."""

    name: str
    model: str | None
    verdict: Verdict
    label: str | None
    score: float | None
    threshold: float | None
    reason: HoldReason | None
    where: Region | None
    detections: tuple[Detection, ...] = ()
    unlikeness: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One judged (or expressly not judged) part: exactly one per captured frame.

    `id` is a ULID. `model` is the bundle digest (sha256 hex), None when no model took part. `reason` is set exactly
    when the verdict is HOLD. `device` is the camera that took the picture, as far as it says; `trigger` what asked.

    Where several models judge one picture, `findings` has one entry for each, and the worst verdict counts (FAIL, then
    HOLD, then PASS; of equal ones the first): label, score, threshold, reason, where, model and detections are its.
    `unlikeness` is the largest of any model's (as in `Assessment`).
    """

    id: str
    camera: str
    sequence: int
    captured_utc_s: float
    verdict: Verdict
    label: str | None
    score: float | None
    threshold: float | None
    reason: HoldReason | None
    where: Region | None
    model: str | None
    latency: Latency | None
    part: str | None = None
    recipe: str | None = None
    device: CameraIdentity | None = None
    trigger: Trigger | None = None
    detections: tuple[Detection, ...] = ()
    findings: tuple[Finding, ...] = ()
    unlikeness: float | None = None


class KeepReason(str, enum.Enum):
    """Why a picture is kept as evidence."""

    FAIL = "fail"
    HOLD = "hold"
    NEAR_THRESHOLD = "near-threshold"  # a little more or less, and the verdict would have been another
    DIFFER = "differ"  # a model on trial says something else than the one in force
    UNLIKE = "unlike"  # far from everything the model knows
    RANDOM = "random"  # one of the few PASS that are kept to look at
    REQUEST = "request"  # a person asked for it
    IMPORT = "import"  # brought in from a folder or list


class Standing(str, enum.Enum):
    """What people have made of a sample so far."""

    UNLABELLED = "unlabelled"
    WAITING = "waiting"  # labelled, and a second opinion is still asked for
    DISPUTED = "disputed"  # two people differ and nobody has decided
    LABELLED = "labelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One kept picture, why it was kept, and what is held to be the truth about it.

    `id` is the ULID of its inspection. `camera` is None for what was imported. `task` names the model that judges such
    pictures ("surface"), `model` is the digest of the bundle that did. `group` is the physical thing it shows (part,
    batch or time block): all its samples are `sealed`, which means never learned from, or none is. `label`, `score`
    and `threshold` are the model's words; `truth` is the people's, None until `standing` is LABELLED. `file` is
    relative to the store. `likeness` is the 64-bit perceptual hash.
    """

    id: str
    task: str
    captured_utc_s: float
    group: str
    kept: tuple[KeepReason, ...]
    camera: str | None = None
    part: str | None = None
    recipe: str | None = None
    verdict: Verdict | None = None
    reason: HoldReason | None = None
    label: str | None = None
    score: float | None = None
    threshold: float | None = None
    where: Region | None = None
    model: str | None = None
    likeness: int | None = None
    width_px: int = 0
    height_px: int = 0
    size_bytes: int = 0
    file: str = ""
    sealed: bool = False
    legal_hold: bool = False
    standing: Standing = Standing.UNLABELLED
    truth: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A condition that a person should know of. `code` is stable (docs/mqtt.md lists them); `subject` names the camera,
    model or connection; both together identify the alarm.
    """

    code: str
    subject: str
    severity: Severity
    text: str
    active: bool
    since_utc_s: float


def ulid(utc_s: float, entropy: bytes | None = None) -> str:
    """A ULID (github.com/ulid/spec): 48 bits of milliseconds, 80 random bits, 26 characters that sort by time."""
    random = os.urandom(10) if entropy is None else entropy
    number = (int(utc_s * 1000) & (2**48 - 1)) << 80 | int.from_bytes(random, "big")
    return "".join(CROCKFORD_BASE32[(number >> shift) & 31] for shift in range(125, -5, -5))
