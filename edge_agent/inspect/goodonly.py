"""A camera without a trained head: the first parts are taken as good, then what is unlike them is flagged.

    LEARNING --observe x wanted--> fit --> two distances, each in robust spreads of the good parts:
        vector: shrunk Gaussian over the whole picture     (light, colour, texture)
        places: nearest entry of a bank of good places     (small defects; also says where)
    excess = max(0.6 * vector, places);  score = 1 / (1 + exp(limit - excess));  0.5 is the limit

Everything that sets the limit comes from distances of parts that were left out, so it holds for new good parts. A part
or two that were not good among the first ones stand out against the others and are left out of the fit.
Choice and figures: docs/learning.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError
from edge_agent.learn.gaussian import Gaussian, distances, fit_gaussian, held_out_distances
from edge_agent.learn.patches import PatchBank, fit_bank, patch_distances
from edge_agent.records import Assessment, Features, HoldReason

FORMAT = "edge-agent/good-only/1"
OK, UNLIKE = "ok", "unlike-good"

PARTS_WANTED = 50
# Fewer give no spread worth the name; more cost memory (88 KB a part) and time, and gained nothing from 80 on.
PARTS_MIN, PARTS_MAX = 10, 200
# The vector's distance counts less: alone it misses small defects, and its tail is the heavier one.
VECTOR_WEIGHT = 0.6
# A picture's distance is the mean of its most distant places: one alone is noise.
TOP_PLACES = 5
# In robust spreads above the median: the limit for new parts, and where a learning part is no longer believed good.
LIMIT = 3.0
# The spread of n parts is itself uncertain: the limit is LIMIT * (1 + SMALL_SAMPLE / n).
SMALL_SAMPLE = 5.0
OUTLIER = 4.0
OUTLIERS_MAX_SHARE = 0.1
# Places nearer than this share of good places are no part of the heat.
QUIET_SHARE = 0.95
# Spread of log distances below which parts count as alike: 2 %.
SPREAD_MIN = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where the logarithms of good parts' distances lie: median and robust spread (1.4826 * MAD)."""

    middle: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodModel:
    """What good parts look like. `quiet` is the distance below which a place says nothing; `limit` is in spreads;
    `parts` were learned from; `map_size` is height and width of the feature map.
    """

    gaussian: Gaussian = field(repr=False)
    patches: PatchBank = field(repr=False)
    vector_scale: Scale
    places_scale: Scale
    limit: float
    quiet: float
    parts: int
    map_size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodOnlyState:
    """Learning while `model` is None: `seen` are the good parts so far, `wanted` how many it takes.

    `encoder` is the digest of the encoder whose features these are: another encoder's features mean nothing here.
    """

    encoder: str
    wanted: int = PARTS_WANTED
    seen: tuple[Features, ...] = field(default=(), repr=False)
    model: GoodModel | None = None

    def __post_init__(self) -> None:
        if not PARTS_MIN <= self.wanted <= PARTS_MAX:
            raise ValueError(f"good-only start with {self.wanted} parts, expected {PARTS_MIN} to {PARTS_MAX}")


def observe(state: GoodOnlyState, features: Features) -> tuple[GoodOnlyState, Assessment]:
    """Take one more part: learn from it, or judge it. The last part to learn from costs the fit (about 60 ms).

    A part whose features are not finite is neither learned from nor judged (HOLD, model).

    Raises:
        BadBundleError: the features have another shape than those before: another encoder is at work.
    """
    _check_shape(state, features)
    if not (np.isfinite(features.vector).all() and np.isfinite(features.map).all()):
        return state, Assessment(label=OK, score=math.nan, hold=HoldReason.MODEL)
    if state.model is not None:
        return state, judge(state.model, features)
    # A copy: the encoder may use its output buffers again.
    kept = Features(vector=features.vector.copy(), map=features.map.copy())
    state = replace(state, seen=(*state.seen, kept))
    if len(state.seen) >= state.wanted:
        state = replace(state, seen=(), model=fit(state.seen))
    return state, Assessment(label=OK, score=0.0, hold=HoldReason.LEARNING)


def _check_shape(state: GoodOnlyState, features: Features) -> None:
    if state.model is not None:
        vector: tuple[int, ...] = state.model.gaussian.mean.shape
        places: tuple[int, ...] = (*state.model.map_size, len(state.model.patches.mean))
    elif state.seen:
        vector, places = state.seen[0].vector.shape, state.seen[0].map.shape
    else:
        return
    if (features.vector.shape, features.map.shape) != (vector, places):
        raise BadBundleError(
            f"good-only model: features of shape {features.vector.shape} and {features.map.shape}, learned from "
            f"{vector} and {places}; start learning again with this encoder"
        )


