"""A second opinion on parts that have their verdict already: a model on trial, or the one before it on probation.

    loop: judge -> verdict to the line -> frame done -> Shadow.follow: the second model of each finding -> Pair -> trial
                                                    `-> recent features --look_back--> Pairs of parts that are past

The line never waits for it. A second model on the same network takes the answer that is there, which costs
microseconds; one with a network of its own looks itself, and only while no frame waits. Past parts are kept as vectors,
so that a new head is tried on them the moment it comes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edge_agent.clock import Clock
from edge_agent.errors import InferenceError, RefusedError, TransientError
from edge_agent.inspect.assessors import HeadAssessor
from edge_agent.inspect.decide import Memory
from edge_agent.inspect.lane import Judge, Lane, Second, opinion
from edge_agent.records import Canvas, Features, Finding, Frame, HoldReason, Verdict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Vectors of 784 floats: 1.6 MB a model.
PAST_PARTS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one bundle made of a part. `verdict` None: it failed. Milliseconds are its own, network included."""

    digest: str | None
    verdict: Verdict | None
    label: str | None = None
    score: float | None = None
    took_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two opinions on one part: `first` is that of the model in force. `second` None: it was passed over."""

    model: str
    camera: str
    id: str
    captured_utc_s: float
    first: Opinion
    second: Opinion | None

    @property
    def differs(self) -> bool:
        """Whether both have a verdict and it is not the same."""
        if self.second is None or self.first.verdict is None or self.second.verdict is None:
            return False
        return self.first.verdict is not self.second.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the loop has of one finding when its verdict is out: the network's answer, and the milliseconds it took."""

    finding: Finding
    answer: Any = field(repr=False)
    took_ms: float
    network_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """A part that was judged: the opinion then, and its vector, float32 [D]."""

    camera: str
    id: str
    captured_utc_s: float
    first: Opinion
    vector: NDArray[np.float32] = field(repr=False)


def opinion_of(finding: Finding, took_ms: float) -> Opinion:
    """A finding as one of two opinions. Good-only takes the parts that it learns from for good ones."""
    verdict: Verdict | None = finding.verdict
    if finding.reason is HoldReason.MODEL:
        verdict = None
    elif finding.reason is HoldReason.LEARNING:
        verdict = Verdict.PASS
    return Opinion(digest=finding.model, verdict=verdict, label=finding.label, score=finding.score, took_ms=took_ms)


