"""Older files: each step turns the tree of one version into that of the next, and every node keeps its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.config.faults import InvalidConfigError, fault_at
from edge_agent.config.nodes import Entry, Node, Scalar, describe
from edge_agent.config.nodes import Mapping as Tree

VERSION = 1

Migration = Callable[[Tree], Tree]

# Version n -> the step to version n + 1. Version 1 is the first that was published.
MIGRATIONS: Mapping[int, Migration] = {}


def migrate(tree: Tree, version: int, migrations: Mapping[int, Migration]) -> Tree:
    """The tree in the form of `version`.

    Raises:
        InvalidConfigError: no version, one newer than this program, or one it can no longer read.
    """
    entry = tree.entry("version")
    if entry is None:
        raise InvalidConfigError(
            [fault_at(tree.place, "version", "nothing", str(version), "begin the file with version: 1")]
        )
    node = entry.node
    number = node.value if isinstance(node, Scalar) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidConfigError([fault_at(node.place, "version", describe(node), str(version))])
    if number > version:
        hint = f"the file was written for a newer Edge Agent; this one knows version {version}"
        raise InvalidConfigError([fault_at(node.place, "version", str(number), str(version), hint)])
    while number < version:
        if number not in migrations:
            oldest = min(migrations, default=version)
            hint = f"versions from {oldest} can be read"
            raise InvalidConfigError([fault_at(node.place, "version", str(number), str(version), hint)])
        tree = migrations[number](tree)
        number += 1
    return set_value(tree, ("version",), Scalar(place=node.place, text=str(version), value=version))


def rename(tree: Tree, path: tuple[str, ...], name: str) -> Tree:
    """The tree in which the last key of `path` (`*` = any key) is called `name`; else the same tree."""

    def renamed(entry: Entry) -> Entry:
        return Entry(place=entry.place, name=name, node=entry.node)

    return _edited(tree, path, renamed)


def set_value(tree: Tree, path: tuple[str, ...], node: Node) -> Tree:
    """The tree with another value at `path`."""

    def changed(entry: Entry) -> Entry:
        return Entry(place=entry.place, name=entry.name, node=node)

    return _edited(tree, path, changed)


def _edited(tree: Tree, path: tuple[str, ...], edit: Callable[[Entry], Entry]) -> Tree:
    head, *rest = path
    entries = []
    for entry in tree.entries:
        if head not in ("*", entry.name):
            entries.append(entry)
        elif not rest:
            entries.append(edit(entry))
        elif isinstance(entry.node, Tree):
            inner = _edited(entry.node, tuple(rest), edit)
            entries.append(Entry(place=entry.place, name=entry.name, node=inner))
        else:
            entries.append(entry)
    return Tree(place=tree.place, entries=tuple(entries))
