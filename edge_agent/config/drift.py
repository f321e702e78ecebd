"""Keys of drift: whether a camera is watched for slow changes, and how patiently."""

from __future__ import annotations

from edge_agent.config.keys import Apply, Section, key


class DriftKeys(Section):
    """What is watched beside single pictures: whether light, lens, place, product or model change in the long run."""

    enabled: bool | None = key(
        None,
        "Whether drift is told. Null: where pictures are checked (`health`) and no recipe changes the product.",
        apply=Apply.CAMERA,
    )
    frames: int = key(
        500,
        "Judged pictures from which it is learned what is normal: take in all that changes within a shift.",
        apply=Apply.CAMERA,
        ge=250,
        le=5000,
    )
    tolerance: float = key(
        1.0,
        "How much more than usual is forgiven: 1 as in docs/drift.md, 2 twice as much, for places with daylight.",
        apply=Apply.CAMERA,
        ge=0.5,
        le=10,
    )
