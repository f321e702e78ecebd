"""What there is to find out about a bundle before it may judge: everything that `learn.gate.rule` rules on.

    candidate --golden answers here--> faults        both --parts of known truth--> right or wrong, part by part
              --looks, timed---------> latency       int8, float --the same pictures--> agreement
              --a child process------> memory

A new head on the encoder in force shares its network: the parts are encoded once, memory is not weighed, since it adds
a few kilobytes, nor is int8 held against float. Anything else is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.errors import BadBundleError, InferenceError, RefusedError
from edge_agent.learn.gate import Examination, Judged, Ruling
from edge_agent.learn.judging import Said, Score, judged, scored
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import Figure
from edge_agent.models.loading import AnyModel
from edge_agent.models.runtime import FLOAT
from edge_agent.models.store import ModelStore
from edge_agent.models.weighing import weigh
from edge_agent.processes.looks import Heard, Image, Looker, OnDone, Pace, Part, agreement, hear, paces

# The float flavour takes twice as long: so many parts tell a quantisation that went wrong.
AGREEMENT_PARTS = 64
# Two medians of the same model, measured in turns on a busy machine, differ by some per cent, or a little altogether.
NO_SLOWER = 1.25
NO_SLOWER_MS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a look may take (half of them, milliseconds) and inspection may have (bytes); None where nothing says.

    A latency that is not `strict` follows from how often cameras may deliver, which many lines never do: whoever is no
    slower than the active bundle is within it all the same.
    """

    latency_ms: float | None = None
    strict: bool = True
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The models of this gateway, and how it runs them."""

    store: ModelStore
    runtime: RuntimeOptions
    flavour: str
    clock: Clock
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found: `examination` for the gate, the rest for people.

    The scores are of parts that both judged, None where the candidate could not be loaded. `paces` are the candidate's
    and, if there is one, the active bundle's. `unknown` are classes of parts that the candidate cannot name.
    """

    examination: Examination
    candidate: Score | None = None
    active: Score | None = None
    paces: tuple[Pace, ...] = ()
    unknown: tuple[str, ...] = ()


