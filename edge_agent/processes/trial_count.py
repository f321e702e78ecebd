"""The counts of one trial: pairs of opinions in, tally out; which parts differ, and what people say of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from edge_agent.clock import rfc3339
from edge_agent.inspect.shadow import Opinion, Pair
from edge_agent.learn.release import Stage
from edge_agent.learn.tally import Opinions, Tally, alone, counted, heard
from edge_agent.models.trial import Trial
from edge_agent.records import Verdict

# Differing parts whose labels are waited for; an older one is forgotten.
OPEN_KEPT = 500

# What people said of samples, by id: whether each is a defect.
Truths = Callable[[Iterable[str]], Mapping[str, bool]]


@dataclass(slots=True)
class TrialCount:
    """Follows the trial of one model in this process. `trial` is as it was counted, `saved` as it is on disk.

    `began_mono_s`: when the second model was there to be asked, None before. `past`: parts that were looked back at.
    """

    trial: Trial
    saved: Trial
    began_mono_s: float | None = None
    past: frozenset[str] = frozenset()
    _open: dict[str, tuple[Verdict, Verdict]] = field(default_factory=dict)

    @property
    def second(self) -> str:
        """The bundle that judges beside the one in force."""
        return self.trial.reference if self.trial.stage is Stage.PROBATION else self.trial.candidate

    def add(self, pair: Pair, latency_ms: float | None) -> bool:
        """Count a part; whether the two differ on it. Opinions of other bundles than those on trial are passed over."""
        on_probation = self.trial.stage is Stage.PROBATION
        if on_probation and pair.first.digest != self.trial.candidate:
            return False
        if pair.second is not None and pair.second.digest != self.second:
            return False
        tally = self._tally_with(pair, on_probation, latency_ms)
        self._put(tally)
        if not pair.differs or pair.second is None or pair.first.verdict is None or pair.second.verdict is None:
            return False
        verdicts = pair.first.verdict, pair.second.verdict
        self._open[pair.id] = (verdicts[1], verdicts[0]) if on_probation else verdicts
        if len(self._open) > OPEN_KEPT:
            del self._open[next(iter(self._open))]
        return True

    def _tally_with(self, pair: Pair, on_probation: bool, latency_ms: float | None) -> Tally:
        tally, second = self.trial.tally, pair.second
        if second is None and pair.first.verdict is None:
            # The model in force failed, and nothing was left to ask the other about.
            if on_probation:
                return replace(tally, candidate_errors=tally.candidate_errors + 1)
            return replace(tally, reference_errors=tally.reference_errors + 1)
        if second is None:
            return alone(tally, pair.first.took_ms if on_probation else None, latency_ms)
        reference, candidate = (second, pair.first) if on_probation else (pair.first, second)
        return counted(tally, _both(reference, candidate), latency_ms)

    def _put(self, tally: Tally) -> None:
        on_probation = self.trial.stage is Stage.PROBATION
        self.trial = replace(self.trial, probation=tally) if on_probation else replace(self.trial, shadow=tally)

    def hear(self, truths: Truths) -> bool:
        """Ask what people said of the parts on which the two differ; whether that is news."""
        if not self._open:
            return False
        said = truths(tuple(self._open))
        for identity, defect in said.items():
            reference, candidate = self._open.pop(identity)
            self._put(heard(self.trial.tally, reference, candidate, defect=defect))
        return bool(said)


def _both(reference: Opinion, candidate: Opinion) -> Opinions:
    return Opinions(
        reference=reference.verdict,
        candidate=candidate.verdict,
        reference_ms=reference.took_ms,
        candidate_ms=candidate.took_ms,
    )


def line_of(pair: Pair, stage: Stage) -> bytes:
    """One differing part as a line of JSON: `in_force` is what the line heard."""
    record = {
        "at": rfc3339(pair.captured_utc_s),
        "id": pair.id,
        "camera": pair.camera,
        "name": pair.model,
        "stage": stage.value,
        "in_force": _plain(pair.first),
        "beside": None if pair.second is None else _plain(pair.second),
    }
    return json.dumps(record).encode() + b"\n"


def _plain(opinion: Opinion) -> dict[str, str | float | None]:
    return {
        "digest": opinion.digest,
        "verdict": None if opinion.verdict is None else opinion.verdict.value,
        "label": opinion.label,
        "score": None if opinion.score is None else round(float(opinion.score), 6),
    }
