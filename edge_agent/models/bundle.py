"""What a model bundle is: a manifest that names every file by size and hash. Pure: bytes in, records out.

    bundle directory                       manifest.json (canonical JSON; its sha256 is the bundle's digest)
      manifest.json                          encoders: flavour -> file     u8s8, symmetric, fp32
      encoder-u8s8.onnx                      head, scores: files           what a new head replaces
      head.safetensors  scores.safetensors   golden: file                  pictures and the vectors they must give
      golden.safetensors                     feature_code: file            how features become int8, see learn
      code.safetensors                       features, classes, thresholds, provenance, licences
      familiar.safetensors                   familiar: file, or none       what is unlike anything that was labelled

The bytes come from outside. So: length first, then structure, then each value within bounds; a field we do not know is
ignored (a newer builder may say more), one we know must be right.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edge_agent.errors import BadBundleError
from edge_agent.models.fields import Field
from edge_agent.records import Canvas

SCHEMA = 1
MANIFEST_NAME = "manifest.json"
# A manifest of 256 classes and 64 blocks takes 12 KiB.
MANIFEST_MAX_BYTES = 64 * 1024
# ours has 4; Python's own parser gives up near 1000, by RecursionError.
NESTING_MAX = 8

ENCODER_MAX_BYTES = 128 * 1024 * 1024
ARRAYS_MAX_BYTES = 64 * 1024 * 1024
INPUT_PX_MIN, INPUT_PX_MAX = 16, 1024
BLOCKS_MAX = 64
DIMENSION_MAX = 16_384
CLASSES_MAX = 256
FLAVOURS_MAX = 8
ENTRIES_MAX = 32
TEXT_MAX = 256

_QUOTE, _BACKSLASH = ord('"'), ord("\\")

# Names become file names and MQTT topic segments: no slash, no dot first, no capitals that a file system may fold.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
TEXT = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A file of a bundle: its name in the bundle directory, its exact size, and its content's hash."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBlock:
    """`width` consecutive entries of the feature vector: the mean of one block's output."""

    name: str
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLayout:
    """The blocks in the order of the vector, and which one the feature map shows before its mean is taken."""

    blocks: tuple[FeatureBlock, ...]
    map_block: str

    @property
    def dimension(self) -> int:
        """D, the length of the vector."""
        return sum(block.width for block in self.blocks)

    @property
    def map_slice(self) -> slice:
        """The part of the vector that is the mean of the map."""
        start = 0
        for block in self.blocks:
            if block.name == self.map_block:
                return slice(start, start + block.width)
            start += block.width
        raise BadBundleError(f"map_block {self.map_block!r} is none of {[block.name for block in self.blocks]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far a device may be from the golden vectors: |x - golden| / |golden| of a vector, and of any probability."""

    vector: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the bundle was made from: enough to make it again."""

    weights_sha256: str
    calibration_sha256: str
    packages: Mapping[str, str]
    seeds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One bundle. `created` is RFC 3339 UTC; `input_px` (height, width); `classes` in the order of the head.

    `trained_on` says whose pictures the head was solved on: "synthetic-line" for the default bundle, whose head knows
    nobody's parts, "site" for pictures of the plant. `familiar`: what the head's samples look like, where enough were
    held back to say from where on a part is unlike them.
    """

    name: str
    version: str
    created: str
    kind: str
    input_px: tuple[int, int]
    encoders: Mapping[str, BundleFile]
    features: FeatureLayout
    head: BundleFile
    classes: tuple[str, ...]
    good_classes: tuple[str, ...]
    threshold: float
    hold_below: float
    temperature: float
    golden: BundleFile
    scores: BundleFile
    feature_code: BundleFile
    tolerances: Mapping[str, Tolerance]
    provenance: Provenance
    licences: tuple[str, ...]
    trained_on: str = "site"
    familiar: BundleFile | None = None

    @property
    def networks(self) -> Mapping[str, BundleFile]:
        """The ONNX files by flavour."""
        return self.encoders

    @property
    def canvas(self) -> Canvas:
        """The picture it takes."""
        return Canvas(px=self.input_px)

    def flavour_for(self, wanted: str) -> str:
        """The flavour a device runs: the one its profile wants.

        Raises:
            BadBundleError: the bundle does not have it.
        """
        self.encoder(wanted)
        return wanted

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """Every file that belongs to the bundle, the manifest itself left out."""
        always = (*self.encoders.values(), self.head, self.golden, self.scores, self.feature_code)
        return always if self.familiar is None else (*always, self.familiar)

    def encoder(self, flavour: str) -> BundleFile:
        """The encoder file of a flavour.

        Raises:
            BadBundleError: the bundle has none.
        """
        if flavour not in self.encoders:
            raise BadBundleError(
                f"bundle {self.name} {self.version} has no encoder of flavour {flavour!r}, only "
                f"{', '.join(sorted(self.encoders))}; build one, or choose a device profile with one of these"
            )
        return self.encoders[flavour]


def digest(manifest_bytes: bytes) -> str:
    """A bundle's identity: sha256, hex, of its canonical manifest and so of every byte that the manifest names."""
    return hashlib.sha256(manifest_bytes).hexdigest()


def describe(content: bytes, name: str) -> BundleFile:
    """The entry of a file with this content."""
    return BundleFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def to_bytes(manifest: Manifest) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    value = {"schema": SCHEMA, **asdict(manifest)}
    if manifest.familiar is None:
        del value["familiar"]  # as bundles were written before there was such a file
    return canonical(value)


def from_bytes(content: bytes) -> Manifest:
    """Parse and check a manifest.

    Raises:
        BadBundleError: too long, too deep, not canonical JSON, of a newer schema, or a value out of its bounds.
    """
    root, schema = parse(content)
    if schema != SCHEMA:
        raise BadBundleError(f"{MANIFEST_NAME}: schema is {schema}, this program knows {SCHEMA}; update it")
    return from_field(root)


def parse(content: bytes) -> tuple[Field, int]:
    """The fields of any manifest, and its schema.

    Raises:
        BadBundleError: too long, too deep, or not canonical JSON.
    """
    root = Field(_parse(content), MANIFEST_NAME)
    return root, root.get("schema").integer(1, 2**31)


def from_field(root: Field) -> Manifest:
    """Check a parsed manifest of this schema.

    Raises:
        BadBundleError: a value is missing or out of its bounds, or two contradict one another.
    """
    height, width = root.get("input_px").items(2, 2)
    classes = tuple(item.text(TEXT) for item in root.get("classes").items(1, CLASSES_MAX))
    encoders = {
        flavour: file_of(field, ENCODER_MAX_BYTES)
        for flavour, field in root.get("encoders").entries(NAME, 1, FLAVOURS_MAX).items()
    }
    manifest = Manifest(
        name=root.get("name").text(NAME),
        version=root.get("version").text(NAME),
        created=root.get("created").text(TIME),
        kind=root.get("kind").text(NAME),
        input_px=(height.integer(INPUT_PX_MIN, INPUT_PX_MAX), width.integer(INPUT_PX_MIN, INPUT_PX_MAX)),
        encoders=encoders,
        features=_features(root.get("features")),
        head=file_of(root.get("head"), ARRAYS_MAX_BYTES),
        classes=classes,
        good_classes=tuple(item.text(TEXT) for item in root.get("good_classes").items(0, CLASSES_MAX)),
        threshold=root.get("threshold").number(0.0, 1.0),
        hold_below=root.get("hold_below").number(0.0, 1.0),
        temperature=root.get("temperature").number(1e-6, 1e6),
        golden=file_of(root.get("golden"), ARRAYS_MAX_BYTES),
        scores=file_of(root.get("scores"), ARRAYS_MAX_BYTES),
        feature_code=file_of(root.get("feature_code"), ARRAYS_MAX_BYTES),
        tolerances=tolerances_of(root.get("tolerances")),
        provenance=_provenance(root.get("provenance")),
        licences=tuple(item.text(TEXT) for item in root.get("licences").items(0, ENTRIES_MAX)),
        trained_on=root.get("trained_on").text(NAME),
        familiar=file_of(root.get("familiar"), ARRAYS_MAX_BYTES) if "familiar" in root.value else None,
    )
    _check_agreement(manifest)
    return manifest


def _check_agreement(manifest: Manifest) -> None:
    """What single values cannot show: names that must differ, and references that must lead somewhere."""
    names = [file.name for file in manifest.files]
    faults = {
        f"file names {names} are not all different": len(set(names)) != len(names),
        f"a file is called {MANIFEST_NAME}": MANIFEST_NAME in names,
        f"classes {manifest.classes} are not all different": len(set(manifest.classes)) != len(manifest.classes),
        f"good_classes {manifest.good_classes} are not all among the classes": not (
            set(manifest.good_classes) <= set(manifest.classes)
        ),
        f"tolerances are for {sorted(manifest.tolerances)}, encoders for {sorted(manifest.encoders)}": (
            manifest.tolerances.keys() != manifest.encoders.keys()
        ),
        f"hold_below {manifest.hold_below} is above threshold {manifest.threshold}": (
            manifest.hold_below > manifest.threshold
        ),
    }
    found = [text for text, true in faults.items() if true]
    if found:
        raise BadBundleError(f"{MANIFEST_NAME}: {'; '.join(found)}")


def file_of(field: Field, max_bytes: int) -> BundleFile:
    """The entry of a file of at most `max_bytes`."""
    return BundleFile(
        name=field.get("name").text(NAME),
        size=field.get("size").integer(1, max_bytes),
        sha256=field.get("sha256").text(SHA256),
    )


def _features(field: Field) -> FeatureLayout:
    blocks = tuple(
        FeatureBlock(name=item.get("name").text(NAME), width=item.get("width").integer(1, DIMENSION_MAX))
        for item in field.get("blocks").items(1, BLOCKS_MAX)
    )
    layout = FeatureLayout(blocks=blocks, map_block=field.get("map_block").text(NAME))
    if layout.dimension > DIMENSION_MAX or len({block.name for block in blocks}) != len(blocks):
        raise BadBundleError(
            f"{field.where}: {len(blocks)} blocks of {layout.dimension} features, expected different names and at most "
            f"{DIMENSION_MAX} features"
        )
    _ = layout.map_slice  # raises where the map's block is none of the blocks
    return layout


def _provenance(field: Field) -> Provenance:
    return Provenance(
        weights_sha256=field.get("weights_sha256").text(SHA256),
        calibration_sha256=field.get("calibration_sha256").text(SHA256),
        packages={name: item.text(TEXT) for name, item in field.get("packages").entries(NAME, 0, ENTRIES_MAX).items()},
        seeds={
            name: item.integer(0, 2**63 - 1) for name, item in field.get("seeds").entries(NAME, 0, ENTRIES_MAX).items()
        },
    )


def tolerances_of(field: Field) -> dict[str, Tolerance]:
    """Tolerances by flavour."""
    return {
        flavour: Tolerance(vector=item.get("vector").number(0.0, 1.0), score=item.get("score").number(0.0, 1.0))
        for flavour, item in field.entries(NAME, 1, FLAVOURS_MAX).items()
    }


def canonical(value: Any) -> bytes:
    """The one way to write these values as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _parse(content: bytes) -> Any:
    if len(content) > MANIFEST_MAX_BYTES:
        raise BadBundleError(f"{MANIFEST_NAME}: {len(content)} bytes, at most {MANIFEST_MAX_BYTES} are read")
    deepest = _nesting(content)
    if deepest > NESTING_MAX:
        raise BadBundleError(f"{MANIFEST_NAME}: nested {deepest} deep, at most {NESTING_MAX}")
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant)
        proper = canonical(value)
    except (ValueError, UnicodeError) as error:
        raise BadBundleError(f"{MANIFEST_NAME}: not JSON ({error}); the file is truncated or altered") from error
    # The digest is over these bytes, so there may be only one way to write them; it also rules out repeated keys.
    if proper != content:
        raise BadBundleError(f"{MANIFEST_NAME}: not canonical JSON (sorted keys, no spaces, UTF-8, one newline)")
    return value


def _nesting(content: bytes) -> int:
    """How deep objects and lists lie in one another; brackets inside texts (a class called "pit [deep") are none."""
    depth = deepest = 0
    in_text = escaped = False
    for byte in content:
        if in_text:
            in_text = escaped or byte != _QUOTE
            escaped = not escaped and byte == _BACKSLASH
        elif byte == _QUOTE:
            in_text = True
        else:
            depth += (byte in b"[{") - (byte in b"]}")
            deepest = max(deepest, depth)
    return deepest


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number here")
