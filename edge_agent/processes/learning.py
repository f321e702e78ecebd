"""One learning pass over one model: from what people said to a head on trial, or the reason why not.

evidence (open) --labels--> book: new, changed and withdrawn samples --> candidate head
evidence (sealed) --both heads judge--> gate --PASS, UNPROVEN--> bundle with the new head, on trial
                                           `--REFUSE--> nothing changes, the reasons are told
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_agent.clock import Clock, rfc3339
from edge_agent.errors import RefusedError
from edge_agent.evidence.views import LearnerView
from edge_agent.learn.teach import teach
from edge_agent.models.journal import Figure
from edge_agent.models.loading import LoadedModel
from edge_agent.processes.books import base_is_news, base_of, book_of, brought_up, keep_book
from edge_agent.processes.candidates import Ground, put_forward
from edge_agent.processes.evidence_place import FOLDER

log = logging.getLogger(__name__)


class Result(str, enum.Enum):
    """How a pass ended."""

    NOTHING_NEW = "nothing-new"  # the labels are those that the head in force was made from
    UNLEARNABLE = "unlearnable"  # too few labels or classes
    REFUSED = "refused"  # the gate: the head in force is better
    ON_TRIAL = "on-trial"  # the gate let it through: it judges beside the head in force; `reason`: what is not proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass and its outcome in words."""

    model: str
    result: Result
    samples: int
    reason: str = ""
    digest: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    took_ms: Mapping[str, float] = field(default_factory=dict)


class _Laps:
    """How long each stretch of a pass took, in milliseconds and in order."""

    def __init__(self, clock: Clock) -> None:
        self.took_ms: dict[str, float] = {}
        self._clock = clock
        self._since_s = clock.mono_s()

    def lap(self, stretch: str) -> None:
        now_s = self._clock.mono_s()
        self.took_ms[stretch] = round((now_s - self._since_s) * 1e3, 1)
        self._since_s = now_s


def learn(name: str, ground: Ground) -> Pass:
    """One pass over the model of this name.

    Raises:
        TransientError, CorruptStoreError, StorageFullError, StorageReadOnlyError: try again later; nothing is lost.
        BadBundleError, ProviderError: the model cannot be used.
    """
    laps = _Laps(ground.clock)
    active = ground.store.active(name)
    if active is None:
        return Pass(model=name, result=Result.UNLEARNABLE, samples=0, reason="no bundle is active")
    model = ground.store.load(active, ground.runtime, ground.flavour)
    if not isinstance(model, LoadedModel):
        return Pass(model=name, result=Result.UNLEARNABLE, samples=0, reason="its kind has no head to teach")
    laps.lap("load")
    view = LearnerView(ground.state_dir / FOLDER)
    try:
        lessons = view.lessons(name)
        before = book_of(name, model, ground.state_dir)
        book = brought_up(before, lessons, model, view)
    finally:
        view.close()
    laps.lap("book")
    base = base_of(name, model, ground.state_dir)
    known = book.entries == before.entries and not base_is_news(name, model, ground.state_dir)
    trial = ground.store.trial(name)
    # A head on trial was made from these labels already; the one in force is then still that of before.
    if known and (model.manifest.trained_on == "site" or (trial is not None and trial.stage.open)):
        return Pass(model=name, result=Result.NOTHING_NEW, samples=len(book.entries))
    groups = {lesson.sample.id: lesson.sample.group for lesson in lessons}
    try:
        taught = teach(book, groups, model.code, model.manifest.good_classes, base)
    except RefusedError as error:
        keep_book(name, book, ground.state_dir)
        return Pass(model=name, result=Result.UNLEARNABLE, samples=len(book.entries), reason=str(error))
    laps.lap("solve")
    version = "head-" + rfc3339(ground.clock.utc_s()).replace(":", "").replace("-", "").lower().replace(".", "-")
    found = put_forward(name, ground.store.with_head(active, taught.head, version[:64], taught.familiar), ground)
    laps.lap("gate")
    # Last: a pass that was killed before is made again.
    keep_book(name, book, ground.state_dir)
    laps.lap("write")
    return Pass(
        model=name,
        result=Result.ON_TRIAL if found.accepted else Result.REFUSED,
        samples=taught.samples,
        reason="; ".join(found.reasons),
        digest=found.digest,
        figures=found.figures,
        took_ms=laps.took_ms,
    )
