"""YAML text -> a tree of values that know their place in the file.

    text --PyYAML--> marks and scalars --ours--> Scalar | Sequence | Mapping, or faults with line and column

PyYAML resolves plain words by YAML 1.1, where `no` is false, `10:30` is 630 and `0755` is 493. Here words are read by
the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3) and those three stay text; `trap` explains them when
another type was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from edge_agent.config.faults import Fault, InvalidConfigError, Place, fault_at

# A gateway's file has some hundred values. The limits stop alias bombs and deep nesting long before memory runs out.
TEXT_LIMIT_BYTES = 1024 * 1024
NODE_LIMIT = 20_000
DEPTH_LIMIT = 32
NUMBER_LIMIT_CHARACTERS = 64

_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
_SECRET = "!secret"  # noqa: S105 - a tag, not a password
_CONTAINERS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUTH = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TRAPS = (
    (re.compile(r"(?i)y|n|yes|no|on|off"), "YAML 1.1 reads this word as a truth value: write true or false"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9]*)?"),
        "YAML 1.1 reads this in base 60: write a plain number",
    ),
    (re.compile(r"[-+]?0[0-9_]+"), "YAML 1.1 reads a leading zero as octal: write the number without it"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A value. `text` is how it is written; `secret` the NAME of `!secret NAME`."""

    place: Place
    text: str
    value: str | int | float | bool | None
    quoted: bool = False
    secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One `name: value` of a map; `place` is that of the name."""

    place: Place
    name: str
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A map, its names unique."""

    place: Place
    entries: tuple[Entry, ...]

    def entry(self, name: str) -> Entry | None:
        """The entry of this name, or None."""
        return next((entry for entry in self.entries if entry.name == name), None)


Node = Scalar | Sequence | Mapping


def trap(text: str) -> str:
    """Why a plain word is not what YAML 1.1 would make of it, or nothing."""
    return next((reason for pattern, reason in _TRAPS if pattern.fullmatch(text)), "")


def read(content: bytes, file: str) -> Mapping:
    """The tree of a YAML file whose top is a map.

    Raises:
        InvalidConfigError: with every fault; after a fault of syntax nothing more can be read, so that one is alone.
    """
    text = _decode(content, file)
    root = _compose(text, file)
    if root is None:
        top = Place(file=file, line=1, column=1)
        raise InvalidConfigError([fault_at(top, "", "an empty file", "keys and values")])
    converter = _Converter(file)
    tree = converter.node(root, (), 0)
    if converter.faults:
        raise InvalidConfigError(converter.faults)
    if not isinstance(tree, Mapping):
        raise InvalidConfigError([fault_at(tree.place, "", describe(tree), "a map of keys to values")])
    return tree


def describe(node: Node) -> str:
    """What is there, for a message: `"ten"`, `0.5`, `a map`, `a list of 3`."""
    if isinstance(node, Mapping):
        return "a map"
    if isinstance(node, Sequence):
        return f"a list of {len(node.items)}"
    if node.secret is not None:
        return f"!secret {node.secret}"
    if node.value is None:
        return "nothing"
    text = node.text if len(node.text) <= 60 else node.text[:57] + "..."
    return '"' + text.replace("\n", "\\n") + '"' if node.quoted or isinstance(node.value, str) else text