class Shadow:
    """Follows the inspect loop, in its thread; `past` may be asked by any thread.

    `waiting` says whether a frame waits, `prepare` is the loop's, `tell` hears of every part that a model on trial saw
    or was passed over for.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[NDArray[np.uint8], Canvas], NDArray[np.uint8]],
        waiting: Callable[[], bool],
        tell: Callable[[Pair], None],
        clock: Clock,
    ) -> None:
        self._prepare = prepare
        self._waiting = waiting
        self._tell = tell
        self._clock = clock
        self._memories: dict[tuple[str, str, str], Memory] = {}  # by camera, model and bundle
        self._lock = threading.Lock()
        self._recent: dict[str, deque[_Past]] = {}
        self._watched: frozenset[str] = frozenset()

    def follow(self, frame: Frame, identity: str, heard: Sequence[Heard], seconds: Mapping[str, Second]) -> bool:
        """Ask the second models about a part whose verdict is out; whether one of them differs."""
        differs = False
        for one in heard:
            first = opinion_of(one.finding, one.took_ms)
            self._remember(frame, identity, one, first)
            second = seconds.get(one.finding.name)
            if second is None and one.finding.name not in self._watched:
                continue
            pair = Pair(
                model=one.finding.name,
                camera=frame.camera,
                id=identity,
                captured_utc_s=frame.captured_utc_s,
                first=first,
                second=None if second is None else self._ask(frame, one, second),
            )
            differs |= pair.differs
            self._tell(pair)
        return differs

    def past(self, model: str) -> tuple[_Past, ...]:
        """The parts that this model judged last, oldest first."""
        with self._lock:
            return tuple(self._recent.get(model, ()))

    def watch(self, model: str, *, on: bool) -> None:
        """Whether every part of this model is told, also while there is no second one: it is on probation."""
        self._watched = self._watched | {model} if on else self._watched - {model}

    def _remember(self, frame: Frame, identity: str, heard: Heard, first: Opinion) -> None:
        if not isinstance(heard.answer, Features) or first.verdict is None:
            return
        # A copy: the encoder may use its output buffers again.
        past = _Past(
            camera=frame.camera,
            id=identity,
            captured_utc_s=frame.captured_utc_s,
            first=first,
            vector=heard.answer.vector.copy(),
        )
        with self._lock:
            self._recent.setdefault(heard.finding.name, deque(maxlen=PAST_PARTS)).append(past)

    def _ask(self, frame: Frame, heard: Heard, second: Second) -> Opinion | None:
        judge = second.judge
        begun_s = self._clock.mono_s()
        answer, network_ms = heard.answer, heard.network_ms
        try:
            if not second.shares_network:
                if self._waiting():
                    return None
                answer, network_ms = judge.look(self._prepare(frame.image, judge.canvas)), 0.0
            elif answer is None:
                return None  # the network that they share failed: that says nothing of either
            key = frame.camera, judge.name, judge.digest
            size = frame.image.shape[0], frame.image.shape[1]
            assessment, decision, memory = opinion(judge, answer, size, self._memories.get(key, Memory()))
        except (RefusedError, TransientError):
            return Opinion(digest=judge.digest, verdict=None)
        self._memories[key] = memory
        return Opinion(
            digest=judge.digest,
            verdict=Verdict.PASS if decision.reason is HoldReason.LEARNING else decision.verdict,
            label=assessment.label,
            score=assessment.score,
            took_ms=network_ms + (self._clock.mono_s() - begun_s) * 1e3,
        )

    def forget(self, model: str) -> None:
        """A trial is over: nothing need be remembered of its looks."""
        # A copy, made in one piece: the inspect thread may be adding to it.
        for key in list(self._memories):
            if key[1] == model:
                self._memories.pop(key, None)


def look_back(model: str, past: Iterable[_Past], lanes: Mapping[str, Lane]) -> tuple[Pair, ...]:
    """What the second model of this name would have said of parts that are past.

    The first opinion is that of then where the same bundle judged, else what the head in force says of it now; a part
    for which neither can be had is left out. Both apply today's rules.
    """
    memories: dict[tuple[str, str], Memory] = {}

    def said(judge: Judge, one: _Past) -> Opinion | None:
        if not isinstance(judge.assessor, HeadAssessor):
            return None
        judge = replace(judge, assessor=judge.assessor.without_heat)
        key = one.camera, judge.digest
        try:
            features = Features(vector=one.vector, map=one.vector[:0])
            # Of a letterboxed picture's size nothing is left, and without heat nothing depends on it.
            assessment, decision, memories[key] = opinion(judge, features, judge.canvas.px, memories.get(key, Memory()))
        except InferenceError:
            return Opinion(digest=judge.digest, verdict=None)
        return Opinion(digest=judge.digest, verdict=decision.verdict, label=assessment.label, score=assessment.score)

    found = []
    for one in past:
        lane = lanes.get(one.camera)
        second = lane.seconds.get(model) if lane else None
        judge = lane.judge(model) if lane else None
        if second is None or judge is None or not second.shares_network:
            continue
        first = one.first if one.first.digest == judge.digest else said(judge, one)
        now = said(second.judge, one)
        if first is not None and now is not None:
            found.append(
                Pair(
                    model=model,
                    camera=one.camera,
                    id=one.id,
                    captured_utc_s=one.captured_utc_s,
                    first=first,
                    second=now,
                )
            )
    return tuple(found)
