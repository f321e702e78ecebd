"""The pictures this gateway keeps: import labelled ones, look at them, protect them, hand them to the plant.

Nothing here leaves the machine. Works beside the running daemon, or without one.

Examples:
  edge-agent evidence import DIR                     a folder with one sub-folder for each class
  edge-agent evidence import --csv FILE              a list: path,label[,group,split,plant]
  edge-agent evidence list --standing disputed       what people differ about
  edge-agent evidence show 01KB                      one sample: all that is known, and who said what
  edge-agent evidence stats                          how many, how large, what was not kept
  edge-agent evidence hold 01KB7                     legal hold: keep it for ever; release ends it
  edge-agent evidence request press-3-top            keep the next picture of a camera
  edge-agent evidence export DIR --label scratch     pictures and labels.csv into a new folder
  edge-agent evidence repair                         after damage: keep what can be read

Start an import again after an interruption: what is there already is passed over.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_FAULT, EXIT_OK, BadEvidenceError

if TYPE_CHECKING:
    from edge_agent.evidence.catalogue import Stats, Wanted
    from edge_agent.evidence.importing import Report
    from edge_agent.evidence.lists import Listing
    from edge_agent.evidence.store import EvidenceStore
    from edge_agent.records import Sample

SUMMARY = "pictures kept for labels: import, list, show, export, hold, request, repair"
FAULTS_SHOWN = 20
PIPED_WIDTH = 160
EVERYTHING = -1


def configure(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    shared.add_argument("--state", metavar="DIR", type=Path, help="state directory, instead of the configuration's")
    shared.add_argument("--output", choices=("text", "json"), default="text", help="json prints one value for scripts")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    take = actions.add_parser("import", parents=[shared], help="take labelled pictures in")
    what = take.add_mutually_exclusive_group(required=True)
    what.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="a folder with class folders")
    what.add_argument("--csv", type=Path, metavar="FILE", help="a list: path,label[,group,split,plant]")
    take.add_argument("--split", action="append", default=[], help="only rows of this split (may be repeated)")
    take.add_argument("--task", default="surface", metavar="MODEL", help="the model they are for (default surface)")
    take.add_argument("--by", metavar="NAME", help="whose labels they are (default: you)")
    take.add_argument("--relabel", action="store_true", help="correct what an earlier import said of the same pictures")

    for action, text in (
        ("list", "samples, newest first"),
        ("export", "write pictures and labels.csv to a new folder"),
    ):
        child = actions.add_parser(action, parents=[shared], help=text)
        child.add_argument("--standing", choices=("unlabelled", "waiting", "disputed", "labelled"))
        child.add_argument("--camera", metavar="NAME")
        child.add_argument("--task", metavar="MODEL")
        child.add_argument("--verdict", choices=("PASS", "FAIL", "HOLD"))
        child.add_argument("--label", metavar="CLASS", help="the truth, or where there is none the model's word")
        child.add_argument("--held", action="store_true", help="only those under legal hold")
        child.add_argument("--limit", type=_whole, default=50 if action == "list" else EVERYTHING, metavar="N")
        if action == "export":
            child.add_argument("directory", type=Path, metavar="DIR", help="a new or empty folder")
            child.add_argument("--sealed", action="store_true", help="also the hold-out: never train on it")

    show = actions.add_parser("show", parents=[shared], help="all that is known of one sample")
    show.add_argument("sample", metavar="ID", help="its first characters")
    actions.add_parser("stats", parents=[shared], help="counts, sizes, what was not kept and what had to go")
    for action, text in (("hold", "legal hold: never delete these"), ("release", "end the legal hold")):
        child = actions.add_parser(action, parents=[shared], help=text)
        child.add_argument("samples", nargs="+", metavar="ID")
        child.add_argument("--by", metavar="NAME", help="who says so (default: you)")
    wish = actions.add_parser("request", parents=[shared], help="keep the next pictures of a camera")
    wish.add_argument("camera")
    wish.add_argument("--pictures", type=_whole, default=1, metavar="N", help="how many (default 1); 0 takes it back")
    actions.add_parser("repair", parents=[shared], help="after damage: keep what can be read")


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 or more")
    return number


def run(arguments: argparse.Namespace) -> int:
    action: Callable[[argparse.Namespace], int] = {
        "import": _import,
        "list": _list,
        "show": _show,
        "stats": _stats,
        "hold": _hold,
        "release": _hold,
        "request": _request,
        "export": _export,
        "repair": _repair,
    }[arguments.action]
    return action(arguments)


def _store(arguments: argparse.Namespace, *, begin: bool = False) -> contextlib.closing[EvidenceStore]:
    from edge_agent.processes.evidence_place import place_of

    return contextlib.closing(place_of(arguments.config, arguments.state).open(begin=begin))


def _import(arguments: argparse.Namespace) -> int:
    from edge_agent.cli.person import person
    from edge_agent.clock import SystemClock
    from edge_agent.evidence.importing import Importer, ImportTerms
    from edge_agent.evidence.lists import read_csv, read_folder
    from edge_agent.processes.evidence_place import examine
    from edge_agent.processes.learn_request import asking

    if arguments.split and arguments.csv is None:
        raise BadEvidenceError("--split chooses rows of a list: it needs --csv FILE")
    listing = read_csv(arguments.csv, arguments.split) if arguments.csv else read_folder(arguments.directory)
    terms = ImportTerms(by=person(arguments.by), task=arguments.task, relabel=arguments.relabel)
    with _store(arguments, begin=True) as store, _bar("importing", len(listing.entries)) as on_done:
        report = Importer(store, SystemClock(), examine, terms).take(listing.entries, on_done)
        if report.classes:
            asking(store.database.root.parent)()
    faults = [*listing.faults, *report.unreadable, *report.contradictions]
    if arguments.output == "json":
        print(json.dumps(_plain_report(report, listing), indent=2))
    else:
        _print_report(report, listing, faults)
    return EXIT_FAULT if faults else EXIT_OK


def _plain_report(report: Report, listing: Listing) -> dict[str, Any]:
    return {
        "added": report.added,
        "known": report.known,
        "relabelled": report.relabelled,
        "sealed": report.sealed,
        "left_out": listing.left_out,
        "classes": dict(sorted(report.classes.items())),
        "unreadable": report.unreadable,
        "contradictions": report.contradictions,
        "faults": list(listing.faults),
    }


def _print_report(report: Report, listing: Listing, faults: list[str]) -> None:
    for fault in faults[:FAULTS_SHOWN]:
        print(fault, file=sys.stderr)
    if len(faults) > FAULTS_SHOWN:
        print(f"and {len(faults) - FAULTS_SHOWN} more (--output json lists all)", file=sys.stderr)
    for name, number in sorted(report.classes.items()):
        print(f"{number:8}  {name}")
    others = f", {listing.left_out} of other splits left out" if listing.left_out else ""
    relabelled = f", {report.relabelled} relabelled" if report.relabelled else ""
    print(
        f"{report.added} added, {report.known} were there{relabelled}, {len(report.unreadable)} unreadable, "
        f"{len(report.contradictions)} contradictory{others}; {report.sealed} are set aside for tests"
    )


def _wanted(arguments: argparse.Namespace, *, sealed: bool | None) -> Wanted:
    from edge_agent.evidence.catalogue import Wanted
    from edge_agent.records import Standing, Verdict

    return Wanted(
        standing=arguments.standing and Standing(arguments.standing),
        camera=arguments.camera,
        task=arguments.task,
        verdict=arguments.verdict and Verdict(arguments.verdict),
        label=arguments.label,
        legal_hold=True if arguments.held else None,
        sealed=sealed,
    )


def _list(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from edge_agent.clock import rfc3339
    from edge_agent.evidence.catalogue import Catalogue

    with _store(arguments) as store:
        samples = Catalogue(store.database).find(_wanted(arguments, sealed=None), limit=arguments.limit)
    if arguments.output == "json":
        print(json.dumps([_plain(sample) for sample in samples], indent=2))
        return EXIT_OK
    if not samples:
        print("no such samples; `edge-agent evidence stats` shows what there is")
        return EXIT_OK
    # What is piped into another program is not cut to the width of a terminal.
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("id", no_wrap=True, min_width=26)
    for name in ("when", "camera", "verdict", "model says", "people say", "kept for"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for sample in samples:
        flags = "".join(f", {word}" for word, on in (("sealed", sample.sealed), ("held", sample.legal_hold)) if on)
        table.add_row(
            sample.id,
            rfc3339(sample.captured_utc_s)[:16],
            sample.camera or "-",
            sample.verdict.value if sample.verdict else "-",
            _said(sample),
            sample.truth or sample.standing.value,
            ", ".join(reason.value for reason in sample.kept) + flags,
        )
    console.print(table)
    return EXIT_OK


def _said(sample: Sample) -> str:
    score = "" if sample.score is None else f" {sample.score:.3f}"
    return f"{sample.label or '-'}{score}"


def _show(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import rfc3339
    from edge_agent.evidence.catalogue import Catalogue

    with _store(arguments) as store:
        catalogue = Catalogue(store.database)
        sample = catalogue.sample(arguments.sample)
        events = catalogue.events(sample.id)
        path = store.database.root / sample.file
    said = [
        {
            "at": rfc3339(event.at_utc_s),
            "by": event.by,
            "label": event.label,
            "withdraws": event.withdraws,
            "source": event.source.value,
            "adjudicator": event.adjudicator,
            "note": event.note,
        }
        for event in events
    ]
    plain = {**_plain(sample), "path": str(path)}
    if arguments.output == "json":
        print(json.dumps({**plain, "labels": said}, indent=2))
        return EXIT_OK
    for name, value in plain.items():
        if value not in (None, False):
            print(f"{name:12}{', '.join(value) if isinstance(value, list) else value}")
    for event in events:
        what = f"says {event.label}" if event.label is not None else f"takes back {event.withdraws}"
        at = rfc3339(event.at_utc_s)[:19]
        print(f"{'':12}{at}  {event.by} ({event.source.value}) {what}  {event.note or ''}".rstrip())
    return EXIT_OK


def _plain(sample: Sample) -> dict[str, Any]:
    from dataclasses import asdict

    from edge_agent.clock import rfc3339

    plain = asdict(sample)
    return {
        **{name: getattr(value, "value", value) for name, value in plain.items() if name != "captured_utc_s"},
        "captured": rfc3339(sample.captured_utc_s),
        "kept": [reason.value for reason in sample.kept],
        "likeness": None if sample.likeness is None else f"{sample.likeness:016x}",
    }


def _stats(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edge_agent.evidence.catalogue import Catalogue

    with _store(arguments) as store:
        stats = Catalogue(store.database).stats()
        limit = store.rules.bounds.limit_bytes
    if arguments.output == "json":
        print(json.dumps({**asdict(stats), "limit_bytes": limit}, indent=2))
    else:
        _print_stats(stats, limit)
    return EXIT_OK


def _print_stats(stats: Stats, limit: int) -> None:
    mib = 1024 * 1024
    print(f"{stats.samples} samples, {stats.size_bytes / mib:.0f} of {limit / mib:.0f} MiB")
    print(f"set aside for tests {stats.sealed}, under legal hold {stats.legal_hold}")
    for title, counts in (("people", stats.standing), ("kept for", stats.kept), ("since the start", stats.tally)):
        if counts:
            print(f"{title}: " + ", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    for task, classes in stats.classes.items():
        print(f"\n{task:24}{'to learn':>10}{'to test':>10}")
        for name, (free, sealed) in classes.items():
            print(f"  {name:22}{free:>10}{sealed:>10}")


def _hold(arguments: argparse.Namespace) -> int:
    from edge_agent.cli.person import person
    from edge_agent.evidence.catalogue import Catalogue

    with _store(arguments) as store:
        catalogue = Catalogue(store.database)
        identities = [catalogue.sample(start).id for start in arguments.samples]
        changed = store.hold(identities, held=arguments.action == "hold", by=person(arguments.by))
    text = f"{changed} put under legal hold" if arguments.action == "hold" else f"{changed} released"
    print(json.dumps({"changed": changed}) if arguments.output == "json" else text)
    return EXIT_OK


def _request(arguments: argparse.Namespace) -> int:
    from edge_agent.config.faults import did_you_mean
    from edge_agent.errors import ConfigError
    from edge_agent.processes.evidence_place import place_of

    place = place_of(arguments.config, arguments.state)
    if place.cameras is not None and arguments.camera not in place.cameras:
        hint = did_you_mean(arguments.camera, place.cameras) or "the cameras are " + ", ".join(place.cameras)
        raise ConfigError(f"no camera {arguments.camera!r} in the configuration; {hint}")
    with contextlib.closing(place.open(begin=True)) as store:
        store.wish(arguments.camera, arguments.pictures)
    text = f"the next {arguments.pictures} pictures of {arguments.camera} will be kept"
    plain = {"camera": arguments.camera, "pictures": arguments.pictures}
    print(json.dumps(plain) if arguments.output == "json" else text)
    return EXIT_OK


def _export(arguments: argparse.Namespace) -> int:
    from edge_agent.evidence.catalogue import Catalogue
    from edge_agent.evidence.exporting import export

    with _store(arguments) as store:
        wanted = _wanted(arguments, sealed=None if arguments.sealed else False)
        samples = Catalogue(store.database).find(wanted, limit=arguments.limit)
        with _bar("exporting", len(samples)) as on_done:
            done = export(samples, store.database.root, arguments.directory, on_done)
    for fault in done.damaged:
        print(fault, file=sys.stderr)
    plain = {"pictures": done.pictures, "damaged": list(done.damaged), "directory": str(arguments.directory)}
    text = f"{done.pictures} pictures and labels.csv in {arguments.directory}"
    print(json.dumps(plain) if arguments.output == "json" else text)
    return EXIT_FAULT if done.damaged else EXIT_OK


def _repair(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from edge_agent.clock import SystemClock
    from edge_agent.evidence.repair import repair
    from edge_agent.processes.evidence_place import place_of

    place = place_of(arguments.config, arguments.state)
    done = repair(place.root, SystemClock())
    if arguments.output == "json":
        print(json.dumps({**asdict(done), "aside": str(done.aside) if done.aside else None}))
        return EXIT_OK
    if done.aside is None:
        print(f"{place.root}: nothing is damaged")
        return EXIT_OK
    print(f"{done.samples} samples and {done.labels} labels could be read")
    print(f"what could not be used lies in {done.aside}, and {done.unowned} pictures that have no row any more")
    return EXIT_OK


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
