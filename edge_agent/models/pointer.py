"""Which bundle of a model is active, which was before, which is on trial: one small file, replaced as a whole. Pure.

    pointer{active, previous, trial} --proposed, settled, moved--> pointer

The trial lies in the file of the pointer, so that a kill leaves the candidate in force and on probation, or neither.
While a new candidate is in its shadow run, the probation that it interrupts rests inside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from edge_agent.errors import BadBundleError
from edge_agent.learn.release import Event, Stage, after
from edge_agent.models.bundle import SHA256
from edge_agent.models.fields import Field
from edge_agent.models.manifests import AnyManifest
from edge_agent.models.trial import Trial, from_plain, to_plain

# A gateway that learns ten times a day forgets what it turned down after two weeks; by then its labels are others.
REJECTED_KEPT = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Digests; `previous` is what a rollback returns to, None before the second activation.

    `trial` is the last one, open or not. `rejected` are candidates that were turned down, by `content`: the same head
    solved again is another bundle by its date, and no other by what it does.
    """

    active: str
    previous: str | None
    trial: Trial | None = None
    rejected: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        plain = {
            "active": self.active,
            "previous": self.previous,
            "trial": None if self.trial is None else to_plain(self.trial),
            "rejected": list(self.rejected),
        }
        return json.dumps(plain, sort_keys=True).encode() + b"\n"

    @staticmethod
    def from_bytes(content: bytes) -> Pointer:
        """Parse a pointer. A trial that cannot be read has ended: the line depends on the rest.

        Raises:
            BadBundleError: it is damaged.
        """
        try:
            root = Field(json.loads(content), "pointer")
        except (ValueError, RecursionError) as error:
            raise BadBundleError(f"not a pointer ({error})") from error
        previous = root.get("previous")
        trial, rejected = _trial(root)
        return Pointer(
            active=root.get("active").text(SHA256),
            previous=None if previous.value is None else previous.text(SHA256),
            trial=trial,
            rejected=rejected,
        )

    @property
    def open_trial(self) -> Trial | None:
        """The trial that goes on."""
        return self.trial if self.trial is not None and self.trial.stage.open else None

    @property
    def on_trial(self) -> frozenset[str]:
        """Bundles that an open trial needs."""
        found, trial = set(), self.open_trial
        while trial is not None:
            found |= {trial.candidate, trial.reference}
            trial = trial.resting
        return frozenset(found)


def content(manifest: AnyManifest) -> str:
    """What stands for all that a bundle does, whatever it is called: the hashes of its files."""
    return hashlib.sha256(" ".join(sorted(file.sha256 for file in manifest.files)).encode()).hexdigest()


def proposed(pointer: Pointer, trial: Trial) -> Pointer:
    """A new candidate's shadow run begins. A probation rests meanwhile; another shadow run ends."""
    before = pointer.open_trial
    resting = before if before is None or before.stage is Stage.PROBATION else before.resting
    reference = resting.reference if resting is not None else pointer.active
    return replace(pointer, trial=replace(trial, reference=reference, resting=resting))


def settled(pointer: Pointer, event: Event, reasons: tuple[str, ...], utc_s: float, what: str) -> Pointer:
    """The pointer after an event of its trial; `what` is the candidate's content.

    Raises:
        BadBundleError: no trial is open, or the event means nothing in its stage.
    """
    trial = pointer.open_trial
    stage = None if trial is None else after(trial.stage, event)
    if trial is None or stage is None:
        standing = "no candidate is on trial" if trial is None else f"the candidate is in its {trial.stage.value} stage"
        raise BadBundleError(f"{standing}; expected one that can be {event.value}")
    step = replace(trial, stage=stage, since_utc_s=utc_s, reasons=reasons, resting=None, in_use=False)
    if event in (Event.WORSE, Event.REFUSED):
        known = (*(other for other in pointer.rejected if other != what), what)
        pointer = replace(pointer, rejected=known[-REJECTED_KEPT:])
    if stage is Stage.PROBATION:
        return replace(pointer, active=trial.candidate, previous=pointer.active, trial=step)
    if stage is Stage.ROLLED_BACK:
        return replace(pointer, active=trial.reference, previous=trial.candidate, trial=step)
    if stage is Stage.WAITING:
        return replace(pointer, trial=replace(step, resting=trial.resting))
    if stage is Stage.DISMISSED and trial.resting is not None:
        return replace(pointer, trial=replace(trial.resting, since_utc_s=utc_s))
    return replace(pointer, trial=step)


def moved(pointer: Pointer | None, active: str, previous: str | None, utc_s: float, what: str) -> Pointer:
    """The pointer after somebody chose a bundle by hand: an open trial has ended, and what was turned down may be."""
    if pointer is None:
        return Pointer(active=active, previous=previous)
    trial = pointer.trial
    if trial is not None and trial.stage.open:
        reasons = (f"bundle {active[:12]} was chosen by hand",)
        trial = replace(trial, stage=Stage.ENDED, since_utc_s=utc_s, reasons=reasons, resting=None, in_use=False)
    rejected = tuple(other for other in pointer.rejected if other != what)
    return Pointer(active=active, previous=previous, trial=trial, rejected=rejected)


def _trial(root: Field) -> tuple[Trial | None, tuple[str, ...]]:
    try:
        trial, rejected = root.get("trial"), root.get("rejected")
        known = tuple(entry.text(SHA256) for entry in rejected.items(0, REJECTED_KEPT))
        return None if trial.value is None else from_plain(trial), known
    except BadBundleError:
        return None, ()
