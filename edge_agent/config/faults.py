"""What is wrong in a configuration and where: records for programs, one line each for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A position in a file, counted from 1 as editors do."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong. `key` is the dotted path from the top of the file, empty for the file as a whole."""

    file: str
    line: int
    column: int
    key: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " + (f"{self.key}: " if self.key else "")
        return f"{where}found {self.found}, expected {self.expected}" + (f"; {self.hint}" if self.hint else "")


class InvalidConfigError(ConfigError):
    """The configuration has faults; all of them, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        unique = dict.fromkeys(faults)
        self.faults = tuple(sorted(unique, key=lambda fault: (fault.file, fault.line, fault.column, fault.key)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


def fault_at(place: Place, key: str, found: str, expected: str, hint: str = "") -> Fault:
    """A fault at a place."""
    return Fault(
        file=place.file, line=place.line, column=place.column, key=key, found=found, expected=expected, hint=hint
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None: `fsp` -> `fps`, `Roi` -> `roi`."""
    by_plain = {name.lower().replace("-", "_"): name for name in known}
    # 0.6 is difflib's own default: one wrong letter in three-letter words still matches.
    close = difflib.get_close_matches(word.lower().replace("-", "_"), by_plain, n=1, cutoff=0.6)
    return by_plain[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean fps?`, or nothing when no known word is near."""
    name = nearest(word, known)
    return f"did you mean {name}?" if name else ""
