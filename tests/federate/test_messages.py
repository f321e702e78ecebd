"""What the fleet says: what is written is read back, and what cannot be meant is refused with its place."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadMessageError
from edge_agent.federate import messages
from edge_agent.sync.fleet_payloads import BlocksPayload, ContributionPayload, OfferPayload
from tests.federate.said import COUNTED, DECLINED, DIGEST, MANIFEST, OFFER, READY, REFUSED, TS, ULID, WANT

EVERY = [OFFER, READY, DECLINED, COUNTED, REFUSED, WANT, BlocksPayload(state="done")]


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_what_is_written_is_read_back(record):
    payload = messages.write(record)

    assert messages.read(type(record), payload) == record
    assert messages.read(type(record), json.dumps({**json.loads(payload), "of_tomorrow": [1]}).encode()) == record


@pytest.mark.parametrize("record", EVERY, ids=lambda record: type(record).__name__)
def test_every_prefix_of_a_message_is_refused(record):
    payload = messages.write(record)

    for end in range(len(payload)):
        with pytest.raises(BadMessageError):
            messages.read(type(record), payload[:end])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(EVERY), st.data())
def test_a_field_of_any_other_content_is_read_as_itself_or_refused(record, data):
    plain = json.loads(messages.write(record))
    name = data.draw(st.sampled_from(sorted(plain)))
    altered = json.dumps({**plain, name: data.draw(ANYTHING)}).encode()

    try:
        found = messages.read(type(record), altered)
    except BadMessageError:
        return
    assert messages.read(type(record), messages.write(found)) == found


@given(st.sampled_from(EVERY), st.binary(max_size=64) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_other_bytes_are_refused(record, payload):
    with pytest.raises(BadMessageError):
        messages.read(type(record), payload)


@pytest.mark.parametrize(
    ("record", "field", "value", "words"),
    [
        (OFFER, "v", 2, "v is 2, this program reads 1 to 1"),
        (OFFER, "v", True, "v is True"),
        (OFFER, "round", 0, "round is 0, expected 1"),
        (OFFER, "round", "3", "round is text, expected an integer"),
        (OFFER, "base", "abc", "base is 'abc', expected sha256"),
        (OFFER, "deadline", "soon", "deadline is 'soon'"),
        (OFFER, "deadline", "2026-11-24T10:30:00", "without a time zone"),
        (OFFER, "privacy", "none", "expected one of open, secagg, grouped"),
        (OFFER, "features", [[4, 4]], "ascending ranges"),
        (OFFER, "features", [[8, 12], [0, 4]], "ascending ranges"),
        (OFFER, "features", [[1, 2, 3]], "has 3 entries, expected 2"),
        (OFFER, "formats", [], "number of formats is 0"),
        (OFFER, "settings", {"step": 1e999}, "not JSON|inf"),
        (OFFER, "settings", {"step": [1]}, "step is an array"),
        (READY, "gateway", "gw/07", "gateway is 'gw/07'"),
        (READY, "manifest", None, "expected samples and a manifest"),
        (READY, "manifest", {"id": ULID}, "chunk_bytes is missing|kind is missing"),
        (READY, "figures", {"loss": "low"}, "loss is text, expected a number"),
        (COUNTED, "sha256", None, "expected both when counted"),
        (REFUSED, "reason", None, "expected one when refused"),
        (WANT, "missing", "ffff", "how many are asked for is 16, expected 1 to 8"),
        (WANT, "missing", "00", "how many are asked for is 0"),
        (WANT, "missing", "zz", "expected 2 to 64 hex digits"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_place(record, field, value, words):
    plain = {**json.loads(messages.write(record)), field: value}

    with pytest.raises(BadMessageError, match=words):
        messages.read(type(record), json.dumps(plain).encode())


def test_names_that_occur_twice_nan_and_depth_are_refused():
    payload = messages.write(OFFER)
    for altered in (
        payload[:-1] + b',"round":4}',
        payload.replace(b'"step":2.0', b'"step":NaN'),
        b'{"v":1,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        payload[:-1] + b',"x":"' + b"y" * messages.MAX_MESSAGE_BYTES + b'"}',
    ):
        with pytest.raises(BadMessageError):
            messages.read(OfferPayload, altered)


def test_a_record_that_cannot_be_meant_cannot_be_made():
    with pytest.raises(BadMessageError, match="finite"):
        ContributionPayload(
            id=ULID, ts=TS, gateway="gw-07", task="t", round=1, offer=ULID, state="declined", base=DIGEST, samples=0,
            manifest=None, reason="no", figures={"loss": math.nan},
        )  # fmt: skip


def test_blocks_and_their_numbers():
    assert WANT.wanted == (3, 4, 6)
    assert MANIFEST.blocks == 5
    assert OFFER.deadline_utc_s - 1_795_514_322.12 == pytest.approx(31 * 60 + 17.88)
