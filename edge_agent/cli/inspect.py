"""Judge pictures from files or folders and print the verdicts; the daemon need not run.

Examples:
  edge-agent inspect part.png                          with the active model and its own thresholds
  edge-agent inspect pictures/ --save flagged/         draw what was found
  edge-agent inspect --camera press-3-top part.png     as that camera judges: its region, rules and model
  edge-agent inspect pictures/ --output json           one JSON object a line

Exit code 0 when every picture was judged, 1 when one could not be read.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.errors import EXIT_FAULT, EXIT_OK

if TYPE_CHECKING:
    from edge_agent.processes.stills import Bench, Still
    from edge_agent.records import Finding, Inspection

SUMMARY = "judge pictures from files or folders"
DEFAULT_STATE = Path("/var/lib/edge-agent")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE", help="picture files or folders")
    parser.add_argument("--config", metavar="FILE", help="configuration (default: ./agent.yaml, then /etc/edge-agent)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="state directory, instead of a configuration")
    parser.add_argument("--camera", metavar="NAME", help="judge as this camera of the configuration does")
    parser.add_argument("--model", default="surface", metavar="NAME", help="model to judge with (default surface)")
    parser.add_argument("--recipe", metavar="NAME", help="judge as parts of this recipe, as a trigger names it")
    parser.add_argument("--save", type=Path, metavar="DIR", help="write each picture with its verdict drawn on it")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="json prints one object a line")


def run(arguments: argparse.Namespace) -> int:
    from edge_agent.clock import SystemClock
    from edge_agent.processes.stills import find_pictures, judge_stills

    paths = find_pictures(arguments.pictures)
    bench = _bench(arguments)
    if arguments.save is not None:
        arguments.save.mkdir(parents=True, exist_ok=True)
    verdicts: Counter[str] = Counter()
    unread = 0
    for still in judge_stills(bench, paths, SystemClock(), arguments.recipe):
        unread += still.inspection is None
        if still.inspection is not None:
            verdicts[still.inspection.verdict.value] += 1
        if arguments.save is not None:
            _save(arguments.save, still)
        print(json.dumps(_plain(still)) if arguments.output == "json" else _line(still))
    if arguments.output == "text" and len(paths) > 1:
        counts = "  ".join(f"{name} {verdicts.get(name, 0)}" for name in ("PASS", "FAIL", "HOLD"))
        models = ", ".join(f"{model.manifest.name} {model.digest[:12]} {model.flavour}" for model in bench.models)
        print(f"{counts}  not read {unread}   model {models}")
    return EXIT_FAULT if unread else EXIT_OK


def _bench(arguments: argparse.Namespace) -> Bench:
    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load
    from edge_agent.errors import ConfigError
    from edge_agent.processes.stills import bench_of_camera, bench_of_model

    path = locate(arguments.config)
    if arguments.state is not None:
        if arguments.camera is not None:
            raise ConfigError("--camera needs a configuration; leave --state out, or give --config")
        return bench_of_model(arguments.state, arguments.model)
    if arguments.camera is None and arguments.config is None and not path.exists():
        return bench_of_model(DEFAULT_STATE, arguments.model)
    settings = load(path, secrets_of=())
    if arguments.camera is not None:
        return bench_of_camera(settings, arguments.camera)
    return bench_of_model(settings.storage.state_dir, arguments.model)


def _line(still: Still) -> str:
    found = still.inspection
    if found is None or found.score is None:
        return f"{found.verdict.value if found else '-':5} {'':12} {'':6} {still.path}: {still.fault or 'not judged'}"
    where = "" if found.where is None else f"  at {found.where.x:.2f},{found.where.y:.2f}"
    reason = f"  ({found.reason.value})" if found.reason is not None else ""
    things = f"  {len(found.detections)} found" if found.detections else ""
    told = "".join(f"  [{each.name}: {each.verdict.value} {each.label or '-'}]" for each in found.findings)
    return (
        f"{found.verdict.value:5} {found.label or '-':12} {found.score:6.3f} {still.path}{where}{things}{reason}{told}"
    )


def _plain(still: Still) -> dict[str, Any]:
    import dataclasses

    found = still.inspection
    value: dict[str, Any] = {"path": str(still.path), "fault": still.fault}
    if found is not None:
        value |= {
            "verdict": found.verdict.value,
            "label": found.label,
            "score": None if found.score is None else round(float(found.score), 6),
            "threshold": found.threshold,
            "reason": found.reason.value if found.reason else None,
            "where": dataclasses.asdict(found.where) if found.where else None,
            "model": found.model,
            "detections": [dataclasses.asdict(each) for each in found.detections],
            "findings": [_plain_finding(each) for each in found.findings],
        }
    return value


def _plain_finding(found: Finding) -> dict[str, Any]:
    import dataclasses

    return dataclasses.asdict(found) | {
        "verdict": found.verdict.value,
        "reason": found.reason.value if found.reason else None,
    }


def _save(folder: Path, still: Still) -> None:
    from edge_agent.capture.picture import draw, encode_png
    from edge_agent.records import Verdict
    from edge_agent.storage import replace_file

    found = still.inspection
    if found is None or still.image is None:
        return
    good = found.verdict is Verdict.PASS
    picture = draw(
        still.image,
        where=found.where,
        # On a good part the warmest place is warm by chance.
        heat=None if good else still.heat,
        lines=(_words(found), *(f"{each.name}: {_words(each)}" for each in found.findings)),
        good=good,
        detections=found.detections,
    )
    replace_file(folder / f"{still.path.stem}.png", encode_png(picture), durable=False)


def _words(found: Inspection | Finding) -> str:
    score = "" if found.score is None else f" {found.score:.2f}"
    reason = found.reason.value if found.reason is not None else "-"
    return f"{found.verdict.value} {found.label or reason}{score}"
