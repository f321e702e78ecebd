"""The statistics book: every labelled part's feature code, and the exact sums over all of them. Pure.

    sample id -> label, source, block, codes int8 [V, D]   --put, withdraw-->   the book with these changes, to the bit
                                                           --part----------->   sums of some sources and time blocks

A sample may be seen in several views (its picture turned): each counts, and they come and go together.

The sums over everything are kept; a change adds the new codes and subtracts the old ones, in integers, so a label that
was changed or withdrawn leaves no trace. Sums of a source or a time block are made from the codes when they are asked
for: a Gram matrix of 784 features is 4.9 MB, so one per source and day would soon outgrow the codes (784 bytes a
sample), and 10,000 codes are summed in half a second.

A book is in the order of its sample ids, whatever the order of changes: the same samples give the same bytes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.statistics import Statistics, empty, merge, present, subtract, sums

# Of a sample's id, label, source and block: longer ones did not come from us.
TEXT_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Entry:
    """One labelled part: its id in the evidence store, who or what said the label, and the time block it lies in.

    Raises:
        RefusedError: a text that is empty or too long.
    """

    sample: str
    label: str
    source: str
    block: str

    def __post_init__(self) -> None:
        for name, text in (
            ("sample", self.sample),
            ("label", self.label),
            ("source", self.source),
            ("block", self.block),
        ):
            if not 1 <= len(text) <= TEXT_MAX:
                raise RefusedError(f"statistics: {name} of {len(text)} characters, expected 1 to {TEXT_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """`coder` names what made the codes (`LoadedModel.coder`); `entries` in the order of their sample ids;
    `codes` int8 [n, V, D] in the same order; `total` sums them all, over the classes that have samples.
    """

    coder: str
    entries: tuple[Entry, ...] = field(repr=False)
    codes: Codes = field(repr=False)
    total: Statistics = field(repr=False)

    @property
    def dimension(self) -> int:
        """D, the length of the codes."""
        return self.total.dimension

    @property
    def views(self) -> int:
        """V, how many codes a sample has."""
        return int(self.codes.shape[1])

    @property
    def labels(self) -> list[str]:
        """The label of each sample."""
        return [entry.label for entry in self.entries]


def new_book(coder: str, dimension: int, views: int = 1) -> Book:
    """A book without a sample."""
    return Book(coder=coder, entries=(), codes=np.empty((0, views, dimension), np.int8), total=empty(dimension))


def put(book: Book, entries: Sequence[Entry], codes: Codes) -> Book:
    """The book with these samples, `codes` int8 [n, V, D]; one that is there is replaced: so a label is changed.

    Raises:
        RefusedError: a sample given twice, codes that do not fit; nothing is changed.
    """
    twice = [sample for sample, times in Counter(entry.sample for entry in entries).items() if times > 1]
    if twice:
        raise RefusedError(f"statistics: samples {twice[:3]} come twice in one change; which label holds is not said")
    if codes.shape != (len(entries), book.views, book.dimension):
        raise RefusedError(
            f"statistics: codes of shape {codes.shape} for {len(entries)} samples, expected "
            f"[n, {book.views}, {book.dimension}]"
        )
    fresh = _sums(codes, [entry.label for entry in entries])
    old = _rows(book, {entry.sample for entry in entries})
    total = merge((book.total, fresh))
    kept = np.ones(len(book.entries), bool)
    if old:
        total = subtract(total, _sums_of(book, old))
        kept[old] = False
    together = [*itertools.compress(book.entries, kept), *entries]
    order = sorted(range(len(together)), key=lambda row: together[row].sample)
    return Book(
        coder=book.coder,
        entries=tuple(together[row] for row in order),
        codes=np.concatenate([book.codes[kept], codes])[order],
        total=present(total),
    )


def relabel(book: Book, labels: Iterable[tuple[str, str, str]]) -> Book:
    """The book with new labels for samples that are in it: (sample, label, source) each.

    Raises:
        RefusedError: a sample that is not in the book, or given twice; nothing is changed.
    """
    wanted = list(labels)
    place = {entry.sample: row for row, entry in enumerate(book.entries)}
    unknown = [sample for sample, _, _ in wanted if sample not in place]
    if unknown:
        raise RefusedError(f"statistics: samples {unknown[:3]} are not in the book; add them with their features")
    rows = [place[sample] for sample, _, _ in wanted]
    entries = [
        Entry(sample=sample, label=label, source=source, block=book.entries[row].block)
        for (sample, label, source), row in zip(wanted, rows, strict=True)
    ]
    return put(book, entries, book.codes[rows])


def withdraw(book: Book, samples: Collection[str]) -> Book:
    """The book as if these samples had never been in it; those that are not in it are passed over."""
    gone = _rows(book, set(samples))
    kept = np.ones(len(book.entries), bool)
    kept[gone] = False
    return Book(
        coder=book.coder,
        entries=tuple(itertools.compress(book.entries, kept)),
        codes=book.codes[kept],
        total=present(subtract(book.total, _sums_of(book, gone))),
    )


def part(book: Book, *, sources: Collection[str] | None = None, blocks: Collection[str] | None = None) -> Statistics:
    """The sums over the samples of these sources and time blocks; None: of all."""
    return _sums_of(
        book,
        [
            row
            for row, entry in enumerate(book.entries)
            if (sources is None or entry.source in sources) and (blocks is None or entry.block in blocks)
        ],
    )


def counts(book: Book) -> dict[tuple[str, str], dict[str, int]]:
    """How many samples of each label there are, by (source, block): what the book consists of."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for entry in book.entries:
        labels = found.setdefault((entry.source, entry.block), {})
        labels[entry.label] = labels.get(entry.label, 0) + 1
    return found


def _rows(book: Book, samples: set[str]) -> list[int]:
    return [row for row, entry in enumerate(book.entries) if entry.sample in samples]


def _sums_of(book: Book, rows: Sequence[int]) -> Statistics:
    return _sums(book.codes[np.array(rows, np.intp)], [book.entries[row].label for row in rows])


def _sums(codes: Codes, labels: Sequence[str]) -> Statistics:
    """Over all views of the samples, codes int8 [n, V, D]."""
    views, dimension = codes.shape[1:]
    return sums(codes.reshape(-1, dimension), [label for label in labels for _ in range(views)])
