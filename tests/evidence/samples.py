"""Inspections, drafts and stores to try the evidence room with."""

import dataclasses
import hashlib

from edge_agent.evidence.store import Draft
from edge_agent.records import HoldReason, Inspection, KeepReason, Sample, Verdict, ulid

NOW_UTC_S = 1_790_000_000.0


def inspection(verdict=Verdict.PASS, **other):
    plain = {
        "id": ulid(NOW_UTC_S),
        "camera": "top",
        "sequence": 1,
        "captured_utc_s": NOW_UTC_S,
        "verdict": verdict,
        "label": "scratch" if verdict is Verdict.FAIL else "ok",
        "score": {Verdict.PASS: 0.05, Verdict.FAIL: 0.99, Verdict.HOLD: 0.5}[verdict],
        "threshold": 0.7,
        "reason": HoldReason.UNSURE if verdict is Verdict.HOLD else None,
        "where": None,
        "model": "ab" * 32,
        "latency": None,
    }
    return Inspection(**{**plain, **other})


def identity(number):
    """A ULID that sorts by `number`."""
    return ulid(NOW_UTC_S + number, number.to_bytes(10, "big"))


def sample(number=1, **other):
    plain = {
        "id": identity(number),
        "task": "surface",
        "camera": "top",
        "captured_utc_s": NOW_UTC_S + number,
        "group": f"part:{number}",
        "kept": (KeepReason.FAIL,),
        "verdict": Verdict.FAIL,
        "label": "scratch",
        "score": 0.9,
        "threshold": 0.7,
        "likeness": int.from_bytes(hashlib.sha256(b"%d" % number).digest()[:8], "big"),
        "width_px": 8,
        "height_px": 8,
    }
    return Sample(**{**plain, **other})


def draft(number=1, *, content=None, size=1000, **other):
    """A sample with bytes of its own: the store takes any bytes, pictures are somebody else's trade."""
    content = content if content is not None else hashlib.sha256(b"picture %d" % number).digest() * (size // 32)
    return Draft(sample=sample(number, **other), content=content, suffix=".png")


def relabelled(event, **other):
    return dataclasses.replace(event, **other)
