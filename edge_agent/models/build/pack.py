"""Packs a network of your own into a bundle: wrapped, vetted as a gateway will vet it, run once for its golden answers.

declaration, ONNX files --wrap--> network-FLAVOUR.onnx --vet, run on golden pictures--> golden.safetensors, manifest
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare_for, read_picture
from edge_agent.capture.synthetic import PLANTS, SyntheticLine
from edge_agent.clock import rfc3339
from edge_agent.errors import BadBundleError, BadPictureError
from edge_agent.models import bundle, manifests, network_golden, network_manifest
from edge_agent.models.build.declaration import Declaration
from edge_agent.models.build.wrap import wrap
from edge_agent.models.bundle import ARRAYS_MAX_BYTES, BundleFile, Tolerance
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.network import LoadedNetwork, Network, require_outputs
from edge_agent.models.network_manifest import (
    ANOMALOUS,
    ANOMALY,
    CANDIDATES,
    DETECTOR,
    FLOAT,
    OK,
    ROWS,
    AnomalyTerms,
    ClassifierTerms,
    DetectorTerms,
    NetworkManifest,
    Terms,
)
from edge_agent.models.vet import vet
from edge_agent.models.vetting import VetReport
from edge_agent.storage import replace_file

# As of the encoder: float kernels differ in the order of their sums, integers where a device has no VNNI.
TOLERANCES = {
    FLOAT: Tolerance(vector=1e-3, score=0.01),
    "u8s8": Tolerance(vector=0.05, score=0.2),
    "symmetric": Tolerance(vector=0.15, score=0.3),
}
_SYNTHETIC_PICTURES = 3
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_PACKAGES = ("numpy", "onnx", "onnxruntime", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was packed, and what each golden picture was taken for by the float network: label and score."""

    digest: str
    manifest: NetworkManifest
    golden: tuple[tuple[str, float], ...]


def pack(
    declared: Declaration,
    directory: Path,
    created_utc_s: float,
    vetting: Callable[[bytes], VetReport] = vet,
) -> Packed:
    """Write a bundle into `directory`.

    Raises:
        BadBundleError: a network is not what the declaration says, or breaks a rule for models.
        BadPictureError: a golden picture cannot be read.
        StorageFullError, StorageReadOnlyError: it could not be written.
    """
    wrapped = {flavour: wrap(path, declared) for flavour, path in declared.networks.items()}
    sizes = {each.input_px for each in wrapped.values()}
    if len(sizes) != 1:
        raise BadBundleError(f"the networks take pictures of {sorted(sizes)} px, expected one size for all flavours")
    contents = {f"network-{flavour}.onnx": each.content for flavour, each in wrapped.items()}
    files = {name: bundle.describe(content, name) for name, content in contents.items()}
    # What the golden file will be is not known yet; nothing that reads the networks looks at it.
    manifest = manifest_of(declared, sizes.pop(), files, bundle.describe(b"", "golden.safetensors"), created_utc_s)
    models = {}
    for flavour, file in manifest.networks.items():
        require_outputs(manifest, dict(vetting(contents[file.name]).outputs), file.name)
        network = Network.from_bytes(contents[file.name], manifest, RuntimeOptions())
        models[flavour] = LoadedNetwork(digest="", flavour=flavour, manifest=manifest, network=network)
    golden = network_golden.record(golden_pictures(declared.golden, manifest), models)
    _require_answers(golden)
    contents["golden.safetensors"] = network_golden.to_bytes(golden)
    if len(contents["golden.safetensors"]) > ARRAYS_MAX_BYTES:
        raise BadBundleError(
            f"the golden answers take {len(contents['golden.safetensors'])} bytes, at most {ARRAYS_MAX_BYTES} are "
            "taken; give fewer golden pictures"
        )
    described = bundle.describe(contents["golden.safetensors"], "golden.safetensors")
    manifest = manifest_of(declared, manifest.input_px, files, described, created_utc_s)
    manifest_bytes = network_manifest.to_bytes(manifest)
    # Read as a gateway would, before anything is written.
    manifests.read(manifest_bytes)
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        replace_file(directory / name, content)
    replace_file(directory / bundle.MANIFEST_NAME, manifest_bytes)
    labels = [models[FLOAT].assess(models[FLOAT].network.run(picture)).label for picture in golden.pictures]
    scores = golden.scores[FLOAT].tolist()
    return Packed(
        digest=bundle.digest(manifest_bytes), manifest=manifest, golden=tuple(zip(labels, scores, strict=True))
    )


