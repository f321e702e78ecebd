"""One of each message of a round."""

from edge_agent.sync.fleet_payloads import (
    BlocksPayload,
    ContributionPayload,
    ManifestPayload,
    OfferPayload,
    ReceiptPayload,
)

TS = "2026-11-24T09:58:42.120Z"
ULID = "01M86F4VDCQ0S3Y1Q2K0ZC5T9R"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

OFFER = OfferPayload(
    id=ULID, ts=TS, task="surface", round=3, kind="statistics", base=DIGEST, deadline="2026-11-24T10:30:00.000Z",
    min_samples=20, privacy="open", formats=("edge-agent/statistics/1",), max_bytes=4_000_000,
    features=((0, 112), (192, 784)), settings={"exact": True, "step": 2.0, "epochs": 3, "rule": "adamw"},
)  # fmt: skip
MANIFEST = ManifestPayload(
    id=ULID, kind="statistics", size_bytes=300_001, sha256=DIGEST, chunk_bytes=65536, codec="edge-agent/statistics/1"
)
READY = ContributionPayload(
    id=ULID, ts=TS, gateway="gw-07", task="surface", round=3, offer=ULID, state="ready", base=DIGEST, samples=412,
    manifest=MANIFEST, reason=None, figures={"seconds": 0.4},
)  # fmt: skip
DECLINED = ContributionPayload(
    id=ULID, ts=TS, gateway="gw-07", task="surface", round=3, offer=ULID, state="declined", base=DIGEST, samples=7,
    manifest=None, reason="7 labelled samples, the round wants 20",
)  # fmt: skip
COUNTED = ReceiptPayload(
    id=ULID, ts=TS, task="surface", round=3, offer=ULID, state="counted", sha256=DIGEST, counted_in=3, reason=None
)
REFUSED = ReceiptPayload(
    id=ULID, ts=TS, task="surface", round=3, offer=ULID, state="refused", sha256=None, counted_in=None, reason="late"
)
WANT = BlocksPayload(state="want", first=3, missing="0b")
