"""Build, pack, import, list, compare, verify, activate, try and roll back model bundles.

A bundle is a directory with a manifest, golden answers, and an encoder with a head or a network of your own: a
classifier, an anomaly model or a detector. The store under the state directory keeps each by its digest; for each model
name one pointer says which is active, which was before, and which is on trial.

Examples:
  edge-agent models build --activate             build the default bundle (needs edge-agent[train]) and use it
  edge-agent models build --to DIR               build it here, to copy it to gateways
  edge-agent models pack model.yaml --activate   make a bundle of your own ONNX file, and use it
  edge-agent models example detector --to DIR    write a small network with a declaration that shows how
  edge-agent models import DIR --activate        take a bundle in, check it in a limited child process, use it
  edge-agent models list                         what is there, what is active, what is on trial
  edge-agent models show DIGEST                  what a bundle is, and what has happened to it
  edge-agent models verify                       let the active bundle reproduce its golden answers on this device
  edge-agent models compare DIGEST               against the active one, on the sealed parts of this gateway
  edge-agent models shadow DIGEST                put it on trial: it judges beside the active one, then takes over
  edge-agent models shadow                       how the trial stands; --stop ends it
  edge-agent models activate DIGEST              use another one at once; the first digits are enough
  edge-agent models rollback                     back to the previous one
  edge-agent models history                      who did what, when and why
  edge-agent models statistics export FILE       sums over this plant's labelled parts, without a picture
  edge-agent models statistics import FILE       stand the next heads on the sums of a fleet too

The running daemon picks up a new pointer between two frames; nothing has to be restarted.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from edge_agent.cli.models.place import DEFAULT_NAME, DEFAULT_STATE

SUMMARY = "build, import, list, compare, try, activate and roll back model bundles; their history"
# As models/build/examples.py has them: named here so that --help loads nothing.
EXAMPLES = ("classifier", "anomaly", "detector", "detector-yolov5", "detector-rows")
# Which module carries out an action, by which function.
ACTIONS = {
    "build": ("incoming", "build"),
    "pack": ("incoming", "pack"),
    "example": ("incoming", "example"),
    "import": ("incoming", "import_"),
    "list": ("shelf", "list_"),
    "show": ("shelf", "show"),
    "verify": ("shelf", "verify"),
    "compare": ("comparison", "compare"),
    "shadow": ("release", "shadow"),
    "activate": ("release", "activate"),
    "rollback": ("release", "roll_back"),
    "history": ("history", "history"),
    "statistics": ("sums", "statistics"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", metavar="FILE", help="configuration that names the state directory and the device")
    shared.add_argument("--state", metavar="DIR", type=Path, help=f"state directory (default {DEFAULT_STATE})")
    shared.add_argument("--output", choices=("text", "json"), default="text", help="json prints one value for scripts")
    signed = argparse.ArgumentParser(add_help=False, parents=[shared])
    signed.add_argument("--by", metavar="NAME", help="who you are, for the journal (default: your user name)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _configure_incoming(actions, shared, signed)
    _configure_looking(actions, shared)
    _configure_release(actions, signed)


def _configure_incoming(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    shared: argparse.ArgumentParser,
    signed: argparse.ArgumentParser,
) -> None:
    build = actions.add_parser("build", parents=[signed], help="build the default bundle (needs edge-agent[train])")
    build.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")
    build.add_argument("--version", default="1", help="version of the bundle (default %(default)s)")
    build.add_argument("--size", type=int, default=224, metavar="PX", help="input height and width (default 224)")
    build.add_argument(
        "--features",
        choices=("stages", "blocks"),
        default="stages",
        help="784 numbers a picture, or 1,808 (default %(default)s; docs/learning.md says when the latter pay)",
    )
    build.add_argument("--seed", type=int, default=0, help="seed of the synthetic line (default 0)")
    build.add_argument("--pictures", type=Path, metavar="DIR", help="further pictures to calibrate int8 on")
    build.add_argument("--to", type=Path, metavar="DIR", help="write the bundle here instead of into the store")
    build.add_argument("--activate", action="store_true", help="use it at once")

    pack = actions.add_parser("pack", parents=[signed], help="make a bundle of your own ONNX file (docs/models.md)")
    pack.add_argument("declaration", type=Path, metavar="FILE", help="YAML that says what the network takes and gives")
    pack.add_argument("--to", type=Path, metavar="DIR", help="write the bundle here instead of into the store")
    pack.add_argument("--activate", action="store_true", help="use it at once")

    example = actions.add_parser("example", parents=[shared], help="write a small network and its declaration")
    example.add_argument("kind", choices=EXAMPLES, help="what it is")
    example.add_argument("--to", type=Path, metavar="DIR", required=True, help="folder to write into")

    take = actions.add_parser("import", parents=[signed], help="take a bundle directory into the store")
    take.add_argument("directory", type=Path)
    take.add_argument("--activate", action="store_true", help="use it at once")


def _configure_looking(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    actions.add_parser("list", parents=[shared], help="all bundles, and which are active or on trial")
    for action, text in (
        ("show", "what a bundle is and what has happened to it; its manifest with --output json"),
        ("verify", "check hashes and reproduce the golden vectors on this device"),
    ):
        child = actions.add_parser(action, parents=[shared], help=text)
        child.add_argument("digest", nargs="?", help="its first digits (default: the active one)")
        child.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")
    compare = actions.add_parser("compare", parents=[shared], help="two bundles on the same parts, side by side")
    compare.add_argument("candidate", metavar="A", help="first digits of one")
    compare.add_argument("other", metavar="B", nargs="?", help="those of the other (default: the active one)")
    compare.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder with a sub-folder of pictures for each class (default: the sealed hold-out of this gateway)",
    )
    history = actions.add_parser("history", parents=[shared], help="who did what to which bundle, when and why")
    history.add_argument("digest", nargs="?", help="only steps of this bundle, by its first digits")
    history.add_argument("--name", help="only steps of this model")
    history.add_argument("--limit", type=int, default=50, metavar="N", help="the last N steps (default %(default)s)")
    sums = actions.add_parser("statistics", parents=[shared], help="sums over labelled parts: to and from other plants")
    sums.add_argument("way", choices=("export", "import"), help="write this plant's, or take in those of a fleet")
    sums.add_argument("file", type=Path, metavar="FILE")
    sums.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")


def _configure_release(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], signed: argparse.ArgumentParser
) -> None:
    shadow = actions.add_parser("shadow", parents=[signed], help="put a bundle on trial, or say how the trial stands")
    instead = shadow.add_mutually_exclusive_group()
    instead.add_argument("digest", nargs="?", help="first digits of the candidate (default: how the trial stands)")
    instead.add_argument("--stop", action="store_true", help="end the trial: back to the bundle before it")
    instead.add_argument("--confirm", action="store_true", help="end the trial well: the candidate goes into force")
    shadow.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")
    activate = actions.add_parser("activate", parents=[signed], help="verify a bundle, then use it at once")
    activate.add_argument("digest", help="its first digits")
    back = actions.add_parser("rollback", parents=[signed], help="use the previous bundle again")
    back.add_argument("--name", default=DEFAULT_NAME, help="name of the model (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    module, function = ACTIONS[arguments.action]
    return int(getattr(importlib.import_module(f"edge_agent.cli.models.{module}"), function)(arguments))
