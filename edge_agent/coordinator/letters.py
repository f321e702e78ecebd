"""What the coordinator says and hears, between the records of the wire and its own. Pure.

Round --offer_of--> fl/offer        fl/up --claim_of--> Claim        Answered --receipt_of--> fl/receipt
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_agent.clock import rfc3339
from edge_agent.coordinator.matter import Matter
from edge_agent.coordinator.rounds import Claim, Round
from edge_agent.coordinator.tables import Answered
from edge_agent.coordinator.versions import Mark
from edge_agent.errors import BadContributionError
from edge_agent.sync.fleet_payloads import ContributionPayload, OfferPayload, Privacy, ReceiptPayload

Settings = Mapping[str, float | int | str | bool]
# By this name the offer's settings hold the epoch, beside those of the trainer.
EPOCH = "epoch"


def offer_of(
    state: Round, matter: Matter, mark: Mark, now_utc_s: float, *, max_bytes: int, privacy: Privacy, settings: Settings
) -> OfferPayload:
    """The offer of an open round, the same `id` however often it is repeated."""
    terms = state.terms
    return OfferPayload(
        id=terms.offer,
        ts=rfc3339(now_utc_s),
        task=terms.task,
        round=terms.number,
        kind="delta" if terms.kind == "delta" else "statistics",
        base=terms.bases[0],
        deadline=rfc3339(terms.deadline_utc_s),
        min_samples=terms.minimum_samples,
        privacy=privacy,
        formats=(matter.format,),
        max_bytes=max_bytes,
        settings={**settings, EPOCH: mark.epoch},
    )


def claim_of(said: ContributionPayload, sender: str, matter: Matter, *, max_bytes: int) -> Claim:
    """What a contribution claims; `sender` is the gateway whose branch of the topics it came on.

    Raises:
        BadContributionError: it gives nothing, or in another kind, format or size than was offered.
    """
    manifest = said.manifest
    if manifest is None:
        raise BadContributionError(f"{said.gateway} gives nothing to round {said.round}: {said.reason}")
    if (manifest.kind, manifest.codec) != (matter.kind, matter.format) or manifest.size_bytes > max_bytes:
        raise BadContributionError(
            f"{manifest.kind} as {manifest.codec}, {manifest.size_bytes} bytes; offered were {matter.kind} as "
            f"{matter.format}, at most {max_bytes} bytes"
        )
    return Claim(
        id=said.id,
        sender=sender,
        gateway=said.gateway,
        task=said.task,
        number=said.round,
        offer=said.offer,
        kind=manifest.kind,
        base=said.base,
        sha256=manifest.sha256,
        samples=said.samples,
    )


def receipt_of(claim: Claim, answered: Answered, now_utc_s: float) -> ReceiptPayload:
    """What the gateway is told; what was forgotten since is told as refused.

    Raises:
        BadContributionError: its bytes have not come yet, so there is nothing to acknowledge.
    """
    if answered.state == "announced":
        raise BadContributionError(f"contribution {claim.id} of {claim.gateway} was announced and has not come yet")
    counted, late = answered.state == "counted", answered.state == "late"
    return ReceiptPayload(
        id=claim.id,
        ts=rfc3339(now_utc_s),
        task=claim.task,
        round=claim.number,
        offer=claim.offer,
        state="counted" if counted else "late" if late else "refused",
        sha256=answered.sha256,
        counted_in=answered.counted_in if counted else None,
        reason=None if counted or late else answered.reason or f"{claim.gateway} was forgotten",
    )
