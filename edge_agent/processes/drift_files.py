"""What drift knows of each camera, kept over restarts: charts as JSON, the features learned as safetensors."""

from __future__ import annotations

import logging
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from edge_agent.errors import CorruptStoreError, TransientError
from edge_agent.learn.drift_file import MOST_JSON_BYTES, Arrays, Kept, arrays_of, digest_of, from_json, to_json
from edge_agent.storage import remove_file, replace_file, storage_faults

log = logging.getLogger(__name__)

# 32 axes of a few thousand features are 0.1 to 0.5 MiB.
MOST_ARRAY_BYTES = 8 * 1024 * 1024


class DriftFiles:
    """The files under `folder` (STATE/drift). Main thread only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, str | None] = {}  # by camera: sha256 of the arrays on disk
        with storage_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def load(self, camera: str) -> Kept:
        """What was kept; nothing where there is nothing or it is damaged, which the log says."""
        path = self._charts(camera)
        try:
            arrays = self._arrays(camera)
            with path.open("rb") as file:
                kept = from_json(file.read(MOST_JSON_BYTES + 1), arrays)
        except FileNotFoundError:
            return Kept()
        except (OSError, CorruptStoreError) as error:
            log.warning("camera=%s drift=learn-again file=%s reason=%s", camera, path, error)
            return Kept()
        self._written[camera] = digest_of(arrays_of(kept))
        return kept

    def save(self, camera: str, kept: Kept) -> None:
        """Keep it; a full disk costs what came since the last time, after a restart."""
        arrays = arrays_of(kept)
        digest = digest_of(arrays)
        try:
            if arrays is not None and digest != self._written.get(camera):
                replace_file(self._features(camera), save(arrays))
                self._written[camera] = digest
            replace_file(self._charts(camera), to_json(kept))
        except TransientError as error:
            log.warning("camera=%s drift=unsaved reason=%s", camera, error)

    def forget(self, camera: str) -> None:
        """Take it away for good.

        Raises:
            StorageReadOnlyError, TransientError: it may still be there.
        """
        remove_file(self._charts(camera))
        remove_file(self._features(camera))
        self._written.pop(camera, None)

    def _arrays(self, camera: str) -> Arrays | None:
        path = self._features(camera)
        try:
            if path.stat().st_size > MOST_ARRAY_BYTES:
                raise CorruptStoreError(f"{path}: {path.stat().st_size} bytes, at most {MOST_ARRAY_BYTES}")
            return load(path.read_bytes())
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError) as error:
            raise CorruptStoreError(f"{path}: {error}") from error

    def _charts(self, camera: str) -> Path:
        return self._folder / f"{camera}.json"

    def _features(self, camera: str) -> Path:
        return self._folder / f"{camera}.safetensors"
