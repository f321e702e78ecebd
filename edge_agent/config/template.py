"""A commented agent.yaml to begin with: what is known is filled in, every other key stands there as a comment.

Comments come from the schema, so they are never stale; a test takes all comment marks away and loads the result.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_agent.config.expected import Fragment, fragment_at, resolve
from edge_agent.config.settings import schema

WIDTH = 100
SIGNAL = "  # for example {plc: {to: modbus://10.0.0.20/holding/100}}; docs/line.md"

HEAD = """\
# Edge Agent: configuration of this gateway.
#   edge-agent check            says whether everything below really works
#   edge-agent config show --effective    shows every key with the value in force
# Only what differs from the defaults needs to stand here: a line that begins with #: is a key at its default.
# Every key is described in docs/configuration.md. Passwords are written as !secret NAME and kept elsewhere.
version: 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What `init` found out. `cameras`: name -> key -> value; `remarks`: name of a camera or section -> a comment."""

    site: Mapping[str, str]
    cameras: Mapping[str, Mapping[str, Any]]
    mqtt: Mapping[str, Any]
    storage: Mapping[str, Any] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)


def render(draft: Draft) -> str:
    """The text of the file."""
    lines = [HEAD]
    lines += _section(draft, "site", draft.site)
    lines += _section(draft, "inspection", {})
    lines += [*_comment(fragment_at(schema(), ("cameras",))["description"], 0), "cameras:"]
    for position, (name, keys) in enumerate(draft.cameras.items()):
        if name in draft.remarks:
            lines += _comment(draft.remarks[name], 2)
        # Every optional key is shown once, at the first camera.
        shown = _keys(("cameras", name), keys, 4, shared=("inspection",))
        lines += [f"  {name}:", *(line for line in shown if position == 0 or not line.lstrip().startswith("#")), ""]
    lines += [*_comment(fragment_at(schema(), ("signals",))["description"], 0), f"#: signals: {{}}{SIGNAL}", ""]
    lines += _section(draft, "mqtt", draft.mqtt)
    for name in ("storage", "models", "evidence", "outbox", "telemetry", "device", "logging"):
        lines += _section(draft, name, draft.storage if name == "storage" else {})
    return "\n".join(lines).rstrip() + "\n"


def _section(draft: Draft, name: str, given: Mapping[str, Any]) -> list[str]:
    about = fragment_at(schema(), (name,))
    remark = _comment(draft.remarks[name], 0) if name in draft.remarks else []
    return [*remark, *_comment(str(about["description"]), 0), f"{name}:", *_keys((name,), given, 2), ""]


def _keys(path: tuple[str, ...], given: Mapping[str, Any], indent: int, shared: tuple[str, ...] = ()) -> Iterator[str]:
    inherited = fragment_at(schema(), shared).get("properties", {}) if shared else {}
    for name, key in fragment_at(schema(), path)["properties"].items():
        fragment = resolve(schema(), key)
        if name in given:
            yield f"{' ' * indent}{name}: {_value(given[name])}"
        elif name not in inherited:
            yield from _comment(str(fragment["description"]), indent)
            # A section in a section would be a line too long to read: its keys are on the page.
            default = {} if fragment.get("default") and "properties" in fragment else fragment.get("default")
            yield f"{' ' * indent}#: {name}: {_value(default)}{_example(fragment)}"


def _comment(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent + "# ", subsequent_indent=" " * indent + "# ")


def _example(fragment: Fragment) -> str:
    examples = fragment.get("examples")
    return f"  # for example {_value(examples[0])}" if examples else ""


def _value(value: Any) -> str:
    if isinstance(value, str) and value.startswith("!secret "):
        return value
    if isinstance(value, str) and value and value[0].isalpha() and " " not in value and value not in ("null", "true"):
        return value
    return json.dumps(value, ensure_ascii=False)
