"""Inspections and triggers as the line's tests need them."""

from edge_agent.records import HoldReason, Inspection, Trigger, Verdict


def inspection(verdict=Verdict.PASS, *, camera="top", part=None, reason=None, trigger=False, number=1, mono_s=1000.0):
    asked = Trigger(camera=camera, utc_s=0.0, mono_s=mono_s, part=part) if trigger else None
    if verdict is Verdict.HOLD and reason is None:
        reason = HoldReason.UNSURE
    return Inspection(
        id=f"id-{camera}-{number}-{part}",
        camera=camera,
        sequence=number,
        captured_utc_s=0.0,
        verdict=verdict,
        label="ok",
        score=0.25,
        threshold=0.5,
        reason=reason,
        where=None,
        model=None,
        latency=None,
        part=part,
        trigger=asked,
    )


def trigger(mono_s, part=None, camera="top"):
    return Trigger(camera=camera, utc_s=0.0, mono_s=mono_s, part=part)


class Notes:
    """Where health is told; remembers every word."""

    def __init__(self):
        self.told = []

    def __call__(self, active, text):
        self.told.append((active, text))

    @property
    def active(self):
        return bool(self.told) and self.told[-1][0]

    @property
    def text(self):
        return self.told[-1][1] if self.told else ""
