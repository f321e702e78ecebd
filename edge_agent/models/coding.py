"""From a picture to the int8 codes that statistics are kept over: turned, prepared, encoded, cut into steps.

    picture -> views: turned by quarters -> prepare -> encoder -> vector -> code int8 [V, D]

Learning from a part in four positions made heads better where orientation means nothing (pcbmp), and cost nothing where
it does not matter (steelmp); it never costs the judged frame anything (docs/learning.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare_for
from edge_agent.learn.feature_code import Codes, encode
from edge_agent.models.loading import LoadedModel

# Quarter turns by the number of views; the first is the picture as it came.
TURNS = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}


def code_picture(model: LoadedModel, image: NDArray[np.uint8], views: int = 1) -> tuple[NDArray[np.float32], Codes]:
    """The vector float32 [D] of `image` uint8 [h, w, 3] BGR as it is, and the codes int8 [V, D] of its views.

    Raises:
        ValueError: `views` is not a key of TURNS.
        InferenceError: the execution provider failed.
        RefusedError: the encoder gave numbers that are not finite.
    """
    if views not in TURNS:
        raise ValueError(f"{views} views, expected one of {sorted(TURNS)}")
    turned = [np.ascontiguousarray(np.rot90(image, quarter)) for quarter in TURNS[views]]
    vectors = np.stack([model.encoder.encode(prepare_for(view, model.canvas)).vector for view in turned])
    return vectors[0], encode(model.code, vectors)
