"""The built-in line as a source: parts from numbers alone, without a camera."""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.capture.addresses import Address
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.synthetic import DEFECT_SHARE, DEFECTS, SyntheticLine
from edge_agent.errors import CameraError

GOOD = "ok"
# Word of an address -> the labels that its line makes.
_LABELS: Mapping[str, frozenset[str]] = {
    "scratches": frozenset({GOOD, "scratch"}),
    "pits": frozenset({GOOD, "pit"}),
    "stains": frozenset({GOOD, "stain"}),
    "cracks": frozenset({GOOD, "crack"}),
    "mixed": frozenset({GOOD, *DEFECTS}),
    "good": frozenset({GOOD}),
}


class SyntheticSource:
    """A line `synthetic:NAME[?seed=N]`: a kind of defect, or a plant with its own light, texture and noise.

    Not live: it makes a part when one is asked for; the worker's fps limit sets its pace.
    """

    live = False
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self._name = address.target
        self._seed = address.number("seed") or 0
        self._terms = terms
        self._labels = _LABELS.get(self._name, _LABELS["mixed"])
        self._line: SyntheticLine | None = None
        self._index = 0

    def open(self) -> None:
        plant = "default" if self._name in _LABELS else self._name
        self._line = SyntheticLine(plant=plant, seed=self._seed, defect_share=self._share())

    def read(self) -> Picture | None:
        if self._line is None:
            raise CameraError(f"{self.description}: is not open")
        while not self._terms.stop.is_set():
            part = self._line.part(self._index)
            self._index += 1
            if part.label in self._labels:
                return Picture(image=part.image, part=f"{self._name}-{self._index}")
        return None

    def close(self) -> None:
        self._line = None

    def _share(self) -> float:
        """Defects of all kinds to draw, so that DEFECT_SHARE is left when kinds that are not ours are passed over."""
        kinds, ours = len(DEFECTS), len(self._labels) - 1
        return DEFECT_SHARE * kinds / (ours + DEFECT_SHARE * (kinds - ours)) if ours else 0.0