def judge(model: GoodModel, features: Features) -> Assessment:
    """How unlike the good parts this one is: score 0 to 1, 0.5 at the limit, one spread more or less is a factor e."""
    vector = float(distances(model.gaussian, features.vector[None])[0])
    cells = patch_distances(model.patches, features.map)
    excess = float(_excess(np.array([vector]), _top(cells[None]), model.vector_scale, model.places_scale)[0])
    # The logistic function, written so that no argument overflows.
    score = 0.5 * (1.0 + math.tanh(0.5 * (excess - model.limit)))
    heat = np.maximum(cells - np.float32(model.quiet), np.float32(0.0))
    return Assessment(label=UNLIKE if score >= 0.5 else OK, score=score, heat=heat)


def fit(parts: tuple[Features, ...]) -> GoodModel:
    """The model of these good parts, of which up to a tenth may be left out as outliers."""
    vectors = np.stack([part.vector for part in parts])
    maps = np.stack([part.map for part in parts])
    model, excess = _fit_all(vectors, maps)
    worst = np.argsort(-excess)[: int(OUTLIERS_MAX_SHARE * len(parts))]
    outliers = worst[excess[worst] > OUTLIER]
    if len(outliers):
        keep = np.setdiff1d(np.arange(len(parts)), outliers)
        model, _ = _fit_all(vectors[keep], maps[keep])
    return model


def _fit_all(vectors: NDArray[np.float32], maps: NDArray[np.float32]) -> tuple[GoodModel, NDArray[np.float64]]:
    """The model of all these parts, and each part's excess as if it had been left out, in spreads above the median."""
    patches, cells = fit_bank(maps)
    vector, places = held_out_distances(vectors), _top(cells)
    vector_scale, places_scale = _scale(np.log(np.maximum(vector, 1e-9))), _scale(np.log(np.maximum(places, 1e-9)))
    excess = _excess(vector, places, vector_scale, places_scale)
    over = _scale(excess)
    model = GoodModel(
        gaussian=fit_gaussian(vectors),
        patches=patches,
        vector_scale=vector_scale,
        places_scale=places_scale,
        limit=over.middle + LIMIT * (1.0 + SMALL_SAMPLE / len(vectors)) * over.spread,
        quiet=float(np.quantile(cells, QUIET_SHARE)),
        parts=len(vectors),
        map_size=(maps.shape[1], maps.shape[2]),
    )
    return model, (excess - over.middle) / over.spread


def _top(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the most distant places of each map: float32 [n] from [n, h, w]."""
    flat = cells.reshape(len(cells), -1)
    top = min(TOP_PLACES, flat.shape[1])
    result: NDArray[np.float32] = np.partition(flat, -top, axis=1)[:, -top:].mean(axis=1)
    return result


def _scale(values: NDArray[np.floating]) -> Scale:
    middle = float(np.median(values))
    return Scale(middle=middle, spread=max(1.4826 * float(np.median(np.abs(values - middle))), SPREAD_MIN))


def _excess(
    vector: NDArray[np.floating], places: NDArray[np.floating], vector_scale: Scale, places_scale: Scale
) -> NDArray[np.float64]:
    """The larger of the two distances, each in spreads of the good parts: float64 [n]."""
    # Distances are positive with a long tail: their logarithms are nearly normal.
    of_vector = (np.log(np.maximum(vector, 1e-9, dtype=np.float64)) - vector_scale.middle) / vector_scale.spread
    of_places = (np.log(np.maximum(places, 1e-9, dtype=np.float64)) - places_scale.middle) / places_scale.spread
    result: NDArray[np.float64] = np.maximum(VECTOR_WEIGHT * of_vector, of_places)
    return result


def to_arrays(state: GoodOnlyState) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Tensors and metadata of a safetensors file: all that `from_arrays` needs, while learning and after."""
    about: dict[str, object] = {"encoder": state.encoder, "wanted": state.wanted}
    model = state.model
    if model is None:
        tensors = {}
        if state.seen:
            tensors["seen_vectors"] = np.stack([part.vector for part in state.seen])
            tensors["seen_maps"] = np.stack([part.map for part in state.seen])
    else:
        tensors = {
            "gaussian_mean": model.gaussian.mean,
            "gaussian_gain": model.gaussian.gain,
            "gaussian_axes": model.gaussian.axes,
            "gaussian_inverse": model.gaussian.inverse,
            "patch_mean": model.patches.mean,
            "patch_whiten": model.patches.whiten,
            "patch_bank": model.patches.bank,
        }
        about["model"] = {
            "rest": model.gaussian.rest,
            "vector_scale": [model.vector_scale.middle, model.vector_scale.spread],
            "places_scale": [model.places_scale.middle, model.places_scale.spread],
            "limit": model.limit,
            "quiet": model.quiet,
            "parts": model.parts,
            "map_size": list(model.map_size),
        }
    # safetensors 0.8 writes an array's memory as it lies: one in column order would come back as another array.
    ordered = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    return ordered, {"format": FORMAT, "state": json.dumps(about, sort_keys=True)}


def from_arrays(tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str], encoder: str) -> GoodOnlyState:
    """The state that `to_arrays` described, for the encoder with digest `encoder`; the bytes are not trusted.

    Raises:
        BadBundleError: another format, another encoder, or contents that do not fit together. Start learning again.
    """
    if metadata.get("format") != FORMAT:
        raise BadBundleError(f"good-only state: format {metadata.get('format')!r}, expected {FORMAT!r}; learn again")
    try:
        about = json.loads(metadata["state"])
        if about["encoder"] != encoder:
            raise BadBundleError(
                f"good-only state: learned with encoder {about['encoder']!r}, active is {encoder!r}; learn again"
            )
        model = _model_from(tensors, about["model"]) if "model" in about else None
        seen = () if model is not None else _seen_from(tensors)
        return GoodOnlyState(encoder=encoder, wanted=int(about["wanted"]), seen=seen, model=model)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise BadBundleError(f"good-only state: damaged ({type(error).__name__}: {error}); learn again") from error


