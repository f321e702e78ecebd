"""Drift: frames until an injected change is told, whether by its own cause, and false alarms while nothing changes.

Two plants of each set, and two built-in lines, are cameras, each with its parts in a holder (`fixed`) and without it
(`bare`). A camera learns what is normal from its first 500 frames (drawn with replacement from its split=test, mildly
varied as on a line; tests/bench/drift_scenes.py), with a head of its own labels. After 100 more a change begins:

    light down, light up        1 % in 100 frames               light step       10 % less at once
    defocus                     0.1 px of blur in 100 frames    move             1 px in 200 frames (fixed only)
    move step                   3 px at once (fixed only)       product          parts of another plant
    class                       half of the parts are of one kind that was rare
    model                       the head's odds of a defect are off by e^1.5; not for heads that know no good parts

`frames_to_alarm` is the median of those that were told within 4,000 frames; `told` their share, `attributed` the share
of these that named the right cause, `named` what was named. Clean frames: light goes up and down by 2 % in 400 frames,
which the camera saw while it learned; `slow_day`: in 2,000, of which it saw a quarter. No constant was tuned on
split=test: `--split val` draws from split=val instead.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

# Before numpy is loaded, as on a gateway: with two, OpenBLAS waits actively for a core that others use.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from edge_agent.learn.drift import DEFAULT_FRAMES, Cause, Kind
from edge_agent.learn.drift_measure import Judged
from edge_agent.learn.drift_monitor import Monitor
from edge_agent.learn.head import LinearHead, assess
from edge_agent.records import Features, Verdict
from tests.bench.drift_scenes import Bench, Sight, bench_of, plants
from tests.bench.gateway import default_model
from tests.bench.report import Options, Progress, run_bench

PLANTS, QUICK_PLANTS = 2, 1
PICTURES, QUICK_PICTURES = 40, 12
RUNS, QUICK_RUNS = 3, 2
CLEAN_FRAMES, QUICK_CLEAN_FRAMES = 21_000, 6_000
WITHIN = 4_000
DAY_FRAMES, SLOW_DAY_FRAMES, DAY_LIGHT = 400, 2_000, 0.02
CLASS_SHARE = 0.5
ODDS_OFF = 1.5

Draw = Callable[[Bench, int, np.random.Generator], Sight]
Told: TypeAlias = "tuple[int, Cause] | None"  # after how many frames, and what was named


def _along(kind: str, degree: Callable[[int], float]) -> Draw:
    return lambda bench, number, rng: bench.sight(kind, degree(number), rng)


def _still(bench: Bench, _number: int, rng: np.random.Generator) -> Sight:
    return bench.sight("light", 1.0, rng)


def _day(frames: int) -> Draw:
    return _along("light", lambda number: 1.0 + DAY_LIGHT * math.sin(2 * math.pi * number / frames))


def _other_parts(bench: Bench, _number: int, rng: np.random.Generator) -> Sight:
    return bench.fresh(bench.parts, rng)


def _rare_class(bench: Bench, number: int, rng: np.random.Generator) -> Sight:
    still = bench.ladder["light", 1.0]
    counts = Counter(sight.truth for sight in still)
    rarest = min(counts, key=lambda label: (counts[label], label))
    of_it = [sight for sight in still if sight.truth == rarest]
    return bench.fresh(of_it, rng) if rng.random() < CLASS_SHARE else _still(bench, number, rng)


CHANGES: Mapping[str, tuple[Cause, Draw]] = {
    "light down": (Cause.LIGHT, _along("light", lambda n: 1.0 - n / 10_000)),
    "light up": (Cause.LIGHT, _along("light", lambda n: 1.0 + n / 10_000)),
    "light step": (Cause.LIGHT, _along("light", lambda _n: 0.9)),
    "defocus": (Cause.FOCUS, _along("blur", lambda n: n / 1_000)),
    "move": (Cause.MOVED, _along("move", lambda n: n / 200)),
    "move step": (Cause.MOVED, _along("move", lambda _n: 3.0)),
    "product": (Cause.PRODUCT, _other_parts),
    "class": (Cause.MODEL, _rare_class),
    "model": (Cause.MODEL, _still),
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("val", "test"), default="test", help="val: to search a setting")


def measure(options: Options, progress: Progress) -> dict[str, Any]:
    absent: list[str] = []
    runs = QUICK_RUNS if options.quick else RUNS
    told: dict[tuple[str, bool], list[Told]] = defaultdict(list)
    alarms: dict[int, Counter[str]] = {DAY_FRAMES: Counter(), SLOW_DAY_FRAMES: Counter()}
    clean = 0
    costs: list[float] = []
    cameras = list(_cameras(options, absent, progress))
    frames = (QUICK_CLEAN_FRAMES if options.quick else CLEAN_FRAMES) // runs
    for number, bench in enumerate(cameras):
        for seed in range(runs):
            monitor = _learned(bench, seed, DAY_FRAMES)
            for kind in CHANGES:
                if _applies(kind, bench):
                    told[kind, bench.fixed].append(_run(bench, monitor, kind, seed))
            clean += frames
            alarms[DAY_FRAMES].update(_false_alarms(bench, monitor, frames, seed, DAY_FRAMES, costs))
            slow = _learned(bench, seed, SLOW_DAY_FRAMES)
            alarms[SLOW_DAY_FRAMES].update(_false_alarms(bench, slow, frames, seed, SLOW_DAY_FRAMES, costs))
        progress("measure", number + 1, len(cameras))
    pooled = {kind: told[kind, True] + told[kind, False] for kind in CHANGES}
    return {
        "runs": runs,
        "split": options.given.split,
        "cameras": len(cameras),
        "absent": absent,
        "frames_to_alarm": {kind: _median(some) for kind, some in pooled.items()},
        "told": {kind: _share(some, lambda found: found is not None) for kind, some in pooled.items()},
        "attributed": {kind: _attributed(kind, some) for kind, some in pooled.items()},
        "by_scene": {
            name: {
                kind: {
                    "frames": _median(told[kind, fixed]),
                    "attributed": _attributed(kind, told[kind, fixed]),
                    "named": dict(Counter("nothing" if one is None else one[1].value for one in told[kind, fixed])),
                }
                for kind in CHANGES
                if told[kind, fixed]
            }
            for name, fixed in (("fixed", True), ("bare", False))
        },
        "false_alarms_per_10k": 10_000 * alarms[DAY_FRAMES].total() / clean,
        "false_alarms": dict(alarms[DAY_FRAMES]),
        "slow_day_alarms_per_10k": 10_000 * alarms[SLOW_DAY_FRAMES].total() / clean,
        "slow_day_alarms": dict(alarms[SLOW_DAY_FRAMES]),
        "clean_frames": clean,
        "us_per_frame": {"p50": float(np.median(costs)), "p99": float(np.quantile(costs, 0.99))},
    }


def _applies(kind: str, bench: Bench) -> bool:
    if kind == "model":
        return bool(bench.head.good_classes)
    return bench.fixed or not kind.startswith("move")


def _cameras(options: Options, absent: list[str], progress: Progress) -> Iterator[Bench]:
    model = default_model()
    found = list(plants(options.data, absent, most=QUICK_PLANTS if options.quick else PLANTS))
    for number, plant in enumerate(found):
        # Another plant of the same set, where there is one: the same kind of picture, other parts.
        near = [one for one in found if one is not plant and one.name.split("/")[0] == plant.name.split("/")[0]]
        other = (near or [one for one in found if one is not plant])[0]
        pictures = QUICK_PICTURES if options.quick else PICTURES
        for fixed in (True, False):
            yield bench_of(plant, other, model, options.given.split, pictures, fixed=fixed)
        progress("sights", number + 1, len(found))


def _take(monitor: Monitor, sight: Sight, head: LinearHead, odds_off: float = 0.0) -> None:
    assessment = assess(head, Features(vector=sight.vector, map=sight.vector))
    score = assessment.score
    if odds_off and 0.0 < score < 1.0:
        score = 1.0 / (1.0 + (1.0 - score) / score * math.exp(-odds_off))
    verdict = Verdict.FAIL if score >= head.threshold else Verdict.HOLD if score >= head.hold_below else Verdict.PASS
    monitor.take(Kind.PICTURES, "view", sight.readings)
    monitor.take(Kind.FEATURES, "encoder", sight.vector)
    monitor.take(Kind.VERDICTS, "head", Judged(label=assessment.label, score=score, verdict=verdict))


def _learned(bench: Bench, seed: int, day_frames: int) -> Monitor:
    monitor, rng, draw = Monitor(), np.random.default_rng([seed, 1]), _day(day_frames)
    for number in range(DEFAULT_FRAMES):
        _take(monitor, draw(bench, number, rng), bench.head)
    monitor.learn()
    return monitor


def _run(bench: Bench, learned: Monitor, kind: str, seed: int) -> Told:
    """After how many frames of this change something was told, and what; None when nothing was."""
    monitor, rng = copy.deepcopy(learned), np.random.default_rng([seed, 2])
    draw = CHANGES[kind][1]
    for number in range(100):
        _take(monitor, _still(bench, number, rng), bench.head)
    for number in range(1, WITHIN + 1):
        _take(monitor, draw(bench, number, rng), bench.head, ODDS_OFF if kind == "model" else 0.0)
        if monitor.finding is not None:
            return number, monitor.finding.cause
    return None


def _false_alarms(
    bench: Bench, learned: Monitor, frames: int, seed: int, day_frames: int, costs: list[float]
) -> list[str]:
    """What each alarm names that begins while nothing changes."""
    monitor, rng, draw = copy.deepcopy(learned), np.random.default_rng([seed, 3]), _day(day_frames)
    named: list[str] = []
    before = None
    for number in range(frames):
        sight = draw(bench, DEFAULT_FRAMES + number, rng)
        begun_s = time.perf_counter()
        _take(monitor, sight, bench.head)
        costs.append((time.perf_counter() - begun_s) * 1e6)
        if monitor.finding is not None and before is None:
            named.append(monitor.finding.cause.value)
        before = monitor.finding
    return named


def _median(some: list[Told]) -> float | None:
    took = [found[0] for found in some if found is not None]
    return float(np.median(took)) if took else None


def _share(some: list[Told], holds: Callable[[Told], bool]) -> float:
    return sum(map(holds, some)) / max(1, len(some))


def _attributed(kind: str, some: list[Told]) -> float:
    found = [one for one in some if one is not None]
    return sum(one[1] is CHANGES[kind][0] for one in found) / max(1, len(found))


if __name__ == "__main__":
    run_bench("drift", measure, configure)
