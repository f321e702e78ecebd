"""Who takes part in a task: gateways by their tags, such as product, line, kind of camera. Pure.

product=pcb, line=3|4      every tag named must have one of the values; a tag that is not named may be anything
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.errors import ConfigError

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """Tags and the values that each may have; no tag: every gateway."""

    tags: tuple[tuple[str, frozenset[str]], ...] = ()

    def __contains__(self, tags: Mapping[str, str]) -> bool:
        """Whether a gateway with these tags takes part."""
        return all(tags.get(name) in values for name, values in self.tags)

    def __str__(self) -> str:
        return ", ".join(f"{name}={'|'.join(sorted(values))}" for name, values in self.tags)


def parse_cohort(text: str) -> Cohort:
    """The cohort written as above; an empty text is every gateway.

    Raises:
        ConfigError: it cannot be read.
    """
    tags: dict[str, frozenset[str]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, values = part.partition("=")
        chosen = frozenset(value.strip() for value in values.split("|"))
        if not equals or name in tags or not all(map(_WORD.fullmatch, {name, *chosen})):
            raise ConfigError(f"cohort {text!r}: {part!r} cannot be read, expected once TAG=VALUE or TAG=VALUE|VALUE")
        tags[name] = chosen
    return Cohort(tags=tuple(sorted(tags.items())))