def _seen_from(tensors: Mapping[str, NDArray[np.float32]]) -> tuple[Features, ...]:
    if not tensors:
        return ()
    vectors, maps = _checked(tensors, "seen_vectors", 2), _checked(tensors, "seen_maps", 4)
    if len(vectors) != len(maps) or len(vectors) > PARTS_MAX:
        raise ValueError(f"{len(vectors)} vectors and {len(maps)} maps, expected as many, at most {PARTS_MAX}")
    return tuple(Features(vector=vector, map=places) for vector, places in zip(vectors, maps, strict=True))


def _model_from(tensors: Mapping[str, NDArray[np.float32]], about: Mapping[str, Any]) -> GoodModel:
    gaussian = Gaussian(
        mean=_checked(tensors, "gaussian_mean", 1),
        gain=_checked(tensors, "gaussian_gain", 1),
        axes=_checked(tensors, "gaussian_axes", 2),
        inverse=_checked(tensors, "gaussian_inverse", 1),
        rest=_number(about["rest"]),
    )
    patches = PatchBank(
        mean=_checked(tensors, "patch_mean", 1),
        whiten=_checked(tensors, "patch_whiten", 2),
        bank=_checked(tensors, "patch_bank", 2),
    )
    size, channels = len(gaussian.mean), len(patches.mean)
    expected = {
        "gaussian_gain": (gaussian.gain, (size,)),
        "gaussian_axes": (gaussian.axes, (len(gaussian.inverse), size)),
        "patch_whiten": (patches.whiten, (channels, channels)),
        "patch_bank": (patches.bank, (len(patches.bank), channels)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    vector_scale, places_scale = (
        Scale(middle=_number(about[name][0]), spread=_number(about[name][1]))
        for name in ("vector_scale", "places_scale")
    )
    if min(vector_scale.spread, places_scale.spread) < SPREAD_MIN:
        raise ValueError(f"spreads {vector_scale.spread} and {places_scale.spread}, expected at least {SPREAD_MIN}")
    height, width = (int(number) for number in about["map_size"])
    return GoodModel(
        gaussian=gaussian,
        patches=patches,
        vector_scale=vector_scale,
        places_scale=places_scale,
        limit=_number(about["limit"]),
        quiet=_number(about["quiet"]),
        parts=int(about["parts"]),
        map_size=(height, width),
    )


def _number(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]  # what JSON holds may be anything: then TypeError
    if not math.isfinite(number):
        raise ValueError(f"{number} is not finite")
    return number


def _checked(tensors: Mapping[str, NDArray[np.float32]], name: str, dimensions: int) -> NDArray[np.float32]:
    array = tensors[name]
    if array.dtype != np.float32 or array.ndim != dimensions or array.size == 0:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 with {dimensions} dimensions")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array
