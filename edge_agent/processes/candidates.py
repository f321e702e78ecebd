"""From a staged candidate to a trial, or to the reason why not: what the gate looks at, its ruling, the journal.

    candidate, active --sealed hold-out, this device--> Examination --learn.gate--> PASS, UNPROVEN: on trial
                                                                                `-> REFUSE: nothing changes

Learning and fine-tuning both end here; each ruling leaves a line in the journal with every figure that it rests on.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edge_agent.capture.picture import decode
from edge_agent.clock import Clock
from edge_agent.config.settings import Settings
from edge_agent.errors import BadBundleError, BadEvidenceError, BadPictureError
from edge_agent.evidence.views import GateView, Lesson
from edge_agent.learn.gate import Difference, Outcome, Policy, rule
from edge_agent.learn.teach import vectors_of
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import LEARN, Event, Figure, Step
from edge_agent.models.loading import LoadedModel, coder_of
from edge_agent.models.manifests import AnyManifest
from edge_agent.models.store import ModelStore
from edge_agent.processes.books import Side, book_of, brought_up, keep_book
from edge_agent.processes.evidence_place import FOLDER
from edge_agent.processes.examination import Device, Limits, examine, figures_of
from edge_agent.processes.looks import Looker, OnDone, Part
from edge_agent.processes.runtime_plan import RuntimePlan
from edge_agent.records import Features

log = logging.getLogger(__name__)

# A loss of one point shows on as many; more would only take longer. Those of the latest groups count.
SEALED_MAX = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pass works with; `limits` by model name, `by` is who stands for it in the journal."""

    state_dir: Path
    store: ModelStore
    runtime: RuntimeOptions
    flavour: str
    clock: Clock
    policy: Policy = field(default_factory=Policy)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    by: str = LEARN

    def device(self, name: str) -> Device:
        """This gateway, as the model of this name has it."""
        return Device(
            store=self.store,
            runtime=self.runtime,
            flavour=self.flavour,
            clock=self.clock,
            limits=self.limits.get(name, Limits()),
        )


def ground_of(settings: Settings, plan: RuntimePlan, store: ModelStore, clock: Clock) -> Ground:
    """The ground of a pass with this configuration on this device."""
    names = {name for camera in settings.cameras.values() for name in camera.model_names}
    return Ground(
        state_dir=settings.storage.state_dir,
        store=store,
        runtime=plan.runtime,
        flavour=plan.flavour,
        clock=clock,
        limits={
            name: Limits(
                latency_ms=settings.models.latency_limit_ms or line_leaves_ms(settings, name),
                strict=settings.models.latency_limit_ms is not None,
                memory_bytes=plan.choice.profile.memory.inspect_bytes,
            )
            for name in names
        },
    )


def line_leaves_ms(settings: Settings, name: str) -> float | None:
    """How long a look of this model may take by what the cameras are configured for; None where none has it.

    That is the shortest `verdict_within_ms` of the cameras on which the model judges, and the time between two frames
    of all cameras together, each of which every one of its models looks at: one thread judges them all.
    """
    mine = [camera for camera in settings.cameras.values() if name in camera.model_names]
    if not mine:
        return None
    looks_per_s = sum(camera.fps * (1 + len(camera.models)) for camera in settings.cameras.values())
    within_ms = [float(camera.verdict_within_ms) for camera in mine if camera.verdict_within_ms is not None]
    return min([1000.0 / looks_per_s, *within_ms])


@dataclass(frozen=True, slots=True, kw_only=True)
class PutForward:
    """What came of a candidate: `reasons` are those of the ruling, `figures` what was found out about it.

    `on_trial`: it judges beside the active bundle first; accepted without, it is the first of its name, and in force.
    """

    digest: str
    outcome: Outcome
    reasons: tuple[str, ...]
    figures: Mapping[str, Figure]
    on_trial: bool

    @property
    def accepted(self) -> bool:
        """Whether it goes on; a candidate that was refused changed nothing."""
        return self.outcome is not Outcome.REFUSE


