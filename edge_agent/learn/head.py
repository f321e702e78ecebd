"""The linear head: what turns the encoder's feature vector into classes, a defect probability and two thresholds.

    vector [D] --standardise--> z [D] --weights, bias--> logits [C] --temperature, softmax--> probabilities [C]
    score = sum of the probabilities of the classes that are not good

Standardisation and temperature are affine, so they are folded into one matrix when a head is made: judging a part
costs one [D] x [D, C] product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError
from edge_agent.records import Assessment, Features

# A head is a few classes over a few thousand numbers: what is larger did not come from us.
CLASSES_MAX = 256
FEATURES_MAX = 16_384
FORMAT = "edge-agent/linear-head/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """Weights, class names, calibration and thresholds of one classifier.

    `weights` float32 [D, C], `bias` float32 [C] act on (vector - mean) / scale, `mean` and `scale` float32 [D].
    `temperature` divides the logits. A part whose defect probability is >= `threshold` is a FAIL, one between
    `hold_below` and `threshold` a HOLD. `good_classes` names the classes that may PASS.

    A head without good classes knows only kinds of defects: every part is a defect (score exactly 1), the label says
    which kind.

    Raises:
        BadBundleError: shapes, numbers or names do not fit together; whoever made the head is at fault.
    """

    classes: tuple[str, ...]
    good_classes: frozenset[str]
    weights: NDArray[np.float32] = field(repr=False)
    bias: NDArray[np.float32] = field(repr=False)
    mean: NDArray[np.float32] = field(repr=False)
    scale: NDArray[np.float32] = field(repr=False)
    temperature: float = 1.0
    threshold: float = 0.5
    hold_below: float = 0.5
    folded_weights: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    folded_bias: NDArray[np.float32] = field(init=False, repr=False, compare=False)
    bad: NDArray[np.bool_] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        gain = 1.0 / (self.scale.astype(np.float64) * self.temperature)
        folded = self.weights.astype(np.float64) * gain[:, None]
        bias = self.bias.astype(np.float64) / self.temperature - self.mean.astype(np.float64) @ folded
        bad = np.array([name not in self.good_classes for name in self.classes])
        for name, array in (
            # [C, D] in C order: the product then runs along memory.
            ("folded_weights", np.ascontiguousarray(folded.T.astype(np.float32))),
            ("folded_bias", bias.astype(np.float32)),
            ("bad", bad),
        ):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def dimension(self) -> int:
        """D, the length of the feature vector that the head expects."""
        return int(self.weights.shape[0])


def logits(head: LinearHead, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Calibrated logits (divided by the temperature): float32 [C] from [D], or [n, C] from [n, D]."""
    result: NDArray[np.float32] = vector @ head.folded_weights.T + head.folded_bias
    return result


def probabilities(head: LinearHead, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax of the calibrated logits: float32 [C] or [n, C], each row sums to 1 (NaN if not finite)."""
    # Infinity less infinity is the NaN that we promise, not a surprise worth a warning.
    with np.errstate(invalid="ignore", over="ignore"):
        raw = logits(head, vector)
        powers = np.exp(raw - raw.max(axis=-1, keepdims=True))
    result: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def defect_scores(head: LinearHead, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probability of any class that is not good: float32 [n] from [n, D]."""
    chances = probabilities(head, vectors)
    scores: NDArray[np.float32] = np.minimum(chances[..., head.bad].sum(axis=-1), np.float32(1.0))
    if head.bad.all():
        scores[~np.isnan(scores)] = 1.0
    return scores


def assess(head: LinearHead, features: Features) -> Assessment:
    """What the head says of one part: most likely class, probability of a defect, no heat (see inspect/localise).

    A vector with NaN or infinity gives a NaN score, which `decide` never passes.
    """
    chances = probabilities(head, features.vector)
    best = int(chances.argmax())
    if np.isnan(chances[best]):
        score = float("nan")
    elif head.bad.all():
        score = 1.0
    else:
        score = min(1.0, float(chances @ head.bad))
    return Assessment(label=head.classes[best], score=score)


def to_arrays(head: LinearHead) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Tensors and metadata of a safetensors file: all that `from_arrays` needs."""
    tensors = {"weights": head.weights, "bias": head.bias, "mean": head.mean, "scale": head.scale}
    about = {
        "classes": list(head.classes),
        "good_classes": sorted(head.good_classes),
        "temperature": head.temperature,
        "threshold": head.threshold,
        "hold_below": head.hold_below,
    }
    return tensors, {"format": FORMAT, "head": json.dumps(about, sort_keys=True)}


def from_arrays(tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str]) -> LinearHead:
    """The head that `to_arrays` described, from bytes we do not trust.

    Raises:
        BadBundleError: another format, a missing part, or contents that do not fit together.
    """
    if metadata.get("format") != FORMAT:
        raise BadBundleError(f"head: format {metadata.get('format')!r}, expected {FORMAT!r}; rebuild the bundle")
    try:
        about = json.loads(metadata["head"])
        return LinearHead(
            classes=tuple(str(name) for name in about["classes"]),
            good_classes=frozenset(str(name) for name in about["good_classes"]),
            weights=tensors["weights"],
            bias=tensors["bias"],
            mean=tensors["mean"],
            scale=tensors["scale"],
            temperature=float(about["temperature"]),
            threshold=float(about["threshold"]),
            hold_below=float(about["hold_below"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadBundleError(
            f"head: damaged description ({type(error).__name__}: {error}); rebuild the bundle"
        ) from error


def _check(head: LinearHead) -> None:
    count = len(head.classes)
    if not 1 <= count <= CLASSES_MAX or len(set(head.classes)) != count or not all(head.classes):
        raise BadBundleError(f"head: {count} classes {head.classes[:8]}, expected 1 to {CLASSES_MAX} different names")
    strangers = sorted(head.good_classes - set(head.classes))
    if strangers:
        raise BadBundleError(f"head: good classes {strangers} are not among the classes {head.classes}")
    if head.weights.ndim != 2 or not 1 <= head.weights.shape[0] <= FEATURES_MAX:
        raise BadBundleError(f"head: weights of shape {head.weights.shape}, expected [1..{FEATURES_MAX}, {count}]")
    size = head.weights.shape[0]
    expected = {"weights": (size, count), "bias": (count,), "mean": (size,), "scale": (size,)}
    for name, shape in expected.items():
        array: NDArray[np.float32] = getattr(head, name)
        if array.dtype != np.float32 or array.shape != shape:
            raise BadBundleError(f"head: {name} is {array.dtype} {array.shape}, expected float32 {shape}")
        if not np.isfinite(array).all():
            raise BadBundleError(f"head: {name} holds NaN or infinity; solve the head again")
    if not (head.scale > 0).all():
        raise BadBundleError("head: scale holds zero or negative numbers; constant features get scale 1")
    if not (np.isfinite(head.temperature) and head.temperature > 0):
        raise BadBundleError(f"head: temperature {head.temperature}, expected a positive number")
    if not 0.0 <= head.hold_below <= head.threshold <= 1.0:
        raise BadBundleError(
            f"head: hold_below {head.hold_below} and threshold {head.threshold}, expected 0 <= hold_below <= threshold"
            " <= 1"
        )
