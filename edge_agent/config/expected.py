"""The JSON Schema of a key, in words: `a number from 0.1 to 240`. Used by messages and by the reference page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Fragment = Mapping[str, Any]

_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map of keys",
}


def resolve(schema: Fragment, fragment: Fragment) -> Fragment:
    """The fragment with its `$ref` followed and a `null` alternative left out."""
    outer = fragment
    if "$ref" in fragment:
        name = str(fragment["$ref"]).rsplit("/", 1)[-1]
        fragment = {**schema["$defs"][name], **{k: v for k, v in fragment.items() if k != "$ref"}}
    options = [option for option in fragment.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        inner = resolve(schema, options[0])
        kept = {k: v for k, v in outer.items() if k not in ("anyOf", "$ref")}
        fragment = {**inner, **kept, "x-optional": True}
    return fragment


def fragment_at(schema: Fragment, path: Sequence[str], *, of_name: bool = False) -> Fragment:
    """The schema of the value at `path`; the deepest known one where the path leaves the schema.

    `of_name` asks for the schema of the last name itself, in a map with free names.
    """
    fragment = resolve(schema, schema)
    for position, part in enumerate(path):
        if of_name and position == len(path) - 1:
            return resolve(schema, fragment.get("propertyNames", {}))
        properties = fragment.get("properties", {})
        if part in properties:
            inner = properties[part]
        elif isinstance(fragment.get("additionalProperties"), Mapping):
            inner = fragment["additionalProperties"]
        elif "patternProperties" in fragment:
            inner = next(iter(fragment["patternProperties"].values()))
        elif isinstance(fragment.get("items"), Mapping) and "x-expected" not in fragment:
            inner = fragment["items"]
        else:
            return fragment
        fragment = resolve(schema, inner)
    return fragment


def known_keys(fragment: Fragment) -> tuple[str, ...]:
    """The keys a map may have, in the order of the schema."""
    return tuple(fragment.get("properties", ()))


def expected(fragment: Fragment) -> str:
    """What fits, in words; empty where the schema says nothing."""
    if "x-expected" in fragment:
        return str(fragment["x-expected"])
    if "enum" in fragment:
        return "one of " + ", ".join(str(choice) for choice in fragment["enum"])
    if "const" in fragment:
        return str(fragment["const"])
    kind = fragment.get("type", "")
    if isinstance(kind, list):  # ["object", "null"]: a section that may be empty
        kind = kind[0]
    words = _TYPES.get(str(kind), "")
    if kind in ("integer", "number"):
        return words + _range(fragment)
    if kind == "array":
        return words + _length(fragment, "minItems", "maxItems", "entries")
    if kind == "string":
        return words + _length(fragment, "minLength", "maxLength", "characters")
    return words


def _range(fragment: Fragment) -> str:
    low, above, high = fragment.get("minimum"), fragment.get("exclusiveMinimum"), fragment.get("maximum")
    if low is not None and high is not None:
        return f" from {low:_} to {high:_}".replace("_", " ") if abs(high) >= 10_000 else f" from {low} to {high}"
    if above is not None:
        return f" above {above}" + (f", at most {high}" if high is not None else "")
    return f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""


def _length(fragment: Fragment, least_key: str, most_key: str, noun: str) -> str:
    least, most = fragment.get(least_key), fragment.get(most_key)
    if least is not None and most is not None:
        return f" of {least} to {most} {noun}" if least != most else f" of {least} {noun}"
    if least is not None:
        return ", not empty" if least == 1 else f" of at least {least} {noun}"
    return f" of at most {most} {noun}" if most is not None else ""
