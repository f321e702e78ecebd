"""`models compare`: two bundles on the same parts of known truth, side by side."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.cli.models.place import Place, bars, digest_of, patience, place_of
from edge_agent.errors import EXIT_OK, BadBundleError, BadPictureError, TransientError

if TYPE_CHECKING:
    from edge_agent.learn.gate import Ruling
    from edge_agent.processes.examination import Report
    from edge_agent.processes.looks import Part

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both digests, what was found, and what each weighs: peak bytes of a process that holds it, bytes on the disk."""

    digests: tuple[str, str]
    report: Report
    ruling: Ruling
    memory_bytes: tuple[int, int]
    size_bytes: tuple[int, int]


def compare(arguments: argparse.Namespace) -> int:
    """A against B, by default against the active bundle of its model."""
    place = place_of(arguments)
    candidate = digest_of(place.store, arguments.candidate, "")
    name = place.store.manifest(candidate).name
    other = digest_of(place.store, arguments.other, name)
    if other == candidate:
        raise BadBundleError(f"bundle {candidate[:12]} is the active one: name another to compare it with")
    found = _compared(place, name, (candidate, other), arguments.pictures)
    if arguments.output == "json":
        print(json.dumps(_plain(found), indent=2))
    else:
        _print(place, found)
    return EXIT_OK


def _compared(place: Place, name: str, digests: tuple[str, str], pictures: Path | None) -> Compared:
    from edge_agent.learn.gate import Policy, rule
    from edge_agent.models.weighing import weigh
    from edge_agent.processes.candidates import sealed_count, sealed_parts
    from edge_agent.processes.examination import examine

    candidate, other = digests
    device = place.ground("").device(name)
    if pictures is None:
        total, parts = sealed_count(name, place.state_dir), sealed_parts(name, place.state_dir)
    else:
        total, parts = _labelled(pictures)
    with patience(place, candidate), patience(place, other), bars() as show:
        report = examine(candidate, other, parts, device, lambda done: show("parts", done, total))
    weights = [weigh(place.store.root, [digest], place.runtime, place.flavour) for digest in digests]
    return Compared(
        digests=digests,
        report=report,
        ruling=rule(report.examination, Policy()),
        memory_bytes=(weights[0], weights[1]),
        size_bytes=(place.store.size_bytes(candidate), place.store.size_bytes(other)),
    )


def _labelled(folder: Path) -> tuple[int, Iterator[Part]]:
    """The pictures of a folder of class folders."""
    from edge_agent.capture.picture import read_picture
    from edge_agent.evidence.lists import read_folder
    from edge_agent.processes.looks import Part

    listing = read_folder(folder)
    for fault in listing.faults:
        print(fault, file=sys.stderr)

    def parts() -> Iterator[Part]:
        for entry in listing.entries:
            try:
                image = read_picture(entry.path)
            except (BadPictureError, TransientError) as error:
                print(error, file=sys.stderr)
                continue
            yield Part(truth=str(entry.label), image=image)

    return len(listing.entries), parts()


def _plain(found: Compared) -> dict[str, Any]:
    from edge_agent.processes.examination import figures_of

    return {
        "a": found.digests[0],
        "b": found.digests[1],
        "outcome": found.ruling.outcome.value,
        "reasons": list(found.ruling.reasons),
        "unknown_classes": list(found.report.unknown),
        "memory_bytes": {"a": found.memory_bytes[0], "b": found.memory_bytes[1]},
        "size_bytes": {"a": found.size_bytes[0], "b": found.size_bytes[1]},
        # The names of the gate: A is the candidate, B what it is held against.
        "figures": figures_of(found.report, found.ruling),
    }


def _print(place: Place, found: Compared) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    states = {model.digest: model.state for model in place.store.list()}
    for letter, digest in zip("AB", found.digests, strict=True):
        version = place.store.manifest(digest).version
        table.add_column(f"{letter}: {digest[:12]}\n{version}, {states[digest]}", justify="right", overflow="fold")
    for row in _rows(found):
        table.add_row(*row)
    console.print(table)
    for line in _lines(found):
        console.print(Text(line))


def _rows(found: Compared) -> Iterator[tuple[str, str, str]]:
    report = found.report
    if report.candidate is not None and report.active is not None and report.candidate.parts:
        a, b = report.candidate, report.active
        yield "right answers", _of(a.right, a.parts), _of(b.right, b.parts)
        yield "defects found", _of(a.found, a.defects), _of(b.found, b.defects)
        yield "false alarms", _of(a.false_alarms, a.good), _of(b.false_alarms, b.good)
    if len(report.paces) == 2:
        a_ms, b_ms = (f"{pace.median_ms:.2f} ms" for pace in report.paces)
        yield "a look, half of them within", a_ms, b_ms
        a_ms, b_ms = (f"{pace.p95_ms:.2f} ms" for pace in report.paces)
        yield "a look, 95 of 100 within", a_ms, b_ms
    a_text, b_text = (f"{size / _MIB:.0f} MiB" for size in found.memory_bytes)
    yield "memory of a process with it", a_text, b_text
    a_text, b_text = (f"{size / _MIB:.2f} MiB" for size in found.size_bytes)
    yield "size on the disk", a_text, b_text
    agreement = report.examination.agreement
    if agreement is not None:
        yield "int8 says what float says", f"{agreement:.1%} of {report.examination.agreement_parts}", "-"


def _of(count: int, parts: int) -> str:
    return f"{count} of {parts} ({count / parts:.1%})" if parts else "none there"


def _lines(found: Compared) -> Iterator[str]:
    for what, difference in (("right answers", found.ruling.accuracy), ("defects found", found.ruling.recall)):
        if difference is not None:
            yield f"{what}, A less B: {difference}"
    if found.ruling.accuracy is None:
        yield "no parts to compare on: `edge-agent label --next` labels some, --pictures takes a labelled folder"
    if found.report.unknown:
        yield f"A does not know: {', '.join(found.report.unknown)}"
    yield f"the gate would say of A: {found.ruling.outcome.value}"
    for reason in found.ruling.reasons:
        yield f"  {reason}"
