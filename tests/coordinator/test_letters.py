"""What the coordinator says can be read by a gateway, and what it hears is looked at before it is believed."""

from dataclasses import replace

import pytest

from edge_agent.clock import rfc3339
from edge_agent.coordinator.letters import EPOCH, claim_of, offer_of, receipt_of
from edge_agent.coordinator.matter import StatisticsMatter
from edge_agent.errors import BadContributionError
from edge_agent.federate import messages
from edge_agent.records import ulid
from edge_agent.sync.fleet_payloads import ContributionPayload, ManifestPayload, OfferPayload, ReceiptPayload
from tests.coordinator.scene import CODE, Scene, claim, statistics_payload

MATTER = StatisticsMatter(code=CODE, good_classes=("ok",))
LIMIT = 300_000


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    scene.begin("heads")
    yield scene
    scene.close()


def contribution(state, gateway="gw-1", **changes):
    payload = statistics_payload(gateway)
    terms = state.terms
    manifest = ManifestPayload(
        id=ulid(2.0),
        kind="statistics",
        size_bytes=len(payload),
        sha256=claim(state, gateway, payload).sha256,
        chunk_bytes=65536,
        codec=MATTER.format,
    )
    said = ContributionPayload(
        id=ulid(1.0),
        ts=rfc3339(0.0),
        gateway=gateway,
        task=terms.task,
        round=terms.number,
        offer=terms.offer,
        state="ready",
        base=terms.bases[0],
        samples=30,
        manifest=manifest,
        reason=None,
    )
    return replace(said, **changes), payload


def test_a_round_by_letters_from_offer_to_receipt(scene):
    state = scene.clerk.open_round("heads", "statistics")
    mark = scene.ledger.registry.mark("heads")
    offer = offer_of(state, MATTER, mark, 0.0, max_bytes=LIMIT, privacy="open", settings={"lr": 0.1})
    read = messages.read(OfferPayload, messages.write(offer))
    assert read == offer
    assert (read.round, read.settings[EPOCH]) == (mark.number, 1)
    said, payload = contribution(state)
    made = claim_of(messages.read(ContributionPayload, messages.write(said)), "gw-1", MATTER, max_bytes=LIMIT)
    receipt = receipt_of(made, scene.clerk.receive(made, payload), 5.0)
    assert messages.read(ReceiptPayload, messages.write(receipt)) == receipt
    assert (receipt.state, receipt.counted_in) == ("counted", state.terms.number)
    scene.clerk.forget("gw-1")
    assert receipt_of(made, scene.ledger.answered("gw-1", made.id), 6.0).reason == "gw-1 was forgotten"


def test_every_answer_has_a_receipt_that_can_be_written(scene):
    state = scene.clerk.open_round("heads", "statistics")
    said, payload = contribution(state)
    made = claim_of(said, "gw-2", MATTER, max_bytes=LIMIT)
    refused = receipt_of(made, scene.clerk.receive(made, payload), 0.0)
    assert (refused.state, refused.reason) == ("refused", "says it is gw-1 and came from gw-2")
    scene.clock.advance(150)
    scene.clerk.tick("heads")
    honest = claim_of(said, "gw-1", MATTER, max_bytes=LIMIT)
    assert receipt_of(honest, scene.clerk.receive(honest, payload), 0.0).state == "late"


def test_what_was_only_announced_has_no_receipt(scene):
    state = scene.clerk.open_round("heads", "statistics")
    made = claim_of(contribution(state)[0], "gw-1", MATTER, max_bytes=LIMIT)
    scene.clerk.announce(made)
    with pytest.raises(BadContributionError, match="has not come yet"):
        receipt_of(made, scene.ledger.answered("gw-1", made.id), 0.0)


def test_what_was_not_offered_is_not_fetched(scene):
    state = scene.clerk.open_round("heads", "statistics")
    said, _ = contribution(state)
    with pytest.raises(BadContributionError, match="offered were statistics"):
        claim_of(replace(said, manifest=replace(said.manifest, kind="delta")), "gw-1", MATTER, max_bytes=LIMIT)
    with pytest.raises(BadContributionError, match="at most 10 bytes"):
        claim_of(said, "gw-1", MATTER, max_bytes=10)
    declined = replace(said, state="declined", manifest=None, reason="too few labels", samples=0)
    with pytest.raises(BadContributionError, match="gives nothing to round 1: too few labels"):
        claim_of(declined, "gw-1", MATTER, max_bytes=LIMIT)