def _decode(content: bytes, file: str) -> str:
    top = Place(file=file, line=1, column=1)
    if len(content) > TEXT_LIMIT_BYTES:
        found = f"{len(content)} bytes"
        raise InvalidConfigError([fault_at(top, "", found, f"at most {TEXT_LIMIT_BYTES}")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", errors="replace")
        found = f"byte 0x{content[error.start]:02x}"
        raise InvalidConfigError(
            [fault_at(_place_after(before, file), "", found, "UTF-8 text", "save the file as UTF-8")]
        ) from error


def _place_after(before: str, file: str) -> Place:
    lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", before)
    return Place(file=file, line=len(lines), column=len(lines[-1]) + 1)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with our rule for plain words and a limit on nesting."""

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: object) -> str:  # noqa: ARG002 - the signature is PyYAML's
        if kind is yaml.ScalarNode and isinstance(implicit, tuple):
            return _PLAIN if implicit[0] else _TEXT
        return _CONTAINERS[1] if kind is yaml.SequenceNode else _CONTAINERS[0]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            problem = f"more than {DEPTH_LIMIT} levels of nesting"
            raise yaml.composer.ComposerError(None, None, problem, self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        raise InvalidConfigError([_unprintable(error, text, file)]) from error
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        raise InvalidConfigError([_syntax_fault(error, mark, file)]) from error
    except yaml.reader.ReaderError as error:
        raise InvalidConfigError([_unprintable(error, text, file)]) from error
    except (ValueError, OverflowError) as error:
        # PyYAML 6.0 lets chr() and int() of a bad escape or directive escape as they are.
        place = _place(loader.get_mark(), file)
        raise InvalidConfigError([fault_at(place, "", f"an impossible value ({error})", "valid YAML")]) from error
    finally:
        loader.dispose()


def _unprintable(error: yaml.reader.ReaderError, text: str, file: str) -> Fault:
    place = _place_after(text[: error.position], file)
    return fault_at(place, "", f"the unprintable character U+{ord(text[error.position]):04X}", "text", "remove it")


def _syntax_fault(error: yaml.MarkedYAMLError, mark: yaml.Mark, file: str) -> Fault:
    problem = error.problem or "a fault of syntax"
    hint = error.context or ""
    if "'\\t'" in problem:
        return fault_at(_place(mark, file), "", "a tab", "spaces", "YAML allows no tabs for indentation")
    if "mapping values are not allowed" in problem:
        hint = "is the line indented as its neighbours, and is text with a colon in quotes?"
    if "undefined alias" in problem:
        # Its name may be a password that begins with *.
        return fault_at(
            _place(mark, file), "", "an undefined alias", "valid YAML", "put text that begins with * in quotes"
        )
    problem = problem.removeprefix("found ").removeprefix("could not find ")
    return fault_at(_place(mark, file), "", problem, "valid YAML", hint)


def _place(mark: yaml.Mark, file: str) -> Place:
    return Place(file=file, line=mark.line + 1, column=mark.column + 1)


class _Converter:
    """PyYAML's nodes -> ours, collecting faults; counts nodes as aliases expand them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.count = 0

    def node(self, source: yaml.Node, path: tuple[str, ...], depth: int) -> Node:
        place = _place(source.start_mark, self.file)
        self.count += 1
        if self.count > NODE_LIMIT or depth > DEPTH_LIMIT:
            found = f"aliases that expand to more than {NODE_LIMIT} values or {DEPTH_LIMIT} levels"
            raise InvalidConfigError([*self.faults, fault_at(place, ".".join(path), found, "a smaller file")])
        if source.tag not in (_PLAIN, _TEXT, _SECRET, *_CONTAINERS):
            hint = "" if source.tag.startswith("tag:") else _did_you_mean_tag(source.tag)
            self._fault(place, path, "an unknown tag", "!secret or no tag", hint)
            return Scalar(place=place, text="", value=None)
        if isinstance(source, yaml.MappingNode):
            return Mapping(place=place, entries=tuple(self._entries(source, path, depth)))
        if isinstance(source, yaml.SequenceNode):
            items = (self.node(item, (*path, str(index)), depth + 1) for index, item in enumerate(source.value))
            return Sequence(place=place, items=tuple(items))
        return self._scalar(source.value, source.tag, place, path)

    def _entries(self, source: yaml.MappingNode, path: tuple[str, ...], depth: int) -> Iterator[Entry]:
        seen: dict[str, Place] = {}
        for name_node, value_node in source.value:
            place = _place(name_node.start_mark, self.file)
            if not isinstance(name_node, yaml.ScalarNode):
                self._fault(place, path, "a list or map as a key", "a word as a key")
                continue
            name = name_node.value
            inner = (*path, name)
            if name == "<<" and name_node.tag == _PLAIN:
                hint = "write what all cameras share under inspection:"
                self._fault(place, inner, "a merge key", "ordinary keys", hint)
                continue
            if name in seen:
                hint = f"the first is in line {seen[name].line}: keep one"
                self._fault(place, inner, "the same key twice", "each key once", hint)
                continue
            seen[name] = place
            yield Entry(place=place, name=name, node=self.node(value_node, inner, depth + 1))

    def _scalar(self, text: str, tag: str, place: Place, path: tuple[str, ...]) -> Scalar:
        if tag == _SECRET:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
                self._fault(place, path, f"!secret {text[:60]!r}", "!secret NAME with a name of letters, digits, _ . -")
            return Scalar(place=place, text=text, value=None, secret=text)
        if tag == _TEXT:
            return Scalar(place=place, text=text, value=text, quoted=True)
        return Scalar(place=place, text=text, value=plain_value(text))

    def _fault(self, place: Place, path: tuple[str, ...], found: str, expected: str, hint: str = "") -> None:
        self.faults.append(fault_at(place, ".".join(path), found, expected, hint))


def plain_value(text: str) -> str | int | float | bool | None:
    """What an unquoted word means: the core schema of YAML 1.2 and `1_000`; leading zeros and base 60 stay text."""
    if _NULL.fullmatch(text):
        return None
    if _TRUTH.fullmatch(text):
        return text.lower() == "true"
    if len(text) <= NUMBER_LIMIT_CHARACTERS:
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _did_you_mean_tag(tag: str) -> str:
    return "did you mean !secret?" if "sec" in tag.lower() else "put text that begins with ! in quotes"
