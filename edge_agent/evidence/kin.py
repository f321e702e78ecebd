"""Imported pictures that nobody grouped: those that look alike show one thing, and lie on one side of the hold-out.

Pure.

Bursts of one part are the usual content of a folder of pictures. A group holds few, though: where a fixture makes every
part look the same, likeness says nothing, and one group of everything would leave nothing to learn from or to test on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

KIN_BITS = 4
KIN_MEMBERS = 8
# At most KIN_BITS bits differ, so of KIN_BITS + 1 bands one at least is the same in both (pigeonhole): only pictures
# that share a band are compared. Mohammad Norouzi et al., Fast Search in Hamming Space with Multi-Index Hashing, 2012.
_BANDS = KIN_BITS + 1
_BAND_BITS = -(-64 // _BANDS)


class Kin:
    """Perceptual hashes (64 bits) and the groups of the pictures that have them."""

    def __init__(self, known: Iterable[tuple[int, str]] = ()) -> None:
        self._bands: list[dict[int, list[tuple[int, str]]]] = [{} for _ in range(_BANDS)]
        self._members: Counter[str] = Counter()
        for likeness, group in known:
            self.add(likeness, group)

    def add(self, likeness: int, group: str) -> None:
        """Remember a picture and its group."""
        self._members[group] += 1
        for band, key in zip(self._bands, _keys(likeness), strict=True):
            band.setdefault(key, []).append((likeness, group))

    def group_of(self, likeness: int) -> str | None:
        """The group of the picture most like this one, where one is alike and its group not full."""
        found = {
            ((likeness ^ other).bit_count(), group)
            for band, key in zip(self._bands, _keys(likeness), strict=True)
            for other, group in band.get(key, ())
        }
        near = [(bits, group) for bits, group in found if bits <= KIN_BITS and self._members[group] < KIN_MEMBERS]
        return min(near)[1] if near else None


def _keys(likeness: int) -> list[int]:
    return [likeness >> (number * _BAND_BITS) & ((1 << _BAND_BITS) - 1) for number in range(_BANDS)]
