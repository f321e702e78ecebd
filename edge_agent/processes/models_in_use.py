"""The models that are loaded now, and how they change: at the start, by command, or because a pointer moved.

    store pointers --watch--> background thread: load, golden vectors --poll--> models (one assignment per name)

Loading takes a second, minutes where an engine is built for it first, and must not hold a frame up: it happens in a
thread of its own; only `poll`, in the main thread, changes what is in use. Until then the model before it judges, and
what cannot be loaded leaves that one in force and raises an alarm.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from edge_agent.clock import Clock
from edge_agent.errors import EdgeAgentError, ProviderError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import GATEWAY
from edge_agent.models.loading import AnyModel
from edge_agent.models.store import ModelStore
from edge_agent.sync.alarms import Condition
from edge_agent.sync.payloads import ModelState

log = logging.getLogger(__name__)

Done = Callable[[str | None], None]  # told None when the model is in use, or why it is not
Progress = Callable[[str], None]  # told about once a second what is being waited for

PROGRESS_S = 10.0  # so often a model that is being loaded is news again
WAIT_S = 1.0
LOADING = "loading"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loading:
    """What a background thread is at since when; `told_mono_s`: when that was news last."""

    what: str
    since_mono_s: float
    told_mono_s: float

    def words(self, now_mono_s: float) -> str:
        return f"{self.what} for {now_mono_s - self.since_mono_s:.0f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a background thread brings back: a model, or the reason why there is none."""

    name: str
    digest: str | None
    model: AnyModel | None
    reason: str | None
    done: Done | None
    provider_fault: bool = False


