"""Say what a kept picture really shows; what the gateway learns from is this.

Examples:
  edge-agent label 01KB7Z scratch              the sample whose id begins so
  edge-agent label 01KB7Z "cold weld" --new-class    a class that nobody used before
  edge-agent label --next                      go through the queue, most useful first
  edge-agent label --undo                      take back your last label
  edge-agent label --list                      who said what, newest first

Every label is kept with your name. A second person who says otherwise makes a dispute; a third, or --adjudicate,
settles it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import TYPE_CHECKING

from edge_agent.errors import EXIT_OK, EXIT_USAGE, BadLabelError

if TYPE_CHECKING:
    from edge_agent.evidence.catalogue import Catalogue
    from edge_agent.evidence.label_book import LabelBook
    from edge_agent.evidence.labels import LabelEvent
    from edge_agent.evidence.store import EvidenceStore
    from edge_agent.records import Sample

SUMMARY = "say what a kept picture shows: one, or the queue; undo; who said what"
KEYS = "123456789abcdefghijklmnoprtvwxyz"  # q, s, u are taken
WALK_HELP = "number or name of a class, +NAME a new class, s skip, u undo, q quit"


def configure(parser: argparse.ArgumentParser) -> None:
    from pathlib import Path

    parser.add_argument("sample", nargs="?", metavar="ID", help="first characters of a sample's (inspection's) id")
    parser.add_argument("label", nargs="?", metavar="CLASS", help="what it shows")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--next", action="store_true", help="walk through the queue, most useful first")
    instead.add_argument("--undo", action="store_true", help="take back your last label (of sample ID)")
    instead.add_argument("--list", action="store_true", help="who said what (of sample ID), newest first")
    parser.add_argument("--new-class", action="store_true", help="CLASS is a class that is not known yet")
    parser.add_argument("--adjudicate", action="store_true", help="settle a dispute: your word decides")
    parser.add_argument("--by", metavar="NAME", help="who you are (default: your user name)")
    parser.add_argument("--note", metavar="TEXT", help="kept beside the label")
    parser.add_argument("--camera", metavar="NAME", help="with --next: only this camera's")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="with --list: so many (default 50)")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--state", metavar="DIR", type=Path, help="state directory, instead of the configuration's")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one value for scripts")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.cli.person import person
    from edge_agent.clock import SystemClock
    from edge_agent.evidence.catalogue import Catalogue
    from edge_agent.evidence.label_book import LabelBook
    from edge_agent.processes.evidence_place import place_of
    from edge_agent.processes.learn_request import asking

    place = place_of(arguments.config, arguments.state)
    with contextlib.closing(place.open()) as store:
        catalogue = Catalogue(store.database)
        book = LabelBook(store, SystemClock(), told=asking(place.root.parent))
        if arguments.list:
            return _list(arguments, catalogue)
        by = person(arguments.by)
        if arguments.undo:
            return _undo(arguments, catalogue, book, by)
        if arguments.next:
            return Walk(store, catalogue, book, by, camera=arguments.camera).run()
        return _label(arguments, catalogue, book, by)


def _label(arguments: argparse.Namespace, catalogue: Catalogue, book: LabelBook, by: str) -> int:
    from edge_agent.evidence.labels import LabelSource

    if arguments.sample is None or arguments.label is None:
        import sys

        print("edge-agent label: expected ID CLASS, or --next, --undo or --list; see --help", file=sys.stderr)
        return EXIT_USAGE
    sample = book.say(
        catalogue.sample(arguments.sample).id,
        arguments.label,
        by=by,
        source=LabelSource.TERMINAL,
        new_class=arguments.new_class,
        adjudicator=arguments.adjudicate,
        note=arguments.note,
    )
    _say(arguments, f"{sample.id}: {by} says {arguments.label}; {_stands(sample)}", sample)
    return EXIT_OK


def _undo(arguments: argparse.Namespace, catalogue: Catalogue, book: LabelBook, by: str) -> int:
    from edge_agent.evidence.labels import LabelSource

    identity = None if arguments.sample is None else catalogue.sample(arguments.sample).id
    event, sample = book.undo(by=by, source=LabelSource.TERMINAL, sample=identity)
    _say(arguments, f"{sample.id}: {by} takes back {event.label}; {_stands(sample)}", sample)
    return EXIT_OK


def _list(arguments: argparse.Namespace, catalogue: Catalogue) -> int:
    from edge_agent.clock import rfc3339

    identity = None if arguments.sample is None else catalogue.sample(arguments.sample).id
    events = catalogue.events(by=arguments.by, limit=arguments.limit)
    if identity is not None:
        events = catalogue.events(identity)[::-1][: arguments.limit]
    if arguments.output == "json":
        from dataclasses import asdict

        plain = [{**asdict(event), "source": event.source.value, "at": rfc3339(event.at_utc_s)} for event in events]
        print(json.dumps(plain, indent=2))
        return EXIT_OK
    for event in events:
        print(_line(event, rfc3339(event.at_utc_s)[:19]))
    if not events:
        print("nobody has said anything yet")
    return EXIT_OK


def _line(event: LabelEvent, at: str) -> str:
    what = event.label if event.label is not None else f"takes back {event.withdraws}"
    role = ", adjudicator" if event.adjudicator else ""
    return f"{at}  {event.sample}  {event.by} ({event.source.value}{role})  {what}  {event.note or ''}".rstrip()


def _stands(sample: Sample) -> str:
    return f"it counts as {sample.truth}" if sample.truth is not None else f"it is {sample.standing.value}"


def _say(arguments: argparse.Namespace, text: str, sample: Sample) -> None:
    plain = {"sample": sample.id, "standing": sample.standing.value, "truth": sample.truth}
    print(json.dumps(plain) if arguments.output == "json" else text)


class Walk:
    """The queue in a terminal, one sample at a time."""

    def __init__(
        self, store: EvidenceStore, catalogue: Catalogue, book: LabelBook, by: str, *, camera: str | None
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._book = book
        self._by = by
        self._camera = camera
        self._skipped: set[str] = set()

    def run(self) -> int:
        """Until the queue is empty, or the person is done."""
        print(WALK_HELP)
        while (sample := self._next()) is not None:
            if not self._ask(sample):
                return EXIT_OK
        print("nothing more to label" + (f", {len(self._skipped)} skipped" if self._skipped else ""))
        return EXIT_OK

    def _next(self) -> Sample | None:
        wanted = len(self._skipped) + 1
        queue = self._catalogue.queue(self._by, camera=self._camera, limit=wanted)
        return next((sample for sample in queue if sample.id not in self._skipped), None)

    def _ask(self, sample: Sample) -> bool:
        """Show one, take one answer; False when the person is done."""
        from edge_agent.evidence.labels import LabelSource

        classes = dict(zip(KEYS, sorted(self._catalogue.classes(sample.task)), strict=False))
        self._show(sample, classes)
        try:
            answer = input("> ").strip()
        except EOFError:
            return False
        if answer == "q":
            return False
        if answer in ("", "s"):
            self._skipped.add(sample.id)
            return True
        try:
            if answer == "u":
                event, undone = self._book.undo(by=self._by, source=LabelSource.TERMINAL)
                self._skipped.discard(undone.id)
                print(f"  took back {event.label} of {undone.id}")
                return True
            label = answer.removeprefix("+") if answer.startswith("+") else classes.get(answer, answer)
            done = self._book.say(
                sample.id, label, by=self._by, source=LabelSource.TERMINAL, new_class=answer.startswith("+")
            )
            print(f"  {label}: {_stands(done)}")
        except BadLabelError as error:
            print(f"  {error}")
        return True

    def _show(self, sample: Sample, classes: dict[str, str]) -> None:
        verdict = sample.verdict.value if sample.verdict else "imported"
        score = "" if sample.score is None else f" {sample.score:.3f}"
        reasons = ", ".join(reason.value for reason in sample.kept)
        print(f"\n{self._store.database.root / sample.file}")
        print(f"  {sample.id}  {sample.camera or '-'}  {verdict}: {sample.label or '-'}{score}; kept for {reasons}")
        print("  " + "  ".join(f"[{name}] {label}" for name, label in classes.items()))