def put_forward(name: str, digest: str, ground: Ground, on_done: OnDone | None = None) -> PutForward:
    """Examine the staged bundle `digest` against the active one of `name`, rule on it, and let it go on or not.

    `on_done` is told how many sealed parts have been looked at.

    Raises:
        BadBundleError: no such bundle, it is of another name, or the active one cannot be loaded.
        ProviderError: this device cannot run models.
        TransientError, CorruptStoreError, StorageFullError, StorageReadOnlyError: try again later; nothing changed.
    """
    manifest = ground.store.manifest(digest)
    if manifest.name != name:
        raise BadBundleError(f"bundle {digest[:12]} is a model {manifest.name!r}, not {name!r}")
    active = ground.store.active(name)
    report = examine(digest, active, _parts(name, active, manifest, ground), ground.device(name), on_done)
    ruling = rule(report.examination, ground.policy)
    found = PutForward(
        digest=digest,
        outcome=ruling.outcome,
        reasons=ruling.reasons,
        figures=figures_of(report, ruling),
        on_trial=active is not None and ruling.outcome is not Outcome.REFUSE,
    )
    step = Step(
        event=Event.PROPOSED if found.accepted else Event.REFUSED,
        name=name,
        digest=digest,
        from_digest=active,
        by=ground.by,
        at_utc_s=ground.clock.utc_s(),
        reasons=found.reasons,
        figures=found.figures,
    )
    try:
        with ground.store.journal.told(step):
            if found.accepted:
                _go_on(name, found, ground, ruling.accuracy)
    except BadBundleError as error:  # it was turned down before, or is in force already
        return replace(found, outcome=Outcome.REFUSE, reasons=(str(error),), on_trial=False)
    return found


def _go_on(name: str, found: PutForward, ground: Ground, accuracy: Difference | None) -> None:
    """On trial beside the active bundle; where none is, there is nothing to be held against, and it goes into force."""
    if found.on_trial:
        won, sealed = (accuracy.won, accuracy.parts) if accuracy is not None else (0, 0)
        ground.store.propose(name, found.digest, by=ground.by, reasons=found.reasons, won=won, sealed=sealed)
        return
    ground.store.activate(name, found.digest, ground.runtime, ground.flavour, by=ground.by)


def _parts(name: str, active: str | None, manifest: AnyManifest, ground: Ground) -> Iterable[Part]:
    """The sealed parts, as pictures; for a new head on the encoder in force, as that encoder saw them before."""
    if active is not None and (ground.state_dir / FOLDER).is_dir():
        model = ground.store.load(active, ground.runtime, ground.flavour)
        if isinstance(model, LoadedModel) and coder_of(manifest, model.flavour) == model.coder:
            return known_parts(name, model, ground.state_dir)
    return sealed_parts(name, ground.state_dir)


def known_parts(name: str, model: LoadedModel, state_dir: Path, limit: int = SEALED_MAX) -> list[Part]:
    """`sealed_parts` as this model's encoder saw them; those that it has not seen yet it looks at now, once.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError, CorruptStoreError: try again later.
    """
    with contextlib.closing(GateView(state_dir / FOLDER)) as view:
        before = book_of(name, model, state_dir, Side.SEALED)
        book = brought_up(before, _lessons(view, name, limit), model, view)
    if book.entries != before.entries:
        keep_book(name, book, state_dir, Side.SEALED)
    network, no_map = Looker(model).network, np.empty((0, 0, 0), np.float32)
    vectors = vectors_of(model.code, book.codes[:, 0])
    return [
        Part(truth=label, answers={network: Features(vector=vector, map=no_map)})
        for label, vector in zip(book.labels, vectors, strict=True)
    ]


def sealed_parts(name: str, state_dir: Path, limit: int = SEALED_MAX) -> Iterator[Part]:
    """The sealed hold-out of a model: labelled pictures that nothing was learned from, the newest `limit` of them.

    A picture that is damaged or gone is left out, and the log says which.

    Raises:
        TransientError, CorruptStoreError: the store cannot be read.
    """
    if not (state_dir / FOLDER).is_dir():
        return
    with contextlib.closing(GateView(state_dir / FOLDER)) as view:
        for lesson in _lessons(view, name, limit):
            try:
                image = decode(view.picture(lesson.sample.id))
            except (BadPictureError, BadEvidenceError) as error:
                log.warning("sample=%s skipped reason=%s", lesson.sample.id, error)
                continue
            yield Part(truth=str(lesson.sample.truth), image=image)


def sealed_count(name: str, state_dir: Path, limit: int = SEALED_MAX) -> int:
    """How many parts `sealed_parts` will give at most.

    Raises:
        TransientError, CorruptStoreError: the store cannot be read.
    """
    if not (state_dir / FOLDER).is_dir():
        return 0
    with contextlib.closing(GateView(state_dir / FOLDER)) as view:
        return len(_lessons(view, name, limit))


def _lessons(view: GateView, name: str, limit: int) -> Sequence[Lesson]:
    """Ids are ULIDs, so the last are the newest."""
    return view.lessons(name)[-limit:]
