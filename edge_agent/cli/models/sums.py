"""`models statistics export | import`: sums over labelled parts, no picture in them, to be added to others'.

this plant's book --export--> FILE      FILE (a fleet's, another plant's) --import--> base of the next heads
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edge_agent.cli.models.place import Place, digest_of, done, place_of
from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.storage import storage_faults

if TYPE_CHECKING:
    from edge_agent.learn.book import Book


def statistics(arguments: argparse.Namespace) -> int:
    return _export(arguments) if arguments.way == "export" else _import(arguments)


def _export(arguments: argparse.Namespace) -> int:
    from edge_agent.learn.book import Book
    from edge_agent.learn.book_file import UnusableBookError, write_book
    from edge_agent.processes.books import kept_book

    place = place_of(arguments)
    try:
        book = kept_book(arguments.name, _coder(place, arguments.name), place.state_dir)
    except UnusableBookError as error:
        raise RefusedError(f"{error}; label some pictures first: the learning pass that follows makes it") from error
    # Codes and names of single parts stay here: what leaves are sums.
    sums = Book(coder=book.coder, entries=(), codes=book.codes[:0], total=book.total)
    write_book(arguments.file, sums)
    return done(arguments, f"{arguments.file}: {_words(sums)}", {"file": str(arguments.file), **_facts(sums)})


def _import(arguments: argparse.Namespace) -> int:
    from edge_agent.learn.book_file import UnusableBookError, from_bytes, write_book
    from edge_agent.processes.books import base_file
    from edge_agent.processes.learn_request import ask

    place = place_of(arguments)
    coder = _coder(place, arguments.name)
    if not arguments.file.is_file():
        raise RefusedError(f"{arguments.file}: no such file; expected what `statistics export` wrote")
    try:
        with storage_faults(arguments.file):
            sums = from_bytes(arguments.file.read_bytes())
    except UnusableBookError as error:
        raise RefusedError(f"{arguments.file}: {error}; expected what `statistics export` wrote") from error
    if sums.coder != coder:
        raise RefusedError(
            f"{arguments.file}: made by encoder {sums.coder[:12]}, model {arguments.name!r} has {coder[:12]} here: "
            "sums of two encoders do not add; give both gateways the same bundle, learn, and export again"
        )
    if sums.entries:
        raise RefusedError(f"{arguments.file}: a book with single parts in it; expected what `statistics export` wrote")
    write_book(base_file(arguments.name, coder, place.state_dir), sums)
    ask(place.state_dir)
    return done(arguments, f"the next head stands on {_words(sums)} and this plant's own", _facts(sums))


def _coder(place: Place, name: str) -> str:
    from edge_agent.models.loading import coder_of

    digest = digest_of(place.store, None, name)
    coder = coder_of(place.store.manifest(digest), place.flavour)
    if coder is None:
        raise BadBundleError(f"model {name!r} is a network of its own, which has no statistics")
    return coder


def _facts(sums: Book) -> dict[str, object]:
    counts = dict(zip(sums.total.classes, sums.total.counts.tolist(), strict=True))
    return {"classes": counts, "views": sums.views, "coder": sums.coder}


def _words(sums: Book) -> str:
    return f"sums of {sums.total.count:,} views of parts, classes {', '.join(sums.total.classes) or 'none'}"
