"""Models on trial, loaded beside those that judge. A new head shares the session of the model in force.

want(name, digest) --background thread: load, golden answers--> poll --> models (one assignment per name)
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.errors import EdgeAgentError
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.loading import AnyModel
from edge_agent.models.store import ModelStore

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What a background thread brings back: a model, or the reason why there is none."""

    name: str
    digest: str
    model: AnyModel | None
    reason: str = ""


class SecondModels:
    """At most one a name. Everything but the loading itself happens in the main thread, which `wake` wakes."""

    def __init__(self, store: ModelStore, options: RuntimeOptions, flavour: str, wake: Callable[[], object]) -> None:
        self.models: Mapping[str, AnyModel] = {}
        self._store = store
        self._options = options
        self._flavour = flavour
        self._wake = wake
        self._arrived: queue.SimpleQueue[_Loaded] = queue.SimpleQueue()
        self._wanted: dict[str, str] = {}
        self._busy: set[str] = set()
        self._faults: dict[str, tuple[str, str]] = {}  # name -> digest that did not load, and why

    def want(self, name: str, digest: str, beside: AnyModel) -> None:
        """Load this bundle beside `beside`, if it is not there and did not fail before."""
        self._wanted[name] = digest
        present, fault = self.models.get(name), self._faults.get(name)
        if name in self._busy or (present and present.digest == digest) or (fault and fault[0] == digest):
            return
        self._busy.add(name)

        def work() -> None:
            try:
                model = self._store.verify(digest, self._options, self._flavour, beside=beside)
                self._arrived.put(_Loaded(name=name, digest=digest, model=model))
            except EdgeAgentError as error:
                self._arrived.put(_Loaded(name=name, digest=digest, model=None, reason=str(error)))
            self._wake()

        threading.Thread(target=work, name=f"second-{name}", daemon=True).start()

    def poll(self) -> bool:
        """Take what was loaded; True when `models` changed."""
        changed = False
        while True:
            try:
                found = self._arrived.get_nowait()
            except queue.Empty:
                return changed
            self._busy.discard(found.name)
            if self._wanted.get(found.name) != found.digest:
                continue  # another candidate came while it was being loaded
            if found.model is None:
                self._faults[found.name] = (found.digest, found.reason)
            else:
                self.models = {**self.models, found.name: found.model}
                changed = True
                log.info("model=%s digest=%s event=beside", found.name, found.digest[:12])

    def fault(self, name: str, digest: str) -> str | None:
        """Why this bundle could not be loaded; None where it was, or is still being."""
        fault = self._faults.get(name)
        return fault[1] if fault and fault[0] == digest else None

    def take(self, name: str, digest: str) -> AnyModel | None:
        """The model of this digest, which is none of ours from now on; None where it is not loaded."""
        model = self.models.get(name)
        if model is None or model.digest != digest:
            return None
        self.drop(name)
        return model

    def put(self, name: str, model: AnyModel) -> None:
        """A model that was in force judges beside the new one from now on."""
        self._wanted[name] = model.digest
        self.models = {**self.models, name: model}

    def drop(self, name: str) -> bool:
        """The trial is over; True when a model was there."""
        self._wanted.pop(name, None)
        self._faults.pop(name, None)
        known = name in self.models
        self.models = {other: model for other, model in self.models.items() if other != name}
        return known