def examine(
    digest: str, active: str | None, parts: Iterable[Part], device: Device, on_done: OnDone | None = None
) -> Report:
    """Find out everything about the bundle `digest`, held against `active`, by `parts` of known truth.

    Raises:
        BadBundleError: no such bundle, or the active one cannot be loaded.
        ProviderError: this device cannot run models.
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    store = device.store
    store.manifest(digest)
    before = None if active is None else Looker(store.load(active, device.runtime, device.flavour))
    try:
        beside = None if before is None else before.model
        candidate = Looker(store.verify(digest, device.runtime, device.flavour, beside=beside))
    except BadBundleError as error:
        return Report(examination=Examination(judged=(), faults=(str(error),)))
    # A new head is solved on what int8 makes of the parts, by an encoder that judges already: what it would say of
    # float answers is no news of it (86 % agreed on synthetic parts where 98 % were asked for).
    shared = before is not None and before.network == candidate.network
    in_float = None if shared else _in_float(candidate.model, device)
    lookers = [looker for looker in (candidate, before, in_float) if looker is not None]
    bounds = [AGREEMENT_PARTS if looker is in_float else None for looker in lookers]
    heard = hear(lookers, parts, on_done, first=bounds)
    golden = tuple(store.golden_pictures(digest))
    same, compared = _agreement(candidate, in_float, heard, golden)
    costs = _costs(candidate, before, heard.images or golden, device)
    both: tuple[Judged, ...] = ()
    if before is not None:
        both = judged(heard.truths, heard.said[1], heard.said[0], terms=(before.terms, candidate.terms))
    defects = [part.defect for part in both]
    return Report(
        examination=Examination(
            judged=both,
            faults=(*_no_answer(heard.said[0]), *costs.faults),
            latency_ms=costs.paces[0].median_ms if costs.paces else None,
            latency_limit_ms=_latency_limit_ms(device.limits, costs.paces),
            memory_bytes=costs.memory_bytes,
            memory_limit_bytes=device.limits.memory_bytes,
            agreement=same,
            agreement_parts=compared,
        ),
        candidate=scored([part.candidate_right for part in both], defects),
        active=scored([part.active_right for part in both], defects),
        paces=costs.paces,
        unknown=tuple(sorted(set(heard.truths) - candidate.terms.classes)),
    )


def _in_float(model: AnyModel, device: Device) -> Looker | None:
    """The float flavour of an int8 model, on the CPU: what an accelerator would build an engine for first, and the
    reference all the same. None where there is nothing to compare.
    """
    if model.flavour == FLOAT or FLOAT not in model.manifest.networks:
        return None
    runtime = RuntimeOptions(intra_op_threads=device.runtime.intra_op_threads)
    return Looker(device.store.load(model.digest, runtime, FLOAT))


def _no_answer(said: Sequence[Said]) -> tuple[str, ...]:
    missing = sum(math.isnan(each.score) for each in said)
    return (f"gives no finite answer for {missing} of {len(said)} parts",) if missing else ()


def _agreement(
    candidate: Looker, in_float: Looker | None, heard: Heard, golden: Sequence[Image]
) -> tuple[float | None, int]:
    """How often int8 and float say the same, and of how many: of the golden pictures where there are no others."""
    if in_float is None:
        return None, 0
    own, other = heard.said[0], heard.said[-1]
    if not other:
        pictures = hear([candidate, in_float], [Part(truth="", image=image) for image in golden])
        own, other = pictures.said
    return agreement(own, other, candidate.terms), len(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    paces: tuple[Pace, ...]
    memory_bytes: int | None
    faults: tuple[str, ...]


def _costs(candidate: Looker, before: Looker | None, images: Sequence[Image], device: Device) -> _Costs:
    lookers = [candidate] if before is None else [candidate, before]
    found: tuple[Pace, ...] = ()
    try:
        found = paces(lookers, images, device.clock)
        if before is not None and before.network == candidate.network:
            return _Costs(paces=found, memory_bytes=None, faults=())
        together = [model.digest for model in device.store.list() if model.state == "active"]
        digests = [*(each for each in together if each != candidate.model.digest), candidate.model.digest]
        weight = weigh(device.store.root, digests, device.runtime, device.flavour)
    except (RefusedError, InferenceError) as error:
        return _Costs(paces=found, memory_bytes=None, faults=(str(error),))
    return _Costs(paces=found, memory_bytes=weight, faults=())


def _latency_limit_ms(limits: Limits, found: Sequence[Pace]) -> float | None:
    if limits.latency_ms is None or limits.strict or len(found) < 2:
        return limits.latency_ms
    return max(limits.latency_ms, NO_SLOWER * found[1].median_ms + NO_SLOWER_MS)


def figures_of(report: Report, ruling: Ruling) -> dict[str, Figure]:
    """What was found as plain numbers, for the journal and for people; None where it was not measured."""
    found = report.examination
    figures: dict[str, Figure] = {}
    for who, score in (("candidate", report.candidate), ("active", report.active)):
        if score is not None and score.parts:
            figures |= {
                f"{who}_right": score.right,
                f"{who}_defects_found": score.found,
                f"{who}_false_alarms": score.false_alarms,
            }
    if report.candidate is not None and report.candidate.parts:
        figures |= {"defects": report.candidate.defects, "good": report.candidate.good}
    for what, difference in (("right", ruling.accuracy), ("recall", ruling.recall)):
        if difference is not None:
            figures |= {
                f"{what}_parts": difference.parts,
                f"{what}_won": difference.won,
                f"{what}_lost": difference.lost,
                f"{what}_low": round(difference.low, 6),
                f"{what}_high": round(difference.high, 6),
            }
    for who, pace in zip(("candidate", "active"), report.paces, strict=False):
        figures |= {f"{who}_ms": round(pace.median_ms, 3), f"{who}_p95_ms": round(pace.p95_ms, 3)}
    figures |= {
        "latency_limit_ms": found.latency_limit_ms,
        "memory_bytes": found.memory_bytes,
        "memory_limit_bytes": found.memory_limit_bytes,
        "agreement": found.agreement,
        "agreement_parts": found.agreement_parts or None,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}
