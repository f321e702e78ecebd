"""Show the configuration: what the file sets, what is in force, what each key means, the schema for editors.

Secrets are never printed, nor credentials in addresses.

Examples:
  edge-agent config show                  what differs from the defaults
  edge-agent config show --effective      every key with the value in force
  edge-agent config doc mqtt              the keys of a section; `doc mqtt.keepalive_s` is one key
  edge-agent config schema > agent.schema.json
"""

from __future__ import annotations

import argparse
import json
import sys

SUMMARY = "show the effective configuration, its schema and its reference"


def configure(parser: argparse.ArgumentParser) -> None:
    from edge_agent.config.locate import HELP

    parser.add_argument("--config", metavar="FILE", help=HELP)
    verbs = parser.add_subparsers(dest="config_verb", metavar="VERB", required=True)
    show = verbs.add_parser("show", help="print the configuration")
    # Before or after the verb: fingers do both. SUPPRESS, or the inner default would undo the outer value.
    show.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=HELP)
    show.add_argument("--effective", action="store_true", help="every key, with defaults and inherited values")
    show.add_argument("--output", choices=("text", "json"), default="text", help="json instead of YAML")
    verbs.add_parser("schema", help="print the JSON Schema")
    doc = verbs.add_parser("doc", help="print what keys mean")
    doc.add_argument("key", nargs="?", default="", help="a section (mqtt) or a key (mqtt.url); default: all")


def run(arguments: argparse.Namespace) -> int:
    return {"show": _show, "schema": _schema, "doc": _doc}[arguments.config_verb](arguments)


def _show(arguments: argparse.Namespace) -> int:
    import yaml

    from edge_agent.config.locate import locate
    from edge_agent.config.settings import load
    from edge_agent.processes.addresses import Addresses

    settings = load(locate(arguments.config), addresses=Addresses(), secrets_of=())
    plain = settings.plain() if arguments.effective else settings.model_dump(mode="json", exclude_defaults=True)
    if arguments.output == "json":
        print(json.dumps(plain, indent=2))
    else:
        print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120), end="")
    return 0


def _schema(_arguments: argparse.Namespace) -> int:
    from edge_agent.config.settings import schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return 0


def _doc(arguments: argparse.Namespace) -> int:
    from edge_agent.config.faults import did_you_mean
    from edge_agent.config.reference import entries

    wanted = arguments.key
    found = [entry for entry in entries() if wanted == entry.key or entry.key.startswith(wanted and f"{wanted}.")]
    if not found:
        names = {entry.key for entry in entries()} | {entry.key.partition(".")[0] for entry in entries()}
        hint = did_you_mean(wanted, names)
        print(f"edge-agent config doc: no key {wanted}" + (f"; {hint}" if hint else ""), file=sys.stderr)
        return 1
    for entry in found:
        print(f"{entry.key}\n    {entry.meaning}\n    default {entry.default}, expected {entry.expected}\n")
    return 0