class ModelsInUse:
    """Loaded models by name. Everything but the loading itself happens in the main thread."""

    def __init__(
        self,
        store: ModelStore,
        options: RuntimeOptions,
        flavour: str,
        note: Callable[[Condition], None],
        clock: Clock,
        ring: Callable[[], None] = lambda: None,
    ) -> None:
        """`ring` is called by a background thread that has brought something for `poll`."""
        self._store = store
        self._options = options
        self._flavour = flavour
        self._note = note
        self._clock = clock
        self._ring = ring
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._busy: dict[str, _Loading] = {}
        self._reasons: dict[str, str] = {}
        self._failed: dict[str, str] = {}  # name -> digest that was tried and did not load
        self._news = False  # since the last poll, `states` or `models` changed
        self.models: Mapping[str, AnyModel] = {}

    def start(self, names: Iterable[str], progress: Progress) -> None:
        """Load what the pointers name, and wait for it: the first frame must find a model."""
        for name in names:
            self._in_background(name, self._active_or_none(name), lambda name=name: self._load(name, None))  # type: ignore[misc]
            while name in self._busy:
                self._collect(WAIT_S)
                if name in self._busy:
                    progress(f"model {name}: {self._busy[name].words(self._clock.mono_s())}")
        try:
            self._store.prune_engines(self._options)
        except EdgeAgentError as error:
            log.warning("engines=unpruned reason=%s", error)
        self._news = False  # whoever starts us tells of it

    def watch(self, names: Iterable[str]) -> None:
        """Load in the background whatever pointer moved since the last look."""
        for name in names:
            if name in self._busy:
                continue
            try:
                digest = self._store.active(name)
            except EdgeAgentError as error:
                self._report(name, str(error))
                continue
            present = self.models.get(name)
            if digest is None:
                self._report(name, f"no bundle is active for model {name}; edge-agent models import, then activate")
            elif present is not None and present.digest == digest:
                # Also where a rollback took back what had failed to load: then it is well again.
                self._failed.pop(name, None)
                self._report(name, None)
            elif self._failed.get(name) != digest:
                self._in_background(name, digest, lambda name=name: self._load(name, None))  # type: ignore[misc]

    def activate(self, name: str, digest: str, done: Done, *, by: str = GATEWAY) -> None:
        """Check a bundle on this device, point the name at it and use it; `done` is told how it went."""

        def work() -> _Outcome:
            try:
                model = self._store.activate(name, digest, self._options, self._flavour, by=by)
            except EdgeAgentError as error:
                return _Outcome(name=name, digest=digest, model=None, reason=str(error), done=done)
            return _Outcome(name=name, digest=digest, model=model, reason=None, done=done)

        self._in_background(name, digest, work)

    def roll_back(self, name: str, done: Done, *, by: str = GATEWAY) -> None:
        """Use the previous bundle again; `done` is told how it went."""

        def work() -> _Outcome:
            try:
                self._store.roll_back(name, by=by)
            except EdgeAgentError as error:
                return _Outcome(name=name, digest=None, model=None, reason=str(error), done=done)
            return self._load(name, done)

        self._in_background(name, None, work)

    def put(self, name: str, model: AnyModel) -> None:
        """Use a model that was loaded and checked beside the one in force."""
        self._take(_Outcome(name=name, digest=model.digest, model=model, reason=None, done=None))

    def failure(self, name: str, digest: str) -> str | None:
        """Why this bundle, which the pointer names, could not be loaded; None where it was, or was not tried."""
        return self._reasons.get(name, "unknown") if self._failed.get(name) == digest else None

    def poll(self) -> bool:
        """Put what was loaded in force; True when a model, or what is to be said of one, changed."""
        while self._collect(0.0):
            pass
        now_s = self._clock.mono_s()
        for name, loading in self._busy.items():
            if now_s - loading.told_mono_s >= PROGRESS_S:
                self._busy[name] = replace(loading, told_mono_s=now_s)
                self._news = True
                log.info("model=%s event=loading progress=%s", name, loading.words(now_s))
        news, self._news = self._news, False
        return news

    def _collect(self, timeout_s: float) -> bool:
        """Take what one background thread has brought; False when none had."""
        try:
            outcome = self._outcomes.get(timeout=timeout_s) if timeout_s else self._outcomes.get_nowait()
        except queue.Empty:
            return False
        del self._busy[outcome.name]
        self._take(outcome)
        return True

    def states(self, names: Iterable[str]) -> tuple[ModelState, ...]:
        """What `model/is` says of each name."""
        return tuple(self._state(name) for name in names)

    def _state(self, name: str) -> ModelState:
        model = self.models.get(name)
        loading = self._busy.get(name)
        reason = loading.words(self._clock.mono_s()) if loading else self._reasons.get(name)
        try:
            previous = self._store.previous(name)
        except EdgeAgentError as error:
            previous, reason = None, reason or str(error)
        state: Literal["active", "loading", "failed", "missing"]
        state = "loading" if loading else "failed" if reason else "active" if model else "missing"
        return ModelState(
            name=name, state=state, active=model.digest if model else None, previous=previous, reason=reason
        )

    def _load(self, name: str, done: Done | None) -> _Outcome:
        digest = None
        try:
            digest = self._store.active(name)
            if digest is None:
                reason = f"no bundle is active for model {name}; edge-agent models import, then activate"
                return _Outcome(name=name, digest=None, model=None, reason=reason, done=done)
            model = self._store.verify(digest, self._options, self._flavour)
        except EdgeAgentError as error:
            fault = isinstance(error, ProviderError)
            return _Outcome(name=name, digest=digest, model=None, reason=str(error), done=done, provider_fault=fault)
        return _Outcome(name=name, digest=digest, model=model, reason=None, done=done)

    def _active_or_none(self, name: str) -> str | None:
        try:
            return self._store.active(name)
        except EdgeAgentError:  # loading it will say so
            return None

    def _in_background(self, name: str, digest: str | None, work: Callable[[], _Outcome]) -> None:
        now_s = self._clock.mono_s()
        loading = _Loading(what=self._what(digest), since_mono_s=now_s, told_mono_s=now_s)
        self._busy[name] = loading
        self._news |= loading.what != LOADING  # it will take long

        def run() -> None:
            self._outcomes.put(work())
            self._ring()

        threading.Thread(target=run, name=f"model-{name}", daemon=True).start()

    def _what(self, digest: str | None) -> str:
        try:
            builds = digest is not None and self._store.builds_engine(digest, self._options, self._flavour)
        except EdgeAgentError:  # loading it will say so
            builds = False
        return (
            f"building an engine for {self._options.providers[0][0]} (the first takes minutes)" if builds else LOADING
        )

    def _take(self, outcome: _Outcome) -> None:
        if outcome.model is not None:
            self.models = {**self.models, outcome.name: outcome.model}
            self._news = True
            log.info("model=%s digest=%s event=in-use", outcome.name, outcome.model.digest[:12])
            self._failed.pop(outcome.name, None)
            self._report(outcome.name, None)
        elif outcome.done is None and outcome.reason is not None:
            if outcome.digest is not None:
                self._failed[outcome.name] = outcome.digest
            self._report(outcome.name, outcome.reason, provider_fault=outcome.provider_fault)
        if outcome.done is not None:
            outcome.done(outcome.reason)

    def _report(self, name: str, reason: str | None, *, provider_fault: bool = False) -> None:
        self._news |= self._reasons.get(name) != reason
        if reason is None:
            self._reasons.pop(name, None)
        else:
            self._reasons[name] = reason
        for code, meant in (("model-failed", not provider_fault), ("provider-fallback", provider_fault)):
            active = reason is not None and meant
            self._note(Condition(code=code, subject=name, active=active, text=reason or "loaded"))
