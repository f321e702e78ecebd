"""Golden vectors: a model that computes something else on this device than where it was built must not judge here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError
from edge_agent.learn.head import LinearHead, probabilities
from edge_agent.models.bundle import Tolerance
from edge_agent.models.encoder import Encoder


def reproduce(
    encoder: Encoder,
    head: LinearHead,
    pictures: NDArray[np.uint8],
    *,
    expected: tuple[NDArray[np.float32], NDArray[np.float32]],
    tolerance: Tolerance,
) -> None:
    """Encode and judge `pictures` uint8 [n, h, w, 3]; compare with `expected`: vectors [n, D], probabilities [n, C].

    Raises:
        BadBundleError: a result is further off than `tolerance`; the message says by how much.
    """
    for index, picture in enumerate(pictures):
        vector, scores = expected[0][index], expected[1][index]
        found = encoder.encode(picture).vector
        off = float(np.linalg.norm(found - vector) / max(float(np.linalg.norm(vector)), 1e-12))
        # Written so that a NaN, which compares false with anything, is refused too.
        if not off <= tolerance.vector:
            raise BadBundleError(
                f"golden picture {index}: the vector is off by {off:.2g} of its length with "
                f"{encoder.providers_in_use[0]}, at most {tolerance.vector:.2g} is allowed; "
                "build or choose a flavour that is made for this device"
            )
        missed = float(np.abs(probabilities(head, found) - scores).max())
        if not missed <= tolerance.score:
            raise BadBundleError(
                f"golden picture {index}: a probability is off by {missed:.2g}, allowed is {tolerance.score:.2g}"
            )
