"""Watches one camera for drift: learns what is normal from its first frames, charts the rest, names what drifted.

    sample --learning--> enough --learn()--> watching: sample -> row -> batch of 25 -> charts -> finding

`take` costs a few microseconds and is called for each frame by one thread. `learn` costs a tenth of a second, once for
each kind, and may be called by another thread: until it is done samples of that kind are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.learn.drift import (
    CHANNELS,
    CLEAR,
    DEFAULT_FRAMES,
    Cause,
    Charts,
    Kind,
    charts_of,
    evidence,
    explain,
    followed,
    strengths,
)
from edge_agent.learn.drift_chart import BATCH
from edge_agent.learn.drift_measure import FITS, Measure
from edge_agent.learn.drift_words import say

# Closings of batches (of any kind) between the first alarm of a chart and the name of the cause: what explains it may
# be a batch behind. And how many must agree before a cause that was named is replaced.
SETTLE, AGREE = 4, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What drifted, and in words by how much."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was learned of one kind, under the name of what it belongs to, and where its charts are now."""

    key: str
    measure: Measure
    charts: Charts


class Stream:
    """The samples of one kind."""

    def __init__(self, kind: Kind, frames: int, tolerance: float) -> None:
        self.known: Known | None = None
        self._kind = kind
        self._frames = frames
        self._tolerance = tolerance
        self._key = ""
        self._samples: list[Any] = []
        self._batch = np.empty((BATCH, len(CHANNELS[kind])))
        self._filled = 0

    @property
    def ripe(self) -> bool:
        """Whether enough was seen to learn from."""
        return self.known is None and len(self._samples) >= self._frames

    @property
    def progress(self) -> tuple[int, int]:
        """Samples seen, of how many to learn from."""
        return len(self._samples), self._frames

    def begin(self, key: str) -> bool:
        """What comes belongs to `key`; under another one everything is learned anew. Whether that is so."""
        if key == self._key:
            return False
        anew = self._key != "" or self.known is not None
        self._key = key
        self._samples, self._filled = [], 0
        if self.known is not None and self.known.key == key:
            return False
        self.known = None
        return anew

    def take(self, sample: Any) -> bool:
        """One more; True when it closed a batch."""
        known = self.known
        if known is None or known.key != self._key:
            if len(self._samples) < self._frames:
                self._samples.append(sample)
            return False
        self._batch[self._filled] = known.measure.row(sample)
        self._filled += 1
        if self._filled < BATCH:
            return False
        self._filled = 0
        charts = followed(known.charts, self._batch, self._kind)
        self.known = Known(key=known.key, measure=known.measure, charts=charts)
        return True

    def learn(self) -> None:
        """Make the measure and the charts of what was seen."""
        key, samples = self._key, self._samples
        measure, rows = FITS[self._kind](samples)
        found = Known(key=key, measure=measure, charts=charts_of(rows, self._kind, self._tolerance))
        if self._samples is samples:  # else it began anew meanwhile
            self.known = found
            self._samples = []


class Monitor:
    """The three streams of one camera and what they say together."""

    def __init__(self, frames: int = DEFAULT_FRAMES, tolerance: float = 1.0) -> None:
        self.streams: Mapping[Kind, Stream] = {kind: Stream(kind, frames, tolerance) for kind in Kind}
        self.finding: Finding | None = None
        self._since = 0  # closings since a chart alarmed that nothing explains yet
        self._other: Cause | None = None
        self._others = 0

    @property
    def charts(self) -> Charts:
        """All charts there are, by channel."""
        found: dict[str, Any] = {}
        for stream in self.streams.values():
            if stream.known is not None:
                found.update(stream.known.charts)
        return found

    @property
    def state(self) -> str:
        """For people: "learning 120/500", "steady", or what drifted."""
        if self.finding is not None:
            return self.finding.cause.value
        learning = [stream.progress for stream in self.streams.values() if stream.known is None]
        if len(learning) == len(self.streams):
            seen, wanted = max(learning)
            return f"learning {seen}/{wanted}"
        return "steady"

    def restore(self, known: Mapping[Kind, Known], finding: Finding | None) -> None:
        """Go on from what was kept; before the first sample."""
        for kind, one in known.items():
            self.streams[kind].known = one
        self.finding = finding

    def take(self, kind: Kind, key: str, sample: Any) -> bool:
        """One more sample of `kind`, which belongs to `key`; True when the finding may have changed."""
        stream, before = self.streams[kind], self.finding
        anew = stream.begin(key)
        if stream.take(sample) or anew:
            self._judge()
        return self.finding is not before

    def learn(self) -> bool:
        """Learn what is ripe; whether there was something."""
        ripe = [stream for stream in self.streams.values() if stream.ripe]
        for stream in ripe:
            stream.learn()
        return bool(ripe)

    def _judge(self) -> None:
        charts = self.charts
        cause = explain(charts)
        if self.finding is None:
            self._since = self._since + 1 if cause is not None else 0
            if cause is not None and self._since >= SETTLE:
                self._name(cause, charts)
            return
        own = evidence(self.finding.cause, charts)
        if max((found for sign, found in strengths(charts).items() if sign in own), default=0.0) < CLEAR:
            self.finding, self._since = None, 0
            if cause is not None:
                self._name(cause, charts)
            return
        if cause is None or cause is self.finding.cause:
            self._others = 0
            return
        self._others = self._others + 1 if cause is self._other else 1
        self._other = cause
        if self._others >= AGREE:
            self._name(cause, charts)

    def _name(self, cause: Cause, charts: Charts) -> None:
        self.finding = Finding(cause=cause, text=say(cause, charts))
        self._other, self._others = None, 0
