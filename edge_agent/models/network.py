"""A network of your own, loaded: its outputs are those of its manifest, at the start and for every single picture."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError, InferenceError
from edge_agent.models.encoder import RuntimeOptions, Session
from edge_agent.models.network_manifest import (
    ANOMALY,
    CANDIDATES,
    CLASSIFIER,
    DetectorTerms,
    NetworkManifest,
)
from edge_agent.models.reading import Answer, assess
from edge_agent.records import Assessment, Canvas

Shape = tuple[int | None, ...]  # None: any size

# A detector that finds more than this in one picture of a part finds nonsense.
ROWS_MAX = 4096
ROW = 6  # x1, y1, x2, y2, score, class


def expected_outputs(manifest: NetworkManifest) -> dict[str, Shape]:
    """What the networks of this bundle give: shapes by name."""
    classes = len(manifest.classes)
    if manifest.kind == CLASSIFIER:
        return {"scores": (classes,)}
    if manifest.kind == ANOMALY:
        return {"score": (1,), "map": (None, None)}
    if isinstance(manifest.terms, DetectorTerms) and manifest.terms.form == CANDIDATES:
        return {"boxes": (None, 4), "scores": (None, classes)}
    return {"detections": (None, ROW)}


def require_outputs(manifest: NetworkManifest, found: dict[str, Shape], where: str) -> None:
    """Hold shapes to the manifest; a size that is not fixed is held to it for every picture.

    Raises:
        BadBundleError: they disagree; the message has both.
    """
    expected = expected_outputs(manifest)
    fits = found.keys() == expected.keys() and all(_fits(found[name], shape) for name, shape in expected.items())
    if manifest.kind not in (CLASSIFIER, ANOMALY) and "boxes" in expected and fits:
        fits = found["boxes"][0] == found["scores"][0]
    if not fits:
        raise BadBundleError(
            f"{where}: gives {_words(found)}, its manifest says a {manifest.kind} of {len(manifest.classes)} classes: "
            f"{_words(expected)}; declare what the network has, and pack it again"
        )


def _fits(found: Shape, expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        have is None or want is None or have == want for have, want in zip(found, expected, strict=True)
    )


def _words(shapes: dict[str, Shape]) -> str:
    return ", ".join(
        f"{name} [{', '.join('any' if size is None else str(size) for size in shape)}]"
        for name, shape in sorted(shapes.items())
    )


class Network:
    """One loaded network. Immutable once made, and safe to call from several threads at once."""

    def __init__(self, session: Session, manifest: NetworkManifest) -> None:
        self.session = session
        self.providers_in_use = session.providers_in_use
        self._manifest = manifest
        self._expected = expected_outputs(manifest)
        self._score_min = manifest.terms.score_min if isinstance(manifest.terms, DetectorTerms) else 0.0

    @classmethod
    def from_bytes(cls, onnx_bytes: bytes, manifest: NetworkManifest, runtime: RuntimeOptions) -> Network:
        """Load a vetted ONNX file.

        Raises:
            ProviderError: a provider that was asked for is not in this ONNX Runtime, or did not take the model.
            BadBundleError: ONNX Runtime refuses the file, or input and outputs are not those of its manifest.
        """
        session = Session.from_bytes(onnx_bytes, runtime)
        if session.input_px != manifest.input_px:
            raise BadBundleError(f"{manifest.name}: takes {session.input_px} px, its manifest says {manifest.input_px}")
        require_outputs(manifest, session.outputs, manifest.name)
        return cls(session, manifest)

    def run(self, picture: NDArray[np.uint8]) -> Answer:
        """What the network gives for a prepared picture, uint8 [h, w, 3] BGR of its canvas.

        Raises:
            BadPictureError: another shape or dtype.
            InferenceError: the provider failed, or the answer is not what the manifest says.
        """
        answer = self.session.run(picture)
        for name, expected in self._expected.items():
            if not _fits(answer[name].shape, expected):
                raise InferenceError(
                    f"gave {name} {list(answer[name].shape)} for this picture, its manifest says "
                    f"{_words({name: expected})}"
                )
        if "detections" in answer:
            self._require_rows(answer["detections"])
        return answer

    def _require_rows(self, rows: NDArray[np.float32]) -> None:
        if len(rows) > ROWS_MAX:
            raise InferenceError(f"gave {len(rows)} detections for one picture, at most {ROWS_MAX} are read")
        classes = len(self._manifest.classes)
        numbers = rows[rows[:, 4] >= self._score_min, 5]
        strangers = numbers[(numbers < 0) | (numbers >= classes)]
        if len(strangers):
            raise InferenceError(
                f"found class {strangers[0]:g}, its manifest has {classes} classes (0 to {classes - 1}); "
                "declare all of them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedNetwork:
    """A bundle ready to judge: everything in it belongs together and never changes."""

    digest: str
    flavour: str
    manifest: NetworkManifest = field(repr=False)
    network: Network = field(repr=False)

    @property
    def canvas(self) -> Canvas:
        """The picture it takes."""
        return self.manifest.canvas

    @property
    def providers_in_use(self) -> tuple[str, ...]:
        """The execution providers of its session, the first one at work."""
        return self.network.providers_in_use

    def assess(self, answer: Answer) -> Assessment:
        """What the network's answer means."""
        return assess(self.manifest, answer)
