"""The evidence store as the page uses it: one thread of its own, so that a busy disk holds up nobody's login."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_agent.clock import Clock
from edge_agent.errors import TransientError
from edge_agent.evidence.catalogue import Catalogue
from edge_agent.evidence.database import NAME
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.store import EvidenceStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the thread works with."""

    store: EvidenceStore
    catalogue: Catalogue
    book: LabelBook


class Desk:
    """Questions to the store, one after the other. It is opened when first asked for, by the rules of the daemon."""

    def __init__(self, root: Path, clock: Clock, told: Callable[[], None] = lambda: None) -> None:
        """`told` is called after each label that was given or taken back."""
        self._root = root
        self._clock = clock
        self._told = told
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidence")
        self._open: Evidence | None = None

    async def ask(self, work: Callable[[Evidence], T]) -> T:
        """What `work` makes of the store.

        Raises:
            TransientError: there is no store yet, or its disk does not work now.
            CorruptStoreError: it is damaged.
            RefusedError: whatever `work` refuses.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(self._evidence()))

    def close(self) -> None:
        """Wait for the last answer, and close the store."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _evidence(self) -> Evidence:
        if self._open is None:
            if not (self._root / NAME).exists():
                raise TransientError(
                    f"{self._root}: no pictures are kept yet; the daemon keeps what is worth a label, and "
                    "`edge-agent evidence import DIR` brings some in"
                )
            store = EvidenceStore(self._root)
            self._open = Evidence(
                store=store, catalogue=Catalogue(store.database), book=LabelBook(store, self._clock, self._told)
            )
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._open.store.close()
            self._open = None
