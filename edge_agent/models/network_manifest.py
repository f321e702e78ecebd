"""The manifest of a network of your own: a classifier, an anomaly model or a detector. Pure: bytes in, records out.

    bundle directory                       manifest.json (schema 2)
      manifest.json                          networks: flavour -> file      fp32, u8s8, symmetric
      network-fp32.onnx                      kind and terms: how its outputs are read
      golden.safetensors                     golden: pictures, outputs and findings they must give

Every network takes `picture` uint8 [h, w, 3] BGR; what it was trained to take (layout, colour order, scale) lies inside
the file. What it gives was brought to one form per kind when it was packed:

    classifier   scores float32 [C], probabilities
    anomaly      score float32 [1], map float32 [h', w']
    detector     boxes float32 [N, 4], scores float32 [N, C]          candidates: overlapping ones are suppressed here
              or detections float32 [M, 6]                            rows: x1, y1, x2, y2, score, class; M may vary

Boxes are left, top, right, bottom as fractions of the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from edge_agent.errors import BadBundleError
from edge_agent.models import bundle
from edge_agent.models.bundle import (
    ARRAYS_MAX_BYTES,
    CLASSES_MAX,
    ENCODER_MAX_BYTES,
    ENTRIES_MAX,
    FLAVOURS_MAX,
    INPUT_PX_MAX,
    INPUT_PX_MIN,
    NAME,
    SHA256,
    TEXT,
    TIME,
    BundleFile,
    Tolerance,
)
from edge_agent.models.fields import Field
from edge_agent.records import Canvas

SCHEMA = 2
CLASSIFIER, ANOMALY, DETECTOR = "classifier", "anomaly", "detector"
KINDS = (CLASSIFIER, ANOMALY, DETECTOR)
CANDIDATES, ROWS = "candidates", "rows"
FLOAT = "fp32"
OK, ANOMALOUS = "ok", "anomaly"
# With 32 detections of 8 models in one message a longer name would break the limit of 128 KiB.
LABEL_CHARS_MAX = 64
REQUIRED_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTerms:
    """A classifier has none: its classes say it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyTerms:
    """How the network's own score becomes 0 to 1: `score_good` is what good parts give, `score_bad` clear anomalies.

    `curve` linear: 0 at `score_good`, 1 at `score_bad`; logistic: 0.05 and 0.95 there. In the map what is not above
    `map_quiet` says nothing.
    """

    score_good: float
    score_bad: float
    curve: str
    map_quiet: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTerms:
    """`form` is candidates or rows. What is less sure than `score_min` is not seen; of candidates of one class that
    overlap by more than `iou_max` the surest stays. `required`: how many of a class a good part must show.
    """

    form: str
    score_min: float
    iou_max: float
    required: Mapping[str, int]


Terms = ClassifierTerms | AnomalyTerms | DetectorTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkManifest:
    """One bundle with a network of your own. `created` is RFC 3339 UTC; `input_px` (height, width).

    `good_classes` of a classifier are those of a good part, of a detector those that are no defect. `source_sha256` is
    the float file as it was given, before anything was built around it.
    """

    name: str
    version: str
    created: str
    kind: str
    input_px: tuple[int, int]
    letterbox: bool
    networks: Mapping[str, BundleFile]
    classes: tuple[str, ...]
    good_classes: tuple[str, ...]
    threshold: float
    hold_below: float
    terms: Terms
    golden: BundleFile
    tolerances: Mapping[str, Tolerance]
    source_sha256: str
    packages: Mapping[str, str]
    licences: tuple[str, ...]

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """Every file that belongs to the bundle, the manifest itself left out."""
        return (*self.networks.values(), self.golden)

    @property
    def canvas(self) -> Canvas:
        """The picture it takes."""
        return Canvas(px=self.input_px, letterbox=self.letterbox)

    @property
    def trained_on(self) -> str:
        """Whose pictures it knows: as a network of your own, your site's."""
        return "site"

    def flavour_for(self, wanted: str) -> str:
        """The flavour a device runs: the one its profile wants, where it was packed, else float."""
        return wanted if wanted in self.networks else FLOAT


