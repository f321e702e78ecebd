"""From one more label to the head that it leads to, end to end: MQTT command -> `model/is` names the new bundle.

    1,000 labelled parts in the store, `edge-agent run` with one camera, a real broker
    cmd/label -> inspect writes it -> learn.request -> learn: book, head, gate -> store -> inspect -> model/is

The first label finds no learn process (`cold`: it is started for it), the next ones find it waiting for more (`warm`).
Everything is the default: the bundle of `models build` (784 features), the gate with the sealed fifth, the trial.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.capture.picture import encode_jpeg
from edge_agent.capture.synthetic import PLANTS, SyntheticLine
from edge_agent.clock import SystemClock
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.lists import Entry
from edge_agent.evidence.store import EvidenceStore
from edge_agent.processes.evidence_place import FOLDER, examine
from edge_agent.records import Standing
from tests.bench.gateway import default_store, folder, until
from tests.bench.report import Progress
from tests.fakes.broker import Broker
from tests.fakes.gateway import Gateway
from tests.gateway.witness import Witness

CAMERA = "cam"
MODEL = "surface"
PARTS = 1250  # a fifth of them is sealed
PARTS_SEEN = 500  # as many as inspect remembers
DEADLINE_S = 120.0
_TOOK = re.compile(r"pass=learn result=(\S+) .*?took_ms=(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One label's way: seconds in all, and of its stretches."""

    seconds: float
    stretches: dict[str, float] = field(default_factory=dict)


def measure_way(labels: int, progress: Progress) -> dict[str, Any]:
    """The first label (cold) and the median of the following ones (warm), `labels` in all."""
    with folder() as place, Broker(place / "broker") as broker, Witness(broker) as witness:
        camera = {"source": "synthetic:mixed", "fps": 10, "mode": "trained"}
        gateway = Gateway(place, broker.url, {CAMERA: camera}, models=default_store())
        waiting = _fill(gateway.state / FOLDER, place / "pictures", labels, progress)
        with gateway:
            _teach_first(gateway, progress)
            gateway.start()
            # A new head is tried on parts of the last minutes; there are none right after a start.
            until(lambda: _judged(witness, progress) >= PARTS_SEEN, DEADLINE_S)
            until(lambda: gateway.pid("learn") is None, DEADLINE_S)  # it waits for no more labels
            ways = []
            for number, sample in enumerate(waiting, start=1):
                ways.append(_one(gateway, witness, sample, number))
                progress("labels to heads", number, len(waiting))
    cold, warm = ways[0], ways[1:]
    return {
        "label_to_head_s": cold.seconds,
        "label_to_head_warm_s": float(np.median([way.seconds for way in warm])),
        "label_to_head_stretches_s": {"cold": cold.stretches, "warm": warm[len(warm) // 2].stretches},
    }


def _fill(root: Path, pictures: Path, waiting: int, progress: Progress) -> list[tuple[str, str]]:
    """Labelled parts as an import brings them, and open ones without a label: (sample, its label) of these."""
    lines = [SyntheticLine(plant, 7, defect_share=0.5) for plant in sorted(PLANTS)]
    pictures.mkdir()
    entries, truth = [], {}
    for number in range(PARTS + 2 * waiting):
        part = lines[number % len(lines)].part(number // len(lines))
        path = pictures / f"{number:04}.jpg"
        path.write_bytes(encode_jpeg(part.image, 95))
        labelled = number < PARTS
        entries.append(
            Entry(path=path, place=path.name, label=part.label if labelled else None, plant="here", group=str(number))
        )
        truth[f"batch:here/{number}"] = part.label
        progress("make parts", number + 1, PARTS + 2 * waiting)
    store = EvidenceStore(root)
    try:
        Importer(store, SystemClock(), examine, ImportTerms(by="bench", task=MODEL)).take(
            entries, lambda done: progress("import", done, len(entries))
        )
        found = Catalogue(store.database).find(Wanted(standing=Standing.UNLABELLED), limit=2 * waiting)
    finally:
        store.close()
    return [(sample.id, truth[sample.group]) for sample in found if not sample.sealed][:waiting]


def _teach_first(gateway: Gateway, progress: Progress) -> None:
    """The 1,000 labels themselves: the book is made, and their head is in force without a trial."""
    progress("first pass", 0, 1)
    gateway.launch("learn")
    assert gateway.wait("learn") == 0, gateway.log
    (digest,) = re.findall(r"pass=learn result=on-trial .*?digest=(\w+)", gateway.log)
    done = gateway.cli("models", "activate", digest)
    assert done.returncode == 0, done.stderr
    progress("first pass", 1, 1)


def _judged(witness: Witness, progress: Progress) -> int:
    judged = len(witness.parts(CAMERA))
    progress("parts seen", min(judged, PARTS_SEEN), PARTS_SEEN)
    return judged


def _one(gateway: Gateway, witness: Witness, sample: tuple[str, str], number: int) -> Way:
    before, told = _active(witness), len(_passes(gateway))
    begun_s = time.perf_counter()
    witness.command("label", f"say-{number}", sample=sample[0], label=sample[1])
    written_s = until(lambda: witness.acks("label", f"say-{number}")[-1:] == ["successful"], DEADLINE_S)
    until(lambda: _active(witness) not in (before, None), DEADLINE_S)
    seconds = time.perf_counter() - begun_s
    until(lambda: len(_passes(gateway)) > told)
    took = {name: float(value) / 1e3 for name, value in _passes(gateway)[-1].items()}
    inside = {f"pass: {name}": value for name, value in took.items()}
    rest = seconds - written_s - sum(took.values())
    return Way(seconds=seconds, stretches={"label written": written_s, **inside, "starting, waiting, in use": rest})


def _active(witness: Witness) -> str | None:
    told = witness.latest("model/is")
    return next((model["active"] for model in told["models"] if model["name"] == MODEL), None) if told else None


def _passes(gateway: Gateway) -> list[dict[str, str]]:
    return [
        dict(pair.split(":") for pair in took.split(","))
        for result, took in _TOOK.findall(gateway.log)
        if result != "nothing-new"
    ]
