"""What a camera learned from its first good parts, kept over restarts: one safetensors file per camera."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import BadBundleError, RefusedError, TransientError
from edge_agent.inspect.goodonly import PARTS_MAX, GoodOnlyState, from_arrays, to_arrays
from edge_agent.models.journal import GATEWAY, Event, Journal, Step
from edge_agent.storage import replace_file, storage_faults

log = logging.getLogger(__name__)

FILE_LIMIT_BYTES = 64 * 1024 * 1024


class GoodOnlyFiles:
    """The files under `folder` (STATE/good-only). `journal`, where given, is told when a camera has learned."""

    def __init__(self, folder: Path, journal: Journal | None = None, clock: Clock | None = None) -> None:
        self._folder = folder
        self._journal = journal
        self._clock = clock or SystemClock()
        with storage_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def load(self, camera: str, encoder_digest: str, wanted: int) -> GoodOnlyState:
        """What was learned with this very encoder; a fresh start otherwise, and the log says why."""
        fresh = GoodOnlyState(encoder=encoder_digest, wanted=min(wanted, PARTS_MAX))
        path = self._path(camera)
        try:
            if path.stat().st_size > FILE_LIMIT_BYTES:
                raise BadBundleError(f"{path}: {path.stat().st_size} bytes, at most {FILE_LIMIT_BYTES}")
            with safe_open(path, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                return from_arrays(tensors, file.metadata() or {}, encoder_digest)
        except FileNotFoundError:
            return fresh
        except (OSError, RefusedError, SafetensorError, ValueError) as error:
            log.warning("camera=%s good_only=learn-again reason=%s", camera, error)
            return fresh

    def save(self, camera: str, state: GoodOnlyState) -> None:
        """Keep what was learned; a full disk costs learning again after a restart, not this part's verdict."""
        try:
            tensors, metadata = to_arrays(state)
            replace_file(self._path(camera), save(tensors, metadata))
            log.info("camera=%s good_only=learned parts=%d", camera, state.wanted)
            if self._journal is not None:
                self._journal.write(self._step(camera, state))
        except TransientError as error:
            log.warning("camera=%s good_only=unsaved reason=%s", camera, error)

    def _step(self, camera: str, state: GoodOnlyState) -> Step:
        return Step(
            event=Event.LEARNED,
            name=camera,
            digest=state.encoder,
            by=GATEWAY,
            at_utc_s=self._clock.utc_s(),
            reasons=(f"{state.wanted} good parts",),
        )

    def forget(self, camera: str) -> None:
        """Learn this camera anew from its next parts."""
        with storage_faults(self._path(camera)):
            self._path(camera).unlink(missing_ok=True)

    def _path(self, camera: str) -> Path:
        return self._folder / f"{camera}.safetensors"
