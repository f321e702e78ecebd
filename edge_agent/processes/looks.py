"""What models say of pictures whose truth is known, and how long a look takes: for the gate and for `models compare`.

    picture --prepare--> canvas --network, once for models that share it--> answer --head or terms--> Said

A look here is what it is on the line: preparing, network, head, and where a defect is, if it may be one.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare_for
from edge_agent.clock import Clock
from edge_agent.errors import InferenceError, RefusedError
from edge_agent.inspect.assessors import HeadAssessor
from edge_agent.learn.judging import NOTHING, Said, Terms
from edge_agent.models.loading import AnyModel
from edge_agent.models.network import LoadedNetwork
from edge_agent.models.network_manifest import ANOMALY, OK, DetectorTerms
from edge_agent.records import Assessment, Canvas

log = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Network = tuple[str, str, Canvas]  # the file's hash, the flavour, the picture it takes
OnDone = Callable[[int], None]

# The median of so many looks is steady to a few per cent; a device that takes longer than this for them has shown it.
LOOKS = 40
LOOKS_MIN = 5
LOOKS_S = 5.0
# The first runs of a session plan their memory.
WARM_UP = 3
# So many pictures, whole frames of up to 36 MB, are kept to be looked at again and again.
KEPT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a picture shows, and the picture: uint8 [h, w, 3], BGR; or what networks made of it when they saw it before,
    by `Looker.network`. Whoever's answer is not there looks at the picture.
    """

    truth: str
    image: Image | None = field(default=None, repr=False)
    answers: Mapping[Network, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What each model said of the parts, in the order of `truths`; `images` are the first few of the pictures."""

    truths: tuple[str, ...]
    said: tuple[tuple[Said, ...], ...]
    images: tuple[Image, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a look takes: the median, and what 95 of 100 looks stay below."""

    median_ms: float
    p95_ms: float


class Looker:
    """A loaded model as the line uses it."""

    def __init__(self, model: AnyModel) -> None:
        self.model = model
        self.terms = terms_of(model)
        manifest = model.manifest
        # Whoever has the same of all three gives the same answer.
        self.network: Network = (manifest.networks[model.flavour].sha256, model.flavour, model.canvas)
        self._assess: Callable[[Any], Assessment]
        self._point: Callable[[Any], Assessment]  # and says where
        if isinstance(model, LoadedNetwork):
            self._run: Callable[[Image], Any] = model.network.run
            self._assess = self._point = model.assess
        else:
            self._run = model.encoder.encode
            asked_from = min(model.manifest.hold_below, model.manifest.threshold)
            assessor = HeadAssessor(model.head, model.manifest.features.map_slice.start, asked_from)
            self._assess, self._point = assessor.without_heat.assess, assessor.assess

    def answer(self, image: Image) -> Any:
        """What the network makes of a picture; only `said` of a looker with the same network reads it.

        Raises:
            InferenceError, RefusedError: nothing.
        """
        return self._run(prepare_for(image, self.model.canvas))

    def look(self, image: Image) -> None:
        """All that is done for a picture on the line."""
        self._point(self.answer(image))

    def said(self, answer: Any) -> Said:
        """What the model says of it."""
        assessment = self._assess(answer)
        return Said(label=assessment.label, score=assessment.score)


def terms_of(model: AnyModel) -> Terms:
    """What the model knows of parts. A detector and an anomaly model call a good part "ok"."""
    manifest = model.manifest
    classes, good = frozenset(manifest.classes), frozenset(manifest.good_classes)
    if isinstance(model, LoadedNetwork) and (
        isinstance(model.manifest.terms, DetectorTerms) or model.manifest.kind == ANOMALY
    ):
        classes, good = classes - good | {OK}, frozenset({OK})
    return Terms(classes=classes, good=good, threshold=manifest.threshold)


def hear(
    lookers: Sequence[Looker], parts: Iterable[Part], on_done: OnDone | None = None, *, first: Sequence[int | None] = ()
) -> Heard:
    """What all of them say of all parts; whoever fails on a picture, or gives no number, said nothing.

    `first`, where given, has an entry for each looker: how many parts it is asked about at most.
    """
    bounds = first or [None] * len(lookers)
    truths: list[str] = []
    said: list[list[Said]] = [[] for _ in lookers]
    images: list[Image] = []
    for number, part in enumerate(parts, start=1):
        answers = dict(part.answers)
        for looker, words, bound in zip(lookers, said, bounds, strict=True):
            if bound is None or number <= bound:
                words.append(_one(looker, part, answers))
        truths.append(part.truth)
        if part.image is not None and len(images) < KEPT:
            images.append(part.image)
        if on_done is not None:
            on_done(number)
    return Heard(truths=tuple(truths), said=tuple(tuple(words) for words in said), images=tuple(images))


def _one(looker: Looker, part: Part, answers: dict[Network, Any]) -> Said:
    try:
        if looker.network not in answers:
            if part.image is None:
                raise RefusedError("neither a picture nor an answer of this network")
            answers[looker.network] = looker.answer(part.image)
        return looker.said(answers[looker.network])
    except (InferenceError, RefusedError) as error:
        log.warning("model=%s digest=%s look=failed reason=%s", looker.model.manifest.name, looker.model.digest, error)
        return NOTHING


def paces(lookers: Sequence[Looker], images: Sequence[Image], clock: Clock) -> tuple[Pace, ...]:
    """How long each takes, in turns, so that what else happens on the machine meets all of them alike.

    Raises:
        InferenceError: a provider failed.
    """
    for looker in lookers:
        for image in images[:WARM_UP]:
            looker.look(image)
    took: list[list[float]] = [[] for _ in lookers]
    began_s = clock.mono_s()
    for number in range(LOOKS):
        if number >= LOOKS_MIN and clock.mono_s() - began_s > LOOKS_S * len(lookers):
            break
        for looker, times in zip(lookers, took, strict=True):
            start_s = clock.mono_s()
            looker.look(images[number % len(images)])
            times.append((clock.mono_s() - start_s) * 1000.0)
    return tuple(
        Pace(median_ms=statistics.median(times), p95_ms=sorted(times)[int(0.95 * (len(times) - 1))]) for times in took
    )


def agreement(one: Sequence[Said], other: Sequence[Said], terms: Terms) -> float:
    """The share of parts on which two flavours of one model say the same: the class, and whether it fails.

    The shorter of the two sequences decides how many are compared; NaN where there are none.
    """
    same = [
        a.label == b.label and (a.score >= terms.threshold) == (b.score >= terms.threshold)
        for a, b in zip(one, other, strict=False)
    ]
    return sum(same) / len(same) if same else math.nan
