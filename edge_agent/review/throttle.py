"""How often a wrong password may be tried: a few at once, then after waits that double."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_agent.clock import Clock

# A person's own slips are free; a tablet that several people share, or an address translator, gets more.
FREE_BY_NAME, FREE_BY_ADDRESS = 5, 20
LONGEST_WAIT_S = 300.0
FORGOTTEN_AFTER_S = 3600.0
MOST_ENTRIES = 4096


@dataclass(slots=True)
class _Failures:
    count: int
    until_mono_s: float
    last_mono_s: float


class Throttle:
    """Failures by (address, name) and by address: a stranger cannot lock a person out from another place."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, ...], _Failures] = {}

    def wait_s(self, address: str, name: str) -> float:
        """How long this one must wait before the next try; 0 for not at all."""
        now_s = self._clock.mono_s()
        found = (self._failures.get(key) for key in _keys(address, name))
        return max(0.0, *(0.0 if one is None else one.until_mono_s - now_s for one in found))

    def failed(self, address: str, name: str) -> None:
        """A wrong password."""
        now_s = self._clock.mono_s()
        self._forget(now_s)
        for key, free in _keys(address, name).items():
            known = self._failures.setdefault(key, _Failures(0, now_s, now_s))
            known.count, known.last_mono_s = known.count + 1, now_s
            if known.count >= free:
                known.until_mono_s = now_s + min(LONGEST_WAIT_S, 2.0 ** min(known.count - free, 16))

    def succeeded(self, address: str, name: str) -> None:
        """A right one: this person's slips at this place are forgotten, those of the address are not."""
        self._failures.pop(next(iter(_keys(address, name))), None)

    def _forget(self, now_s: float) -> None:
        old = [key for key, one in self._failures.items() if now_s - one.last_mono_s > FORGOTTEN_AFTER_S]
        for key in old:
            del self._failures[key]
        while len(self._failures) >= MOST_ENTRIES:
            del self._failures[next(iter(self._failures))]


def _keys(address: str, name: str) -> Mapping[tuple[str, ...], int]:
    return {(address, name.casefold()[:64]): FREE_BY_NAME, (address,): FREE_BY_ADDRESS}
