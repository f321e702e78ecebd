"""From a finished job to a candidate: staged, the statistics rebuilt by its encoder, a head solved anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import BadBundleError
from edge_agent.evidence.views import LearnerView
from edge_agent.learn.teach import teach
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import LoadedModel
from edge_agent.models.store import ModelStore
from edge_agent.processes.books import book_of, brought_up, keep_book


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where bundles go and how this device runs them."""

    state_dir: Path
    store: ModelStore
    runtime: RuntimeOptions
    flavour: str


def candidate_of(bundle_dir: Path, name: str, version: str, place: Place, view: LearnerView) -> str:
    """Stage the bundle, with a head of all labels of `view` as they stand now; the digest of the candidate.

    The book is kept beside that of the active encoder: it is there when the candidate wins.

    Raises:
        BadBundleError: the bundle breaks a rule, or is of another kind.
        RefusedError: the labels teach nothing any more.
        StorageFullError, StorageReadOnlyError, TransientError, CorruptStoreError: try again later.
    """
    staged = place.store.stage(bundle_dir)
    model = place.store.load(staged, place.runtime, place.flavour)
    if not isinstance(model, LoadedModel):
        raise BadBundleError(f"bundle {staged[:12]} has no head to teach")
    lessons = view.lessons(name)
    book = brought_up(book_of(name, model, place.state_dir), lessons, model, view)
    keep_book(name, book, place.state_dir)
    groups = {lesson.sample.id: lesson.sample.group for lesson in lessons}
    taught = teach(book, groups, model.code, model.manifest.good_classes)
    return place.store.with_head(staged, taught.head, version, taught.familiar)
