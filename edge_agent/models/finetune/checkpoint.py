"""A fine-tuning run on disk: weights, the optimiser's memory, how many steps were taken. safetensors, never pickle.

tensors  weight/NAME, first/NAME, second/NAME     float32, as AdamW keeps them
metadata format, step, plan (its digest), job (digest of pictures, labels and base weights)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edge_agent.errors import CorruptStoreError
from edge_agent.storage import replace_file, storage_faults

FORMAT = "edge-agent/finetune/1"
KINDS = ("weight", "first", "second")

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state after `step` steps. `weights` are parameters by name; `first` and `second` are AdamW's two moments,
    empty before the first step.
    """

    step: int
    plan: str
    job: str
    weights: Arrays = field(repr=False)
    first: Arrays = field(default_factory=dict, repr=False)
    second: Arrays = field(default_factory=dict, repr=False)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in `path`, durably: a kill leaves the one before or this one.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the one before is as it was.
    """
    groups = zip(KINDS, (checkpoint.weights, checkpoint.first, checkpoint.second), strict=True)
    # safetensors writes the memory as it lies, whatever the strides say: rows are made contiguous first.
    tensors = {
        f"{kind}/{name}": np.ascontiguousarray(array) for kind, arrays in groups for name, array in arrays.items()
    }
    metadata = {"format": FORMAT, "step": str(checkpoint.step), "plan": checkpoint.plan, "job": checkpoint.job}
    replace_file(path, save(tensors, metadata))


def read(path: Path) -> Checkpoint | None:
    """The checkpoint in `path`, None where there is none.

    Raises:
        CorruptStoreError: truncated, altered or of another format; the run begins again without it.
        TransientError: it cannot be read now.
    """
    if not path.exists():
        return None
    groups: dict[str, dict[str, NDArray[np.float32]]] = {kind: {} for kind in KINDS}
    try:
        with storage_faults(path), safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                kind, _, name = key.partition("/")
                groups[kind][name] = file.get_tensor(key)
        if metadata["format"] != FORMAT:
            raise CorruptStoreError(f"{path}: format {metadata['format']!r}, expected {FORMAT!r}")
        return Checkpoint(
            step=int(metadata["step"]),
            plan=metadata["plan"],
            job=metadata["job"],
            weights=groups["weight"],
            first=groups["first"],
            second=groups["second"],
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptStoreError(f"{path}: damaged ({type(error).__name__}: {error}); the run begins again") from error
