"""A gateway's session: every event has an answer in every phase, and nothing is counted twice or lost in silence."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.clock import rfc3339
from edge_agent.errors import BadMessageError
from edge_agent.federate import session as rounds
from edge_agent.federate.session import (
    Begun,
    Cleared,
    Decline,
    Do,
    Failed,
    Learned,
    Offered,
    Phase,
    Receipted,
    Session,
    Ticked,
    resume,
    step,
)
from edge_agent.federate.session_row import from_row, to_row
from edge_agent.sync.fleet_payloads import ContributionPayload, ManifestPayload, OfferPayload, ReceiptPayload

NOON_S = 1_795_521_600.0
BASE, OTHER_BASE, SHA = "5e" * 32, "77" * 32, "aa" * 32


def ulid(number):
    return f"01M86F4VDCQ0S3Y1Q2K0ZC5T{number:02d}"


def offer(number, *, name=None, base=BASE, task="surface", deadline_s=NOON_S + 3600):
    return OfferPayload(
        id=ulid(number if name is None else name), ts=rfc3339(NOON_S), task=task, round=number, kind="statistics", base=base,
        deadline=rfc3339(deadline_s), min_samples=1, privacy="open", formats=("edge-agent/statistics/1",), max_bytes=10**6,
    )  # fmt: skip


def contribution(number, *, name=50, base=BASE, sha256=SHA):
    manifest = ManifestPayload(
        id=ulid(name),
        kind="statistics",
        size_bytes=10,
        sha256=sha256,
        chunk_bytes=65536,
        codec="edge-agent/statistics/1",
    )
    return ContributionPayload(
        id=ulid(name), ts=rfc3339(NOON_S), gateway="gw-07", task="surface", round=number, offer=ulid(number),
        state="ready", base=base, samples=10, manifest=manifest, reason=None,
    )  # fmt: skip


def receipt(state="counted", *, name=50, number=1, sha256=SHA):
    return ReceiptPayload(
        id=ulid(name), ts=rfc3339(NOON_S), task="surface", round=number, offer=ulid(number), state=state, sha256=sha256,
        counted_in=number if state == "counted" else None, reason="base" if state == "refused" else None,
    )  # fmt: skip


def run(*events, start=None):
    session, done = start or Session(task="surface"), []
    for event in events:
        session, actions = step(session, event)
        done += actions
    return session, done


OFFER_1, OFFER_2 = Offered(offer=offer(1), utc_s=NOON_S), Offered(offer=offer(2), utc_s=NOON_S)
UPLOADING = run(OFFER_1, Begun(offer=ulid(1)), Learned(contribution=contribution(1)))[0]


def test_a_round_goes_from_offer_to_receipt():
    session, done = run(
        OFFER_1, Begun(offer=ulid(1)), Learned(contribution=contribution(1)), Receipted(receipt=receipt()), Cleared()
    )
    assert done == [Do.LEARN, Do.UPLOAD, Do.CLEAR]
    assert session == Session(task="surface", last_round=1, last_offer=ulid(1))


def test_repeats_of_an_offer_and_of_a_receipt_change_nothing():
    session, done = run(
        OFFER_1, OFFER_1, Begun(offer=ulid(1)), OFFER_1, Learned(contribution=contribution(1)), OFFER_1,
        Learned(contribution=contribution(1)), Receipted(receipt=receipt()), OFFER_1, Cleared(), OFFER_1,
        Receipted(receipt=receipt()), Cleared(),
    )  # fmt: skip
    assert done == [Do.LEARN, Do.UPLOAD, Do.CLEAR]
    assert session.phase is Phase.IDLE


def test_what_cannot_be_given_is_said():
    session, done = run(OFFER_1, Failed(offer=ulid(1), reason="7 samples, the round wants 20"))

    assert session.phase is Phase.IDLE
    assert done[1:] == [Decline(offer=OFFER_1.offer, reason="7 samples, the round wants 20", last_round=0)]


def test_a_newer_offer_ends_learning_for_an_older_one():
    session, done = run(OFFER_1, Begun(offer=ulid(1)), OFFER_2, Learned(contribution=contribution(1)))

    assert done == [Do.LEARN, Do.STOP, Do.LEARN, Do.DISCARD]
    assert (session.phase, session.offer) == (Phase.OFFERED, OFFER_2.offer)


def test_a_round_that_closes_while_uploading_leaves_the_update_to_its_receipt_if_the_base_is_the_same():
    session, done = run(OFFER_2, Receipted(receipt=receipt("late")), Cleared(), OFFER_2, start=UPLOADING)

    # Late, and so counted in round 2: nothing else is given to round 2.
    assert done == [Do.CLEAR]
    assert session == Session(task="surface", last_round=2, last_offer=ulid(2))


def test_a_waiting_offer_is_taken_up_when_the_upload_before_it_was_counted_or_refused():
    for state, first in (("counted", Do.CLEAR), ("refused", Do.DISCARD)):
        session, done = run(OFFER_2, Receipted(receipt=receipt(state)), Cleared(), start=UPLOADING)
        assert done == [first, Do.LEARN]
        assert (session.phase, session.offer, session.waiting) == (Phase.OFFERED, OFFER_2.offer, None)


def test_a_round_of_another_base_drops_the_update():
    newer = Offered(offer=offer(2, base=OTHER_BASE), utc_s=NOON_S)
    session, done = run(newer, Receipted(receipt=receipt("refused")), start=UPLOADING)

    assert done == [Do.DISCARD, Do.LEARN]
    assert (session.phase, session.offer) == (Phase.OFFERED, newer.offer)


def test_a_coordinator_with_an_older_database_is_told_so():
    answered, _ = run(Receipted(receipt=receipt()), Cleared(), start=UPLOADING)
    session, done = run(Offered(offer=offer(1, name=9), utc_s=NOON_S), start=answered)

    assert session == answered
    assert done[0].last_round == 1
    assert "database is older" in done[0].reason


def test_an_offer_that_comes_after_its_deadline_is_declined():
    _, done = run(Offered(offer=offer(1), utc_s=NOON_S + 3660))
    assert "60 s after its deadline" in done[0].reason
    _, done = run(OFFER_1, Ticked(utc_s=NOON_S + 3601))
    assert done[:2] == [Do.LEARN, Do.STOP]
    assert "not begun by the deadline" in done[2].reason


def test_learning_and_sending_go_on_after_the_deadline_but_not_for_ever():
    session, done = run(Ticked(utc_s=NOON_S + 7 * 86400), start=UPLOADING)
    assert (session, done) == (UPLOADING, [])

    session, done = run(OFFER_2, Ticked(utc_s=NOON_S + 15 * 86400), start=UPLOADING)
    assert done == [Do.DISCARD, Do.LEARN]
    assert session.offer == OFFER_2.offer


def test_a_receipt_for_something_else_is_not_taken():
    for other in (receipt(name=51), receipt(sha256="bb" * 32)):
        assert run(Receipted(receipt=other), start=UPLOADING) == (UPLOADING, [])


def test_a_contribution_against_another_base_is_not_sent():
    session, done = run(OFFER_1, Learned(contribution=contribution(1, base=OTHER_BASE)))
    assert done == [Do.LEARN, Do.DISCARD]
    assert session.phase is Phase.OFFERED


def test_a_contribution_whose_bytes_are_gone_is_taken_back():
    session, done = run(OFFER_2, Failed(offer=ulid(1), reason="sha256 differs"), start=UPLOADING)
    assert done[0] is Do.DISCARD
    assert done[1].reason == "sha256 differs"
    assert (session.phase, session.offer) == (Phase.OFFERED, OFFER_2.offer)


def test_a_restart_goes_on_with_what_was_under_way():
    offered, learning = run(OFFER_1)[0], run(OFFER_1, Begun(offer=ulid(1)))[0]
    counted = run(Receipted(receipt=receipt()), start=UPLOADING)[0]
    refused = run(Receipted(receipt=receipt("refused")), start=UPLOADING)[0]

    assert resume(Session(task="surface")) == (Session(task="surface"), ())
    assert resume(offered) == (offered, (Do.LEARN,))
    assert resume(learning) == (offered, (Do.LEARN,))
    assert resume(UPLOADING) == (UPLOADING, (Do.UPLOAD,))
    assert resume(counted) == (counted, (Do.CLEAR,))
    assert resume(refused) == (refused, (Do.DISCARD,))


# --- laws -----------------------------------------------------------------------------------------------------------

OFFERS = st.builds(
    offer, st.integers(1, 4), name=st.none() | st.integers(5, 7), base=st.sampled_from([BASE, OTHER_BASE]),
    task=st.sampled_from(["surface", "surface", "surface", "drill"]),
    deadline_s=st.sampled_from([NOON_S - 60, NOON_S + 3600]),
)  # fmt: skip
NUMBERS = st.integers(1, 4)
EVENTS = st.one_of(
    st.builds(Offered, offer=OFFERS, utc_s=st.floats(NOON_S - 100, NOON_S + 4000)),
    st.builds(Begun, offer=NUMBERS.map(ulid)),
    st.builds(Failed, offer=NUMBERS.map(ulid), reason=st.just("no")),
    st.builds(
        Learned,
        contribution=st.builds(
            contribution, NUMBERS, name=st.integers(50, 52), base=st.sampled_from([BASE, OTHER_BASE])
        ),
    ),
    st.builds(
        Receipted,
        receipt=st.builds(
            receipt, st.sampled_from(["counted", "late", "refused"]), name=st.integers(50, 52), number=NUMBERS
        ),
    ),
    st.builds(Cleared),
    st.builds(Ticked, utc_s=st.floats(NOON_S, NOON_S + 20 * 86400)),
)


@settings(max_examples=300)
@given(st.lists(EVENTS, max_size=40))
def test_every_event_has_an_answer_in_every_phase_and_every_session_survives_its_row(events):
    session = Session(task="surface")
    for event in events:
        before = session
        session, actions = step(session, event)
        assert from_row(to_row(session)) == session
        assert session.last_round >= before.last_round
        assert (session.offer is None) == (session.phase is Phase.IDLE)
        assert (session.contribution is not None) == (session.phase in {Phase.UPLOADING, Phase.RECEIPTED})
        assert (session.receipt is not None) == (session.phase is Phase.RECEIPTED)
        # Nothing is sent for a round that was answered.
        if Do.UPLOAD in actions:
            assert session.offer.round > before.last_round
        # What is on disk is cleared or discarded before it is forgotten.
        if before.phase is Phase.UPLOADING and session.phase not in {Phase.UPLOADING, Phase.RECEIPTED}:
            assert Do.DISCARD in actions
        # An offer in hand is never dropped in silence.
        if before.phase in {Phase.OFFERED, Phase.LEARNING} and session.phase is Phase.IDLE:
            assert any(isinstance(action, Decline) for action in actions)
        assert resume(session)[0].phase in {session.phase, Phase.OFFERED}


def test_the_table_has_every_event_in_every_phase():
    events = {Offered, Begun, Learned, Failed, Receipted, Cleared, Ticked}
    assert {phase: set(row) for phase, row in rounds._TABLE.items()} == dict.fromkeys(Phase, events)


@pytest.mark.parametrize(
    "change",
    [{"phase": "dancing"}, {"offer": b"{}"}, {"offer": None}, {"contribution": None}, {"phase": None}],
)
def test_a_row_that_nobody_wrote_is_refused(change):
    with pytest.raises(BadMessageError):
        from_row({**to_row(UPLOADING), **change})
    with pytest.raises(BadMessageError):
        from_row({})
    assert dataclasses.is_dataclass(from_row(to_row(UPLOADING)))
