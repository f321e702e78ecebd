"""What is asked of a candidate on live parts, as a configuration says."""

from __future__ import annotations

from edge_agent.config.settings import Settings
from edge_agent.learn.release import Policy
from edge_agent.processes.candidates import line_leaves_ms


def release_policy(settings: Settings, name: str) -> Policy:
    """The policy for the model of this name; its time a part is the gate's (`models.latency_limit_ms`)."""
    keys = settings.models.release
    return Policy(
        shadow_parts=keys.shadow_parts,
        probation_parts=keys.probation_parts,
        differing_share=keys.differing_share,
        missed_share=keys.missed_share,
        wait_s=keys.wait_s,
        latency_ms=settings.models.latency_limit_ms or line_leaves_ms(settings, name),
        crashes=keys.crashes,
        by_person=keys.approval == "person",
    )
