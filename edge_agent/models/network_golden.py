"""The golden answers of a network of your own: pictures, the outputs they gave, and what those were taken to mean.

    outputs of a fixed size     off by at most `tolerance.vector` of their length
    score                       off by at most `tolerance.score`
    what a detector found       every find that is sure enough has its counterpart: same class, overlapping, as sure

Outputs alone would not show that the program reads them otherwise than it did; findings alone would not show a network
that is nearly wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError
from edge_agent.models import arrays
from edge_agent.models.boxes import overlaps
from edge_agent.models.bundle import Tolerance
from edge_agent.models.network import LoadedNetwork, expected_outputs
from edge_agent.models.network_manifest import DetectorTerms, NetworkManifest
from edge_agent.records import Assessment, Detection

GOLDEN_MAX = arrays.GOLDEN_MAX
# Of each picture the surest finds are kept; a file of fixed size has the same number of rows for each.
FOUND_MAX = 64
_PICTURES, _SCORES, _FOUND = "pictures", "scores", "found"
# Another order of sums moves a box by less; half is what detection benchmarks call the same thing (PASCAL VOC).
_SAME_THING = 0.5

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkGolden:
    """Pictures uint8 [n, h, w, 3] BGR and, per flavour: the outputs of a fixed size by name [n, ...], the scores [n],
    and what was found [n, FOUND_MAX, 6]: left, top, right, bottom, score, class; rows of zeros fill it up.
    """

    pictures: NDArray[np.uint8] = field(repr=False)
    outputs: Mapping[str, Arrays] = field(repr=False)
    scores: Arrays = field(repr=False)
    found: Arrays = field(repr=False)


def record(pictures: NDArray[np.uint8], models: Mapping[str, LoadedNetwork]) -> NetworkGolden:
    """What these models, by flavour, answer to the pictures."""
    outputs: dict[str, Arrays] = {}
    scores, found = {}, {}
    for flavour, model in models.items():
        answers = [model.network.run(picture) for picture in pictures]
        assessments = [model.assess(answer) for answer in answers]
        outputs[flavour] = {name: np.stack([answer[name] for answer in answers]) for name in _kept(model.manifest)}
        scores[flavour] = np.array([assessment.score for assessment in assessments], np.float32)
        found[flavour] = np.stack([_table(model.manifest, assessment.detections) for assessment in assessments])
    return NetworkGolden(pictures=pictures, outputs=outputs, scores=scores, found=found)


def _kept(manifest: NetworkManifest) -> tuple[str, ...]:
    """The outputs that have one size for every picture."""
    return tuple(name for name in sorted(expected_outputs(manifest)) if name != "detections")


def _table(manifest: NetworkManifest, found: Sequence[Detection]) -> NDArray[np.float32]:
    table = np.zeros((FOUND_MAX, 6), np.float32)
    for row, each in enumerate(found[:FOUND_MAX]):
        box = each.where
        right, bottom = box.x + box.width, box.y + box.height
        table[row] = (box.x, box.y, right, bottom, each.score, manifest.classes.index(each.label))
    return table


def to_bytes(golden: NetworkGolden) -> bytes:
    """The golden file: the same bytes for the same arrays."""
    tensors: dict[str, NDArray[Any]] = {_PICTURES: golden.pictures}
    for flavour, outputs in golden.outputs.items():
        tensors |= {f"{flavour}/{name}": array for name, array in outputs.items()}
        tensors[f"{flavour}/{_SCORES}/read"] = golden.scores[flavour]
        tensors[f"{flavour}/{_FOUND}/read"] = golden.found[flavour]
    return arrays.save(tensors)


def from_bytes(content: bytes, manifest: NetworkManifest) -> NetworkGolden:
    """Parse and check a golden file against its manifest.

    Raises:
        BadBundleError: damaged, or a missing array, another dtype or shape, NaN or infinity.
    """
    tensors = arrays.load(content, "golden")
    pictures = arrays.array_of(tensors, _PICTURES, np.dtype(np.uint8), (None, *manifest.input_px, 3), "golden")
    count = len(pictures)
    if not 1 <= count <= GOLDEN_MAX:
        raise BadBundleError(f"golden: {count} pictures, expected 1 to {GOLDEN_MAX}")
    shapes, flavours = expected_outputs(manifest), sorted(manifest.networks)

    def read(name: str, *shape: int | None) -> NDArray[np.float32]:
        return arrays.array_of(tensors, name, np.dtype(np.float32), (count, *shape), "golden")

    return NetworkGolden(
        pictures=pictures,
        outputs={
            flavour: {name: read(f"{flavour}/{name}", *shapes[name]) for name in _kept(manifest)}
            for flavour in flavours
        },
        scores={flavour: read(f"{flavour}/{_SCORES}/read") for flavour in flavours},
        found={flavour: read(f"{flavour}/{_FOUND}/read", FOUND_MAX, 6) for flavour in flavours},
    )


def reproduce(model: LoadedNetwork, golden: NetworkGolden) -> None:
    """Let the model judge the golden pictures.

    Raises:
        BadBundleError: a result is further off than the tolerance; the message says by how much.
    """
    tolerance = model.manifest.tolerances[model.flavour]
    for index, picture in enumerate(golden.pictures):
        answer = model.network.run(picture)
        for name, expected in golden.outputs[model.flavour].items():
            _require_near(model, f"golden picture {index}: {name}", answer[name], expected[index], tolerance)
        assessment = model.assess(answer)
        missed = abs(assessment.score - float(golden.scores[model.flavour][index]))
        # Written so that a NaN, which compares false with anything, is refused too.
        if not missed <= tolerance.score:
            raise BadBundleError(
                f"golden picture {index}: the score is off by {missed:.2g}, allowed is {tolerance.score:.2g}"
            )
        if isinstance(model.manifest.terms, DetectorTerms):
            stranger = _stranger(model.manifest, assessment, golden.found[model.flavour][index], tolerance.score)
            if stranger:
                raise BadBundleError(f"golden picture {index}: {stranger}")


def _require_near(
    model: LoadedNetwork,
    what: str,
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    tolerance: Tolerance,
) -> None:
    if found.shape != expected.shape:
        raise BadBundleError(f"{what} is {list(found.shape)}, it was {list(expected.shape)} where it was packed")
    off = float(np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-12))
    if not off <= tolerance.vector:
        raise BadBundleError(
            f"{what} is off by {off:.2g} of its length with {model.providers_in_use[0]}, at most "
            f"{tolerance.vector:.2g} is allowed; pack a flavour that is made for this device"
        )


def _stranger(
    manifest: NetworkManifest, assessment: Assessment, expected: NDArray[np.float32], slack: float
) -> str | None:
    """A find of either side that has no counterpart on the other, in words; None where all have."""
    terms = manifest.terms
    assert isinstance(terms, DetectorTerms)  # noqa: S101 - for the type checker; the caller asked
    found = _table(manifest, assessment.detections)
    for one, other, words in ((found, expected, "found that was not there"), (expected, found, "no longer found")):
        # What is barely seen may be missed on the other side; what is cut off at FOUND_MAX too.
        for row in one[one[:, 4] >= terms.score_min + slack][: FOUND_MAX // 2]:
            near = (
                (overlaps(row[None, :4], other[:, :4])[0] >= _SAME_THING)
                & (other[:, 5] == row[5])
                & (np.abs(other[:, 4] - row[4]) <= slack)
                & (other[:, 4] > 0)
            )
            if not near.any():
                box = ", ".join(f"{side:.2f}" for side in row[:4])
                return f"a {manifest.classes[int(row[5])]!r} of score {row[4]:.2f} at {box} is {words}"
    return None
