"""A tree of nodes -> values for pydantic, and pydantic's errors -> faults with the place each has in the file.

Mapping --values()--> dict, tuple, scalars --pydantic--> Settings
                              | ValidationError
                              v
                   faults(): loc -> node -> line and column; expected from the JSON Schema of the key
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from edge_agent.config.expected import Fragment, expected, fragment_at, known_keys
from edge_agent.config.faults import Fault, InvalidConfigError, Place, did_you_mean, fault_at
from edge_agent.config.nodes import Entry, Mapping, Node, Scalar, Sequence, describe, trap
from edge_agent.config.redact import redact

Path = tuple[str, ...]
SECRET_KEYS = ("password",)


FindSecret = Callable[[str, Place, str], str]


def values(node: Node, find_secret: FindSecret) -> tuple[Any, list[Fault]]:
    """Plain values (dict, tuple, str, int, float, bool, None), secrets looked up, and the faults of secrets that are
    missing or stand where none may; in their place is an empty text.
    """
    collected: list[Fault] = []
    return _values(node, find_secret, (), collected), collected


def _values(node: Node, find_secret: FindSecret, path: Path, collected: list[Fault]) -> Any:
    if isinstance(node, Mapping):
        return {e.name: _values(e.node, find_secret, (*path, e.name), collected) for e in node.entries}
    if isinstance(node, Sequence):
        return tuple(_values(n, find_secret, (*path, str(i)), collected) for i, n in enumerate(node.items))
    if node.secret is None:
        return node.value
    key = ".".join(path)
    if not path or path[-1] not in SECRET_KEYS:
        hint = "only password keys may be secret; addresses take username and password beside them"
        collected.append(fault_at(node.place, key, describe(node), "a plain value", hint))
        return ""
    try:
        return find_secret(node.secret, node.place, key)
    except InvalidConfigError as error:
        collected.extend(error.faults)
        return ""


def inherit(node: Mapping, section: str, into: str, names: Iterable[str], *, within: str | None = None) -> Mapping:
    """The tree in which every map under `into` also has those keys of `section` that it does not repeat itself.

    `within` names a map inside each of them that inherits in its place, where it is there. Inherited entries keep their
    place, so a fault in one is reported where it is written, once.
    """
    shared, heirs = node.entry(section), node.entry(into)
    if shared is None or heirs is None or not (isinstance(shared.node, Mapping) and isinstance(heirs.node, Mapping)):
        return node
    allowed = frozenset(names)
    given = tuple(entry for entry in shared.node.entries if entry.name in allowed)
    merged = heirs.node
    for heir in heirs.node.entries:
        if within is None:
            merged = _replace(merged, heir, _with_inherited(heir, given))
        elif isinstance(heir.node, Mapping) and (inner := heir.node.entry(within)):
            filled = _replace(heir.node, inner, _with_inherited(inner, given))
            merged = _replace(merged, heir, Entry(place=heir.place, name=heir.name, node=filled))
    return _replace(node, heirs, Entry(place=heirs.place, name=into, node=merged))


def _replace(node: Mapping, old: Entry, new: Entry) -> Mapping:
    return Mapping(place=node.place, entries=tuple(new if entry is old else entry for entry in node.entries))


def _with_inherited(heir: Entry, given: tuple[Entry, ...]) -> Entry:
    own = heir.node
    if not isinstance(own, Mapping):
        return heir
    added = tuple(entry for entry in given if own.entry(entry.name) is None)
    return Entry(place=heir.place, name=heir.name, node=Mapping(place=own.place, entries=own.entries + added))


def faults(error: ValidationError, tree: Mapping, schema: Fragment) -> list[Fault]:
    """One fault for each of pydantic's errors; a fault in an inherited key appears once."""
    found: dict[tuple[Place, str], Fault] = {}
    for details in error.errors(include_url=False):
        fault = _fault(details, tree, schema)
        place = Place(file=fault.file, line=fault.line, column=fault.column)
        # The same shared entry, reached through `inspection` and through each camera, is one fault.
        found.setdefault((place, fault.expected), fault)
    return list(found.values())


def _fault(details: ErrorDetails, tree: Mapping, schema: Fragment) -> Fault:
    where = _walk(tree, details["loc"])
    kind = details["type"]
    context = details.get("ctx", {})
    fragment = fragment_at(schema, where.path)
    if kind == "missing" and isinstance(where.node, Mapping):
        name = str(details["loc"][-1])
        wanted = expected(fragment_at(schema, (*where.path, name)))
        return fault_at(where.place, ".".join((*where.path, name)), "nothing", wanted, "the key is required")
    if kind == "extra_forbidden":
        siblings = known_keys(fragment_at(schema, where.path[:-1]))
        hint = did_you_mean(where.path[-1], siblings)
        wanted = "a known key" if hint else "one of " + ", ".join(siblings)
        return fault_at(where.key_place, ".".join(where.path), "an unknown key", wanted, hint)
    if details["loc"] and details["loc"][-1] == "[key]":
        wanted = f"a name of {expected(fragment_at(schema, where.path, of_name=True))}"
        return fault_at(where.key_place, ".".join(where.path), f'"{where.path[-1]}"', wanted)
    wanted = str(context["expected"]) if kind == "rule" else expected(fragment) or details["msg"]
    hint = str(context.get("hint", "")) if kind == "rule" else _hint(where, fragment)
    # A rule about a default that clashes has no node of its own: it is reported at the map that lacks the key.
    path = where.path if where.complete or kind == "missing" else (*where.path, str(details["loc"][-1]))
    return fault_at(where.place, ".".join(path), _found(where, path), wanted, hint)


def _found(where: _Spot, path: Path) -> str:
    if not where.complete:
        return "nothing"
    if path and path[-1] in SECRET_KEYS:
        return "(hidden)"
    return redact(describe(where.node))


def _hint(where: _Spot, fragment: Fragment) -> str:
    node = where.node
    if not isinstance(node, Scalar) or not where.complete:
        return ""
    if where.path and where.path[-1] in SECRET_KEYS:
        return "write it in quotes, or better as !secret NAME"
    if isinstance(node.value, str) and not node.quoted and (reason := trap(node.text)):
        return reason
    if isinstance(node.value, str):
        choices = [str(choice) for choice in fragment.get("enum", ())]
        return did_you_mean(node.text, choices)
    if node.value is not None and fragment.get("type") == "string":
        return f'write it in quotes: "{node.text}"'
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """How far an error's path can be followed in the file; not `complete` when its last key is missing there."""

    node: Node
    path: Path
    place: Place
    key_place: Place
    complete: bool = True


def _walk(tree: Mapping, location: tuple[int | str, ...]) -> _Spot:
    spot = _Spot(node=tree, path=(), place=tree.place, key_place=tree.place)
    for position, part in enumerate(location):
        last = position == len(location) - 1
        node = spot.node
        if isinstance(node, Mapping) and (entry := node.entry(str(part))):
            # An empty value has no place of its own that a reader would look at.
            place = entry.place if _is_empty(entry.node) else entry.node.place
            spot = _Spot(node=entry.node, path=(*spot.path, entry.name), place=place, key_place=entry.place)
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            item = node.items[part]
            spot = _Spot(node=item, path=(*spot.path, str(part)), place=item.place, key_place=item.place)
        elif isinstance(node, Mapping) and last and part != "[key]":
            spot = replace(spot, place=spot.key_place, complete=False)
        # Anything else is a tag of pydantic's own, such as the chosen member of a union: not in the file.
    return spot


def _is_empty(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None and node.secret is None
