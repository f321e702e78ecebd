"""The command line: one thin file per verb, found by this table.

A verb module has `SUMMARY`, `configure(parser)` and `run(arguments) -> exit code`; only the verb that was asked for is
imported, so `edge-agent --help` and shell completion stay fast and the daemon loads nothing it does not use.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType

from edge_agent import __version__
from edge_agent.errors import EXIT_FAULT, EXIT_USAGE, EdgeAgentError

VERBS: dict[str, str] = {
    "init": "detect the device and its cameras and write a commented agent.yaml",
    "check": "try everything a start needs: configuration, cameras, model, broker, disk, clock",
    "run": "run the gateway: inspect and sync as children of one supervisor",
    "status": "show the running daemon: cameras, verdicts, latency, broker, queue",
    "inspect": "judge pictures from files or folders and print the verdicts",
    "evidence": "pictures kept for labels: import, list, show, export, hold, request, repair",
    "label": "say what a kept picture shows: one, or the queue; undo; who said what",
    "review": "serve the page on which people label pictures, on the plant's LAN; who may use it",
    "models": "build, import, list, compare, try, activate and roll back model bundles; their history",
    "finetune": "train the encoder on this gateway's labelled pictures: how it goes, start, cancel",
    "outbox": "show what waits to be sent",
    "config": "show the effective configuration, its schema and its reference",
    "support-bundle": "collect logs, status and configuration for support: no pictures, no secrets",
    "demo": "play a line on this machine and watch it live (what deploy/try.sh runs)",
    "completion": "print a completion script for bash, zsh or tcsh",
}
# Which process a service unit runs; not for people, so not in the table above.
SERVICE_VERB = "serve"

EPILOG = """\
Start here:
  edge-agent init            write agent.yaml for this machine
  edge-agent check           see whether everything it names really works
  edge-agent run             judge, publish, keep going
  edge-agent status          watch it from another terminal

Exit codes: 0 ok, 1 fault, 2 usage, 69 hardware or execution provider missing, 75 try again later, 78 configuration.
"""


def verb_module(verb: str) -> ModuleType:
    """The module of one verb."""
    return importlib.import_module(f"edge_agent.cli.{verb.replace('-', '_')}")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all verbs; with `only`, the others are known by name but not imported."""
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Judge what the cameras of a factory gateway see, and tell the line and the plant over MQTT.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for verb, summary in {**VERBS, SERVICE_VERB: ""}.items():
        if only not in (None, verb):
            if summary:
                verbs.add_parser(verb, add_help=False, help=summary)
            continue
        if verb == SERVICE_VERB and only is None:
            continue
        module = verb_module(verb)
        raw = argparse.RawDescriptionHelpFormatter
        child = verbs.add_parser(verb, description=module.__doc__, formatter_class=raw, help=summary)
        module.configure(child)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; our own errors become one line on stderr and the family's exit code."""
    words = sys.argv[1:] if argv is None else argv
    asked = next((word for word in words if not word.startswith("-")), None)
    known = asked is not None and (asked in VERBS or asked == SERVICE_VERB)
    parser = build_parser(only=asked if known else "")
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return int(verb_module(arguments.verb).run(arguments))
    except EdgeAgentError as error:
        print(f"edge-agent {arguments.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # `edge-agent ... | head` closed our output: not a fault of ours, and nothing more can be said there.
        sys.stderr.close()
        return EXIT_FAULT
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