def to_bytes(manifest: NetworkManifest) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8."""
    return bundle.canonical({"schema": SCHEMA, **asdict(manifest)})


def from_field(root: Field) -> NetworkManifest:
    """Check a parsed manifest of this schema.

    Raises:
        BadBundleError: a value is missing or out of its bounds, or two contradict one another.
    """
    height, width = root.get("input_px").items(2, 2)
    kind = root.get("kind").choice(KINDS)
    manifest = NetworkManifest(
        name=root.get("name").text(NAME),
        version=root.get("version").text(NAME),
        created=root.get("created").text(TIME),
        kind=kind,
        input_px=(height.integer(INPUT_PX_MIN, INPUT_PX_MAX), width.integer(INPUT_PX_MIN, INPUT_PX_MAX)),
        letterbox=root.get("letterbox").boolean(),
        networks={
            flavour: bundle.file_of(field, ENCODER_MAX_BYTES)
            for flavour, field in root.get("networks").entries(NAME, 1, FLAVOURS_MAX).items()
        },
        classes=tuple(item.text(TEXT) for item in root.get("classes").items(1, CLASSES_MAX)),
        good_classes=tuple(item.text(TEXT) for item in root.get("good_classes").items(0, CLASSES_MAX)),
        threshold=root.get("threshold").number(0.0, 1.0),
        hold_below=root.get("hold_below").number(0.0, 1.0),
        terms=_terms(kind, root.get("terms")),
        golden=bundle.file_of(root.get("golden"), ARRAYS_MAX_BYTES),
        tolerances=bundle.tolerances_of(root.get("tolerances")),
        source_sha256=root.get("source_sha256").text(SHA256),
        packages={name: item.text(TEXT) for name, item in root.get("packages").entries(NAME, 0, ENTRIES_MAX).items()},
        licences=tuple(item.text(TEXT) for item in root.get("licences").items(0, ENTRIES_MAX)),
    )
    _check_agreement(manifest)
    return manifest


def _terms(kind: str, field: Field) -> Terms:
    if kind == CLASSIFIER:
        return ClassifierTerms()
    if kind == ANOMALY:
        return AnomalyTerms(
            score_good=field.get("score_good").number(-1e30, 1e30),
            score_bad=field.get("score_bad").number(-1e30, 1e30),
            curve=field.get("curve").choice(("linear", "logistic")),
            map_quiet=field.get("map_quiet").number(-1e30, 1e30),
        )
    required = field.get("required").entries(TEXT, 0, CLASSES_MAX)
    return DetectorTerms(
        form=field.get("form").choice((CANDIDATES, ROWS)),
        # Rows that pad a fixed output have score 0: it must never count as seen.
        score_min=field.get("score_min").number(1e-6, 1.0),
        iou_max=field.get("iou_max").number(0.0, 1.0),
        required={name: item.integer(1, REQUIRED_MAX) for name, item in required.items()},
    )


def _check_agreement(manifest: NetworkManifest) -> None:
    """What single values cannot show."""
    names, classes, terms = [file.name for file in manifest.files], manifest.classes, manifest.terms
    longest = max(len(name) for name in classes)
    required = sorted(terms.required) if isinstance(terms, DetectorTerms) else []
    faults = {
        f"file names {names} are not all different": len(set(names)) != len(names),
        f"a file is called {bundle.MANIFEST_NAME}": bundle.MANIFEST_NAME in names,
        f"networks {sorted(manifest.networks)} have no {FLOAT}": FLOAT not in manifest.networks,
        f"classes {classes} are not all different": len(set(classes)) != len(classes),
        f"a class name has {longest} characters, at most {LABEL_CHARS_MAX}": longest > LABEL_CHARS_MAX,
        f"good_classes {manifest.good_classes} are not all among the classes": not (
            set(manifest.good_classes) <= set(classes)
        ),
        f"required {required} are not all among the good_classes": not set(required) <= set(manifest.good_classes),
        f"tolerances are for {sorted(manifest.tolerances)}, networks for {sorted(manifest.networks)}": (
            manifest.tolerances.keys() != manifest.networks.keys()
        ),
        f"hold_below {manifest.hold_below} is above threshold {manifest.threshold}": (
            manifest.hold_below > manifest.threshold
        ),
    }
    if isinstance(terms, AnomalyTerms):
        near = math.isclose(terms.score_good, terms.score_bad)
        faults[f"score_bad {terms.score_bad} is not above score_good {terms.score_good}"] = (
            terms.score_bad <= terms.score_good or near
        )
        faults[f"an anomaly model has classes {OK!r} and {ANOMALOUS!r}, not {classes}"] = classes != (OK, ANOMALOUS)
    found = [text for text, true in faults.items() if true]
    if found:
        raise BadBundleError(f"{bundle.MANIFEST_NAME}: {'; '.join(found)}")
