"""The trials of a model store: each step under the writers' lock, told in the journal, by one replaced file.

propose --> SHADOW --settle(event)--> ... --> KEPT | DISMISSED | ROLLED_BACK | ENDED      learn/release.py: the table
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.errors import BadBundleError
from edge_agent.learn.release import Event, Stage, after
from edge_agent.models import journal
from edge_agent.models.journal import GATEWAY, Figure, Step
from edge_agent.models.manifests import AnyManifest
from edge_agent.models.pointer import Pointer, content, proposed, settled
from edge_agent.models.trial import Trial

# What the journal calls the step into a stage.
TOLD: Mapping[Stage, journal.Event] = {
    Stage.WAITING: journal.Event.WAITING,
    Stage.PROBATION: journal.Event.PROMOTED,
    Stage.KEPT: journal.Event.KEPT,
    Stage.DISMISSED: journal.Event.DISMISSED,
    Stage.ROLLED_BACK: journal.Event.ROLLED_BACK,
}


class Told(Protocol):
    """Takes a step, in the block, that the journal tells of; without `must` also where the journal cannot."""

    def __call__(self, step: Step, *, must: bool = True) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What trials use of their store: its lock, its pointers, its manifests, its journal."""

    writing: Callable[[], AbstractContextManager[None]]
    read: Callable[[str], Pointer | None]
    write: Callable[[str, Pointer], None]
    manifest: Callable[[str], AnyManifest]
    told: Told


class Trials:
    """One trial a model at most. Safe for several threads and processes, as the store is."""

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files = files
        self._clock = clock

    def of(self, name: str) -> Trial | None:
        """The trial of this model that goes on, else the last one; None before the first.

        Raises:
            CorruptStoreError: the pointer file is damaged.
        """
        pointer = self._files.read(name)
        return None if pointer is None else pointer.trial

    def propose(
        self, name: str, digest: str, *, by: str, reasons: tuple[str, ...] = (), won: int = 0, sealed: int = 0
    ) -> Trial:
        """Put a staged bundle on trial; the caller has written why into the journal. A newer one takes its place.

        `won` of `sealed` parts of the hold-out are those where only the candidate is right.

        Raises:
            BadBundleError: no such bundle, of another name, active already, turned down before, or nothing is active.
            StorageFullError, StorageReadOnlyError, TransientError: nothing changed; try again later.
        """
        manifest = self._files.manifest(digest)
        if manifest.name != name:
            raise BadBundleError(f"bundle {digest[:12]} is a model {manifest.name!r}, not {name!r}")
        with self._files.writing():
            pointer = self._files.read(name)
            if pointer is None:
                raise BadBundleError(f"model {name!r} has no active bundle to be held against; activate one first")
            if pointer.open_trial is not None and pointer.open_trial.candidate == digest:
                return pointer.open_trial
            self._check_new(pointer, digest, content(manifest))
            trial = Trial(
                candidate=digest,
                reference=pointer.active,
                stage=Stage.SHADOW,
                since_utc_s=self._clock.utc_s(),
                by=by,
                reasons=reasons,
                won=won,
                sealed=sealed,
            )
            after_it = proposed(pointer, trial)
            before = pointer.open_trial
            if before is not None and before.stage is not Stage.PROBATION:
                reason = f"a newer candidate came: {digest[:12]}"
                step = self._step(journal.Event.DISMISSED, name, before.candidate, by, pointer.active, (reason,))
                with self._files.told(step):
                    self._files.write(name, after_it)
            else:
                self._files.write(name, after_it)
            return trial if after_it.trial is None else after_it.trial

    def _check_new(self, pointer: Pointer, digest: str, what: str) -> None:
        if digest == pointer.active:
            raise BadBundleError(f"bundle {digest[:12]} is active already")
        if what in pointer.rejected:
            raise BadBundleError(
                f"bundle {digest[:12]} was turned down before: its files are those of a candidate that was dismissed "
                "or rolled back; `edge-agent models activate` uses it all the same"
            )

    def settle(
        self,
        name: str,
        candidate: str,
        event: Event,
        *,
        by: str = GATEWAY,
        reasons: tuple[str, ...] = (),
        figures: Mapping[str, Figure] | None = None,
    ) -> Pointer:
        """What has become of the candidate: the pointer moves with its trial or neither does.

        Raises:
            BadBundleError: this candidate is not on trial, or not in a stage in which the event means something.
            StorageFullError, StorageReadOnlyError, TransientError: nothing changed; try again.
        """
        with self._files.writing():
            pointer = self._files.read(name)
            trial = None if pointer is None else pointer.open_trial
            if pointer is None or trial is None or trial.candidate != candidate:
                raise BadBundleError(f"bundle {candidate[:12]} of model {name!r} is not on trial any more")
            what = self._content(candidate)
            after_it = settled(pointer, event, reasons, self._clock.utc_s(), what)
            stage = after(trial.stage, event)
            told = None if stage is None else TOLD.get(stage)
            if told is None:
                self._files.write(name, after_it)
                return after_it
            back = stage is Stage.ROLLED_BACK
            digest, origin = (trial.reference, candidate) if back else (candidate, pointer.active)
            if stage is Stage.KEPT:
                origin = trial.reference
            # The way back must not wait for a disk that has room to tell of it.
            with self._files.told(self._step(told, name, digest, by, origin, reasons, figures), must=not back):
                self._files.write(name, after_it)
            return after_it

    def _content(self, digest: str) -> str:
        try:
            return content(self._files.manifest(digest))
        except BadBundleError:  # its manifest is damaged: it cannot be proposed again, and must not bar the way back
            return digest

    def keep(self, name: str, trial: Trial) -> None:
        """Keep what was counted of this very trial; where it has gone on or ended meanwhile nothing is changed.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: it is not kept; counts are as they were.
        """
        with self._files.writing():
            pointer = self._files.read(name)
            now = None if pointer is None else pointer.open_trial
            if pointer is None or now is None or (now.candidate, now.stage) != (trial.candidate, trial.stage):
                return
            kept = replace(
                now, shadow=trial.shadow, probation=trial.probation, crashes=trial.crashes, in_use=trial.in_use
            )
            if kept != now:
                self._files.write(name, replace(pointer, trial=kept))

    def tell(self, name: str, event: journal.Event, trial: Trial, reasons: tuple[str, ...] = ()) -> None:
        """Write into the journal what changes no pointer: that a shadow run or a probation has really begun.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError: it is not there.
        """
        with self._files.told(self._step(event, name, trial.candidate, GATEWAY, trial.reference, reasons)):
            pass

    def _step(
        self,
        event: journal.Event,
        name: str,
        digest: str,
        by: str,
        origin: str | None,
        reasons: tuple[str, ...],
        figures: Mapping[str, Figure] | None = None,
    ) -> Step:
        return Step(
            event=event,
            name=name,
            digest=digest,
            by=by,
            at_utc_s=self._clock.utc_s(),
            from_digest=origin,
            reasons=reasons,
            figures=dict(figures or {}),
        )
