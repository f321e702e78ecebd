"""Engines that a provider compiles from an encoder: where each is kept, and whether it has to be built first.

    STATE/engine-cache / RUNTIME / ENCODER / engines, timing caches, compiled blobs

RUNTIME names ONNX Runtime, TensorRT or OpenVINO and the machine, ENCODER the bytes of the file (sha256): an engine is
valid for exactly that (ONNX Runtime's TensorRT page). TensorRT's provider names an engine after the graph and not after
its weights, so two encoders of one architecture in one folder would be taken for one another.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edge_agent.models.encoder import RuntimeOptions
from edge_agent.storage import storage_faults

PLACEHOLDER = "{engine_cache}"
_NAME_DIGITS = 32


def folder(runtime: RuntimeOptions, sha256: str) -> Path | None:
    """Where this encoder's engines lie, None where no provider of this device compiles any."""
    if runtime.engine_cache is None or not _compiles(runtime):
        return None
    return runtime.engine_cache / sha256[:_NAME_DIGITS]


def to_be_built(runtime: RuntimeOptions, sha256: str) -> bool:
    """Whether loading this encoder will first build an engine, which takes minutes on a small board."""
    place = folder(runtime, sha256)
    return place is not None and not (place.is_dir() and any(place.iterdir()))


def prepared(runtime: RuntimeOptions, sha256: str) -> RuntimeOptions:
    """The options for this encoder, with its own folder in them, which exists from now on.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the folder cannot be made.
    """
    place = folder(runtime, sha256)
    if place is None:
        return runtime
    with storage_faults(place):
        place.mkdir(parents=True, exist_ok=True)
    providers = tuple(
        (name, {key: value.replace(PLACEHOLDER, str(place)) for key, value in options.items()})
        for name, options in runtime.providers
    )
    return replace(runtime, providers=providers)


def prune(runtime: RuntimeOptions, keep: Iterable[str]) -> tuple[Path, ...]:
    """Remove the engines of encoders that are not kept, and those of other runtimes; returns what went.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: something could not be removed.
    """
    if runtime.engine_cache is None or not runtime.engine_cache.parent.is_dir():
        return ()
    kept = {sha256[:_NAME_DIGITS] for sha256 in keep}
    gone = [place for place in runtime.engine_cache.parent.iterdir() if place != runtime.engine_cache]
    if runtime.engine_cache.is_dir():
        gone += [place for place in runtime.engine_cache.iterdir() if place.name not in kept]
    with storage_faults(runtime.engine_cache):
        for place in gone:
            shutil.rmtree(place)
    return tuple(gone)


def _compiles(runtime: RuntimeOptions) -> bool:
    return any(PLACEHOLDER in value for _, options in runtime.providers for value in options.values())
