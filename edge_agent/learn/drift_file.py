"""A camera's drift over a restart: charts and finding as JSON, the features that were learned as arrays. Pure.

The arrays are written once, after learning; the JSON is 3 kB and names them by their sha256, so that charts never meet
the features of another learning.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import CorruptStoreError
from edge_agent.learn.drift import SIGN_OF, Cause, Kind
from edge_agent.learn.drift_chart import Chart
from edge_agent.learn.drift_measure import Familiar, Labels, Measure, Readings
from edge_agent.learn.drift_monitor import Finding, Known
from edge_agent.learn.gaussian import Gaussian

VERSION = 1
MOST_JSON_BYTES = 256 * 1024
_ARRAYS = {"mean": 1, "gain": 1, "axes": 2, "inverse": 1, "rest": 1}

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a camera."""

    known: Mapping[Kind, Known] = field(default_factory=dict)
    finding: Finding | None = None


def arrays_of(kept: Kept) -> dict[str, NDArray[np.float32]] | None:
    """The features that were learned; None where none were."""
    known = kept.known.get(Kind.FEATURES)
    if known is None or not isinstance(known.measure, Familiar):
        return None
    gaussian = known.measure.gaussian
    rest = np.array([gaussian.rest], np.float32)
    return {
        "mean": gaussian.mean,
        "gain": gaussian.gain,
        "axes": gaussian.axes,
        "inverse": gaussian.inverse,
        "rest": rest,
    }


def digest_of(arrays: Arrays | None) -> str | None:
    """sha256 of the arrays."""
    if arrays is None:
        return None
    found = hashlib.sha256()
    for name in _ARRAYS:
        found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()


def to_json(kept: Kept) -> bytes:
    """Everything but the arrays, as UTF-8 JSON."""
    plain = {
        "version": VERSION,
        "features": digest_of(arrays_of(kept)),
        "finding": None if kept.finding is None else [kept.finding.cause.value, kept.finding.text],
        "known": {kind.value: _plain(known) for kind, known in kept.known.items()},
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def _plain(known: Known) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "key": known.key,
        "charts": {
            name: [c.centre, c.spread, c.above, c.below, c.up_batches, c.down_batches, c.now]
            for name, c in known.charts.items()
        },
    }
    if isinstance(known.measure, Labels):
        plain["labels"] = [[label, bits] for label, bits in known.measure.bits.items()]
        plain["other"] = known.measure.other
    return plain


def from_json(content: bytes, arrays: Arrays | None) -> Kept:
    """What `to_json` wrote beside `arrays`; without features where these are not the ones that it names.

    Raises:
        CorruptStoreError: it is nothing of ours, or of another version.
    """
    if len(content) > MOST_JSON_BYTES:
        raise CorruptStoreError(f"{len(content)} bytes, drift has at most {MOST_JSON_BYTES}")
    try:
        plain = json.loads(content)
        if plain["version"] != VERSION:
            raise CorruptStoreError(f"version {plain['version']!r}, expected {VERSION}")
        finding = plain["finding"]
        found = {Kind(kind): one for kind, one in plain["known"].items()}
        if plain["features"] is None or plain["features"] != digest_of(arrays):
            found.pop(Kind.FEATURES, None)
        known = {kind: _known(kind, one, arrays) for kind, one in found.items()}
        return Kept(
            known=known,
            finding=None if finding is None else Finding(cause=Cause(finding[0]), text=str(finding[1])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise CorruptStoreError(f"not the drift of a camera: {error!r}") from error


def _known(kind: Kind, plain: Any, arrays: Arrays | None) -> Known:
    charts = {str(name): _chart(numbers) for name, numbers in plain["charts"].items()}
    strange = sorted(charts.keys() - SIGN_OF.keys())
    if strange:
        raise ValueError(f"charts of {strange}, which are no numbers of ours")
    return Known(key=str(plain["key"]), measure=_measure(kind, plain, arrays), charts=charts)


def _chart(numbers: Any) -> Chart:
    centre, spread, above, below, up, down, now = (_finite(number) for number in numbers)
    if spread <= 0 or min(above, below, up, down) < 0:
        raise ValueError(f"chart {numbers}: expected a spread above 0 and no sum below it")
    return Chart(
        centre=centre, spread=spread, above=above, below=below, up_batches=int(up), down_batches=int(down), now=now
    )


def _measure(kind: Kind, plain: Any, arrays: Arrays | None) -> Measure:
    if kind is Kind.VERDICTS:
        bits = {None if label is None else str(label): _finite(number) for label, number in plain["labels"]}
        return Labels(bits=bits, other=_finite(plain["other"]))
    if kind is Kind.PICTURES:
        return Readings()
    if arrays is None:
        raise ValueError("features without their arrays")
    return Familiar(gaussian=_gaussian(arrays))


def _gaussian(arrays: Arrays) -> Gaussian:
    for name, dimensions in _ARRAYS.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.ndim != dimensions or not np.isfinite(array).all():
            raise ValueError(f"{name}: {array.dtype} {array.shape}, expected finite float32 of {dimensions} dimensions")
    size, axes = len(arrays["mean"]), len(arrays["inverse"])
    if arrays["gain"].shape != (size,) or arrays["axes"].shape != (axes, size) or arrays["rest"].shape != (1,):
        raise ValueError(f"arrays of {size} features and {axes} axes do not fit together")
    return Gaussian(
        mean=arrays["mean"],
        gain=arrays["gain"],
        axes=arrays["axes"],
        inverse=arrays["inverse"],
        rest=float(arrays["rest"][0]),
    )


def _finite(number: object) -> float:
    value = float(number)  # type: ignore[arg-type]  # what JSON holds may be anything: then TypeError
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value
