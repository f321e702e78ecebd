"""From a staged candidate to a trial, or to the reason why not: what the gate looks at, its ruling, the journal.

candidate, active --sealed hold-out, golden answers, this device--> Examination --learn.gate--> PASS, UNPROVEN: on trial
                                                                                            `-> REFUSE: nothing changes
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import decode
from edge_agent.clock import Clock
from edge_agent.errors import BadEvidenceError, BadPictureError
from edge_agent.evidence.views import GateView
from edge_agent.learn.gate import Examination, Judged, Outcome, Policy, Ruling, rule
from edge_agent.learn.teach import judge, vectors_of
from edge_agent.models.coding import code_picture
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import LEARN, Event, Figure, Step
from edge_agent.models.loading import LoadedModel, with_encoder
from edge_agent.models.store import ModelStore
from edge_agent.processes.evidence_place import FOLDER

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pass works with; `by` is who stands for it in the journal."""

    state_dir: Path
    store: ModelStore
    runtime: RuntimeOptions
    flavour: str
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    by: str = LEARN


@dataclass(frozen=True, slots=True, kw_only=True)
class PutForward:
    """What came of a candidate: `reasons` are those of the ruling, `figures` what was found out about it."""

    digest: str
    outcome: Outcome
    reasons: tuple[str, ...]
    figures: Mapping[str, Figure]

    @property
    def accepted(self) -> bool:
        """Whether it went on; a candidate that was refused changed nothing."""
        return self.outcome is not Outcome.REFUSE


def put_forward(name: str, digest: str, ground: Ground) -> PutForward:
    """Examine the staged bundle `digest` against the active one of `name`, rule on it, and let it go on or not.

    Raises:
        BadBundleError: no such bundle, or it is of another name.
        TransientError, CorruptStoreError, StorageFullError, StorageReadOnlyError: try again later; nothing changed.
    """
    active = ground.store.active(name)
    examination = _examine(name, active, digest, ground)
    ruling = rule(examination, ground.policy)
    found = PutForward(digest=digest, outcome=ruling.outcome, reasons=ruling.reasons, figures=_figures(ruling))
    event = Event.PROPOSED if found.accepted else Event.REFUSED
    ground.store.journal.write(
        Step(
            event=event,
            name=name,
            digest=digest,
            from_digest=active,
            by=ground.by,
            at_utc_s=ground.clock.utc_s(),
            reasons=found.reasons,
            figures=found.figures,
        )
    )
    if found.accepted:
        ground.store.activate(name, digest, ground.runtime, ground.flavour, by=ground.by)
    return found


def _examine(name: str, active: str | None, digest: str, ground: Ground) -> Examination:
    candidate = with_encoder(ground.store.load(digest, ground.runtime, ground.flavour))
    if active is None:
        return Examination(judged=())
    before = with_encoder(ground.store.load(active, ground.runtime, ground.flavour))
    return Examination(judged=_judged(name, before, candidate, ground))


def _judged(name: str, active: LoadedModel, candidate: LoadedModel, ground: Ground) -> tuple[Judged, ...]:
    view = GateView(ground.state_dir / FOLDER)
    try:
        codes, labels = [], []
        for lesson in view.lessons(name):
            try:
                image = decode(view.picture(lesson.sample.id))
            except (BadPictureError, BadEvidenceError) as error:
                log.warning("sample=%s skipped reason=%s", lesson.sample.id, error)
                continue
            codes.append(code_picture(candidate, image, 1)[1])
            labels.append(str(lesson.sample.truth))
    finally:
        view.close()
    return (
        judge(active.head, candidate.head, vectors_of(candidate.code, np.concatenate(codes)), labels) if labels else ()
    )


def _figures(ruling: Ruling) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name, difference in (("right", ruling.accuracy), ("recall", ruling.recall)):
        if difference is not None:
            figures |= {
                f"{name}_parts": difference.parts,
                f"{name}_won": difference.won,
                f"{name}_lost": difference.lost,
                f"{name}_low": difference.low,
                f"{name}_high": difference.high,
            }
    return figures
