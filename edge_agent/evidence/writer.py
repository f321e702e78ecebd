"""The way in from the inspect loop: an offer costs microseconds, a thread of our own does the rest.

    offer --worth keeping? room in the queue?--> queue --alike? over the hour's quota?--> encode --> store
            no: forgotten     no: counted                yes: counted                               full: told, counted

Nothing here may hold up or end inspection: when the store cannot be written, pictures are lost and counted.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from numpy.random import Generator

from edge_agent.clock import Clock
from edge_agent.errors import (
    BadEvidenceError,
    CorruptStoreError,
    StorageFullError,
    StorageReadOnlyError,
    TransientError,
)
from edge_agent.evidence.candidate import Candidate, look_of
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import group_of
from edge_agent.evidence.keeping import HourlyQuota, KeepRules, Occasion, RecentLooks, reasons_to_keep
from edge_agent.evidence.pictures import PREFIXES
from edge_agent.evidence.store import Draft, EvidenceStore, StoreRules
from edge_agent.records import KeepReason

BATCH = 16
IDLE_S = 1.0
RETRY_FIRST_S, RETRY_CAP_S = 1.0, 60.0
LOOKS_RECALLED = 2000

# What is told while it holds: code, whether it holds, a text. The codes are those of docs/evidence.md.
Trouble = Callable[[str, bool, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    """What may wait for the disk: pictures, and the memory that they hold undeveloped."""

    pictures: int = 64
    memory_bytes: int = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Chosen:
    candidate: Candidate
    reasons: tuple[KeepReason, ...]


@dataclass(slots=True)
class _Queue:
    """What waits, and what could not; guarded by its condition."""

    limits: WriterLimits
    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: deque[_Chosen] = field(default_factory=deque)
    held_bytes: int = 0
    wishes: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    busy: bool = False

    def put(self, chosen: _Chosen) -> bool:
        """Take one more, or count it as dropped."""
        coming = chosen.candidate.held_bytes
        if len(self.waiting) >= self.limits.pictures or self.held_bytes + coming > self.limits.memory_bytes:
            self.count("dropped")
            return False
        self.waiting.append(chosen)
        self.held_bytes += coming
        return True

    def count(self, what: str, number: int = 1) -> None:
        """Note what became of pictures; written down when there is nothing else to do."""
        with self.changed:
            self.counts[what] += number

    def take(self) -> list[_Chosen]:
        """The next few."""
        batch = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
        self.held_bytes -= sum(chosen.candidate.held_bytes for chosen in batch)
        self.busy = bool(batch)
        return batch


class EvidenceWriter:
    """Takes offers from one thread, keeps them in another. `keep` holds the rules by camera and may be replaced."""

    def __init__(
        self,
        root: Path,
        rules: StoreRules,
        keep: Mapping[str, KeepRules],
        clock: Clock,
        generator: Generator,
        *,
        trouble: Trouble,
        limits: WriterLimits | None = None,
    ) -> None:
        """`trouble` is told of faults and their end, from the writer's thread."""
        self.keep = keep
        self._generator = generator
        self._clock = clock
        self._queue = _Queue(limits or WriterLimits())
        self._wake, self._hurry = threading.Event(), threading.Event()
        self._closing = False
        self._crash: BaseException | None = None
        self._keeper = _Keeper(root, rules, clock, trouble)
        self._thread = threading.Thread(target=self._guarded, name="evidence-writer", daemon=True)
        self._thread.start()

    def offer(self, candidate: Candidate) -> bool:
        """Whether the picture goes to the writer; never waits for it.

        Raises:
            RuntimeError: the writer's thread died of an exception that is not a fault of the disk.
        """
        if self._crash is not None:
            raise RuntimeError(f"the evidence writer's thread died: {self._crash!r}") from self._crash
        camera = candidate.inspection.camera
        rules = self.keep.get(camera)
        if rules is None:
            return False
        with self._queue.changed:
            asked = self._queue.wishes.get(camera, 0) > 0
            occasion = Occasion(
                inspection=candidate.inspection,
                draw=float(self._generator.random()),
                unlikeness=candidate.unlikeness,
                requested=asked,
                differs=candidate.differs,
            )
            reasons = reasons_to_keep(occasion, rules)
            if not reasons or not self._queue.put(_Chosen(candidate, reasons)):
                return False
            if KeepReason.REQUEST in reasons:
                self._queue.wishes[camera] -= 1
        self._wake.set()
        return True

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything offered so far is kept or counted; False when that took longer."""
        self._hurry.set()
        self._wake.set()
        with self._queue.changed:
            return self._queue.changed.wait_for(
                lambda: self._crash is not None or not (self._queue.waiting or self._queue.busy), timeout_s
            )

    def close(self, timeout_s: float = 5.0) -> int:
        """Keep what waits, end the thread; returns how many pictures were lost."""
        self.flush(timeout_s)
        self._closing = True
        self._hurry.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return len(self._queue.waiting)

    def _guarded(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            self._crash = error
        finally:
            self._keeper.close()
            with self._queue.changed:
                self._queue.changed.notify_all()

    def _work(self) -> None:
        pause_s = IDLE_S
        while not self._closing:
            with self._queue.changed:
                batch = self._queue.take()
            done = self._keeper.keep(batch, self.keep, self._queue) if batch else self._keeper.tidy(self._queue)
            with self._queue.changed:
                self._queue.busy = False
                more = bool(self._queue.waiting)
                self._queue.changed.notify_all()
            pause_s = IDLE_S if done else min(RETRY_CAP_S, max(RETRY_FIRST_S, 2 * pause_s))
            if not (more and done):
                # After a fault new offers do not hurry the next attempt.
                wake = self._wake if done else self._hurry
                self._clock.wait(wake, pause_s)
                wake.clear()
        # The counts of what was not kept are worth a last try.
        self._keeper.tidy(self._queue)


class _Keeper:
    """The disk side, on the writer's thread: what was chosen becomes samples; faults and their end are told."""

    def __init__(self, root: Path, rules: StoreRules, clock: Clock, trouble: Trouble) -> None:
        self._root = root
        self._rules = rules
        self._clock = clock
        self._trouble = trouble
        self._store: EvidenceStore | None = None
        self._looks = RecentLooks()
        self._quota = HourlyQuota()
        self._to_sweep = list(PREFIXES)
        self._fault: str | None = None

    def keep(self, batch: list[_Chosen], rules: Mapping[str, KeepRules], queue: _Queue) -> bool:
        """Keep a batch; False, with the fault told and the pictures counted, when that is not possible now."""

        def work(store: EvidenceStore) -> None:
            drafts = [draft for chosen in batch if (draft := self._develop(chosen, rules, queue)) is not None]
            kept = store.add(drafts)
            store.grant(Counter(s.camera or "" for s in kept if KeepReason.REQUEST in s.kept))
            queue.count("kept", len(kept))

        if self._tried(work):
            return True
        queue.count("not-written", len(batch))
        return False

    def tidy(self, queue: _Queue) -> bool:
        """When nothing waits: look for wishes, write the counts, keep the disk's floor, sweep one prefix."""

        def work(store: EvidenceStore) -> None:
            wishes = store.wishes()
            with queue.changed:
                queue.wishes = wishes if not queue.waiting else queue.wishes
                counts, queue.counts = queue.counts, Counter()
            try:
                store.count(counts)
            except TransientError:
                with queue.changed:
                    queue.counts += counts
                raise
            if store.is_short():
                store.make_room(0)
            if self._to_sweep:
                store.sweep(self._to_sweep[-1])
                self._to_sweep.pop()

        return self._tried(work)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _develop(self, chosen: _Chosen, rules: Mapping[str, KeepRules], queue: _Queue) -> Draft | None:
        candidate, camera = chosen.candidate, chosen.candidate.inspection.camera
        mine = rules.get(camera, KeepRules())
        likeness = candidate.likeness()
        asked = KeepReason.REQUEST in chosen.reasons
        if not asked and not self._looks.is_new(camera, candidate.look(likeness), mine.alike_bits):
            queue.count("alike")
            return None
        if not self._quota.admit(camera, chosen.reasons, self._clock.mono_s(), mine.per_hour):
            queue.count("over-quota")
            return None
        self._looks.add(camera, candidate.look(likeness))
        encoded = candidate.encode()
        group = group_of(candidate.inspection, self._rules.seal)
        return Draft(
            sample=candidate.sample(encoded, likeness=likeness, kept=chosen.reasons, group=group),
            content=encoded.content,
            suffix=encoded.suffix,
            vector=candidate.vector,
            heat=None if candidate.heat is None else candidate.heat(),
        )

    def _tried(self, work: Callable[[EvidenceStore], None]) -> bool:
        try:
            work(self._opened())
        except StorageFullError as error:
            self._tell("evidence-full", str(error))
        except StorageReadOnlyError as error:
            self._tell("state-read-only", str(error))
        except CorruptStoreError as error:
            self._tell("evidence-damaged", str(error))
        except (TransientError, BadEvidenceError) as error:
            self._tell("evidence-fault", str(error))
        else:
            self._tell(None, "")
            return True
        # What was not written must not count as seen: the next attempt opens anew and recalls what is really there.
        self.close()
        return False

    def _opened(self) -> EvidenceStore:
        if self._store is None:
            store = EvidenceStore(self._root, self._rules)
            self._looks = RecentLooks()
            try:
                # A sweep takes away files without rows: first be sure that no row is missing.
                store.database.check()
                for sample in reversed(Catalogue(store.database).find(Wanted(), limit=LOOKS_RECALLED)):
                    look = look_of(sample)
                    if look is not None and sample.camera is not None:
                        self._looks.add(sample.camera, look)
            except (TransientError, CorruptStoreError):
                store.close()
                raise
            self._store = store
        return self._store

    def _tell(self, code: str | None, text: str) -> None:
        if self._fault not in (None, code):
            self._trouble(self._fault or "", False, "kept again")
        if code is not None and code != self._fault:
            self._trouble(code, True, text)
        self._fault = code