def golden_pictures(folder: Path | None, manifest: NetworkManifest) -> NDArray[np.uint8]:
    """The pictures of a folder as the network takes them, uint8 [n, h, w, 3]; parts of the synthetic line for None.

    Raises:
        BadPictureError: none is there, or one cannot be read.
    """
    if folder is None:
        lines = [SyntheticLine(plant, 0, defect_share=0.5) for plant in sorted(PLANTS)]
        images = [lines[number % len(lines)].part(number).image for number in range(_SYNTHETIC_PICTURES)]
    else:
        if not folder.is_dir():
            raise BadPictureError(f"{folder}: no such folder; golden names one with 1 to 16 pictures")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
        if not 1 <= len(paths) <= network_golden.GOLDEN_MAX:
            raise BadPictureError(
                f"{folder}: {len(paths)} pictures, expected 1 to {network_golden.GOLDEN_MAX} ({', '.join(_PICTURES)})"
            )
        images = [read_picture(path) for path in paths]
    return np.stack([prepare_for(image, manifest.canvas) for image in images])


def _require_answers(golden: network_golden.NetworkGolden) -> None:
    for flavour, scores in golden.scores.items():
        if not np.isfinite(scores).all():
            raise BadBundleError(
                f"{flavour}: for golden picture {int(np.argmin(np.isfinite(scores)))} the network gives no usable "
                "answer (not finite, or no probabilities although `classifier.gives` says so)"
            )


def manifest_of(
    declared: Declaration,
    input_px: tuple[int, int],
    files: dict[str, BundleFile],
    golden: BundleFile,
    created_utc_s: float,
) -> NetworkManifest:
    """What a bundle of these files says of itself."""
    anomaly = declared.kind == ANOMALY
    return NetworkManifest(
        name=declared.name,
        version=declared.version,
        created=rfc3339(created_utc_s),
        kind=declared.kind,
        input_px=input_px,
        letterbox=declared.input.letterbox,
        networks={flavour: files[f"network-{flavour}.onnx"] for flavour in declared.networks},
        classes=(OK, ANOMALOUS) if anomaly else declared.classes,
        good_classes=(OK,) if anomaly else declared.good,
        threshold=declared.threshold,
        hold_below=declared.band,
        terms=_terms(declared),
        golden=golden,
        tolerances={flavour: TOLERANCES[flavour] for flavour in declared.networks},
        source_sha256=hashlib.sha256(declared.networks["fp32"].read_bytes()).hexdigest(),
        packages=_versions(_PACKAGES),
        licences=declared.licences,
    )


def _versions(packages: Sequence[str]) -> dict[str, str]:
    # On a Jetson ONNX Runtime and OpenCV come as packages of other names.
    return {name: each.version for name in packages for each in metadata.distributions(name=name)}


def _terms(declared: Declaration) -> Terms:
    if declared.kind == ANOMALY and declared.anomaly is not None:
        keys = declared.anomaly
        quiet = keys.score_good if keys.map_quiet is None else keys.map_quiet
        return AnomalyTerms(score_good=keys.score_good, score_bad=keys.score_bad, curve=keys.curve, map_quiet=quiet)
    if declared.kind == DETECTOR and declared.detector is not None:
        found = declared.detector
        return DetectorTerms(
            form=ROWS if found.form == "rows" else CANDIDATES,
            score_min=found.score_min,
            iou_max=found.iou_max,
            required=dict(found.required),
        )
    return ClassifierTerms()
