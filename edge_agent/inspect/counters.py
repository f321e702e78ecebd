"""What was judged: counts, yield, defect labels, latency, per camera, for status, telemetry and summaries."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

from edge_agent.records import Inspection, Verdict

LATENCIES_KEPT = 512  # about 50 s at 10 frames/s: enough for a p99 that moves with the line
RECENT_KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCounts:
    """Counts since the process started. `yield_share` is PASS over PASS + FAIL, None before the first of either."""

    passed: int
    failed: int
    held: int
    held_by_reason: dict[str, int]
    labels: dict[str, int]
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    stage_p50_ms: dict[str, float]
    recent: tuple[Inspection, ...] = field(repr=False)

    @property
    def yield_share(self) -> float | None:
        judged = self.passed + self.failed
        return self.passed / judged if judged else None

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.held


class _Tally:
    """The mutable counts of one camera; guarded by the lock of `Counters`."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.latencies: deque[tuple[float, float, float, float, float]] = deque(maxlen=LATENCIES_KEPT)
        self.recent: deque[Inspection] = deque(maxlen=RECENT_KEPT)


class Counters:
    """A sink of the inspect loop; thread-safe, since drops are counted by camera threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[str, _Tally] = {}

    def __call__(self, inspection: Inspection) -> None:
        with self._lock:
            tally = self._tallies.setdefault(inspection.camera, _Tally())
            tally.verdicts[inspection.verdict] += 1
            if inspection.reason is not None:
                tally.reasons[inspection.reason.value] += 1
            if inspection.verdict is Verdict.FAIL and inspection.label is not None:
                tally.labels[inspection.label] += 1
            if inspection.verdict is not Verdict.PASS:
                tally.recent.append(inspection)
            times = inspection.latency
            if times is not None:
                tally.latencies.append(
                    (times.total_ms, times.queue_ms, times.prepare_ms, times.encode_ms, times.decide_ms)
                )

    def snapshot(self, camera: str) -> CameraCounts:
        """The counts of one camera now; zeros for a camera that has judged nothing."""
        with self._lock:
            tally = self._tallies.get(camera) or _Tally()
            verdicts = dict(tally.verdicts)
            reasons, labels = dict(tally.reasons), dict(tally.labels)
            latencies, recent = list(tally.latencies), tuple(tally.recent)
        columns = [sorted(column) for column in zip(*latencies, strict=True)]
        totals = columns[0] if columns else []
        stages = ("queue", "prepare", "encode", "decide")
        return CameraCounts(
            passed=verdicts.get(Verdict.PASS, 0),
            failed=verdicts.get(Verdict.FAIL, 0),
            held=verdicts.get(Verdict.HOLD, 0),
            held_by_reason=reasons,
            labels=labels,
            latency_p50_ms=quantile(totals, 0.50),
            latency_p99_ms=quantile(totals, 0.99),
            stage_p50_ms={
                stage: value
                for stage, column in zip(stages, columns[1:], strict=False)
                if (value := quantile(column, 0.50)) is not None
            },
            recent=recent,
        )


def quantile(ordered: list[float], share: float) -> float | None:
    """The nearest-rank quantile of sorted numbers, None of none."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
