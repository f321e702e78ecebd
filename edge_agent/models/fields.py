"""A JSON value that knows where it stands: each accessor gives a checked value or says what was found, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import BadBundleError

_SHOWN = 60  # characters of a wrong value that a message repeats


@dataclass(frozen=True, slots=True)
class Field:
    """`value` as parsed from JSON; `where` is its path, for messages."""

    value: Any
    where: str

    def get(self, key: str) -> Field:
        """A field of an object.

        Raises:
            BadBundleError: this is no object, or lacks it.
        """
        if not isinstance(self.value, dict):
            raise self._wrong("an object")
        if key not in self.value:
            raise BadBundleError(f"{self.where}: {key} is missing")
        return Field(self.value[key], f"{self.where}: {key}" if ":" not in self.where else f"{self.where}.{key}")

    def items(self, least: int, most: int) -> list[Field]:
        """The elements of an array of `least` to `most` elements.

        Raises:
            BadBundleError: it is none.
        """
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            raise self._wrong(f"an array of {least} to {most}")
        return [Field(value, f"{self.where}[{index}]") for index, value in enumerate(self.value)]

    def entries(self, pattern: re.Pattern[str], least: int, most: int) -> dict[str, Field]:
        """The entries of an object with free keys that match `pattern`.

        Raises:
            BadBundleError: it is none.
        """
        if not isinstance(self.value, dict) or not least <= len(self.value) <= most:
            raise self._wrong(f"an object of {least} to {most} entries")
        if any(pattern.fullmatch(key) is None for key in self.value):
            raise self._wrong(f"keys like {pattern.pattern}")
        return {key: self.get(key) for key in self.value}

    def text(self, pattern: re.Pattern[str]) -> str:
        """A string that matches `pattern` as a whole.

        Raises:
            BadBundleError: it does not.
        """
        if not isinstance(self.value, str) or pattern.fullmatch(self.value) is None:
            raise self._wrong(f"text like {pattern.pattern}")
        return self.value

    def choice(self, among: tuple[str, ...]) -> str:
        """One of these words.

        Raises:
            BadBundleError: it is none.
        """
        if self.value not in among:
            raise self._wrong(f"one of {', '.join(among)}")
        return str(self.value)

    def boolean(self) -> bool:
        """True or false.

        Raises:
            BadBundleError: it is neither.
        """
        if not isinstance(self.value, bool):
            raise self._wrong("true or false")
        return self.value

    def integer(self, least: int, most: int) -> int:
        """A whole number within bounds.

        Raises:
            BadBundleError: it is none.
        """
        # In Python True is an int; in JSON it is not a number.
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not least <= self.value <= most:
            raise self._wrong(f"a whole number from {least} to {most}")
        return self.value

    def number(self, least: float, most: float) -> float:
        """A finite number within bounds.

        Raises:
            BadBundleError: it is none.
        """
        good = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        # Bounds are finite, so this refuses infinity and NaN too; math.isfinite would overflow on 10**400.
        if not good or not least <= self.value <= most:
            raise self._wrong(f"a number from {least} to {most}")
        return float(self.value)

    def _wrong(self, expected: str) -> BadBundleError:
        found = repr(self.value)
        return BadBundleError(f"{self.where}: expected {expected}, found {found[:_SHOWN]}")
