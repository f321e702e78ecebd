"""What a reload would change, and what each change needs: the keys themselves say so (`x-apply` in the schema)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.config.expected import fragment_at
from edge_agent.config.keys import Apply
from edge_agent.config.redact import redact
from edge_agent.config.settings import Settings, schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs. `old` and `new` are for people: secrets hidden, `absent` where a camera comes or goes."""

    key: str
    old: str
    new: str
    apply: Apply

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new} ({self.apply.value})"


def diff(old: Settings, new: Settings) -> tuple[Change, ...]:
    """Every effective difference, in the order of the schema.

    `inspection` itself is left out: it acts through the cameras that inherit it, and those changes are listed.
    """
    before, after = old.model_dump(exclude={"inspection"}), new.model_dump(exclude={"inspection"})
    return tuple(_changes(before, after, ()))


def cameras_to_reopen(changes: tuple[Change, ...]) -> frozenset[str]:
    """The cameras that come, go or have to be opened anew."""
    return frozenset(change.key.split(".")[1] for change in changes if change.apply is Apply.CAMERA)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Change]:
    for name in dict.fromkeys((*old, *new)):
        inner = (*path, name)
        if name in old and name in new and isinstance(old[name], Mapping) and isinstance(new[name], Mapping):
            yield from _changes(old[name], new[name], inner)
        elif name not in old or name not in new:
            # An entry of a map with free names: the map says what it needs.
            yield Change(key=".".join(inner), old=_shown(old, name), new=_shown(new, name), apply=_apply(path))
        elif old[name] != new[name]:
            yield Change(key=".".join(inner), old=_shown(old, name), new=_shown(new, name), apply=_apply(inner))


def _apply(path: tuple[str, ...]) -> Apply:
    return Apply(fragment_at(schema(), path).get("x-apply", Apply.RESTART.value))


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "absent"
    value = values[name]
    return "present" if isinstance(value, Mapping) else redact(str(value))
