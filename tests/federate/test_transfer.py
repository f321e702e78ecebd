"""Transfer: over a channel that loses, repeats and reorders, with crashes of either side, the right bytes arrive."""

import dataclasses
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.errors import BadMessageError
from edge_agent.federate import transfer
from edge_agent.federate.blocks import HEADER_BYTES, piece, read_block, write_block
from edge_agent.federate.transfer import (
    Announced,
    Arrived,
    Asked,
    Cancelled,
    Do,
    Hashed,
    Receiving,
    Say,
    Send,
    Sending,
    Ticked,
    receive,
    receiver_step,
    send,
    sender_step,
    wants,
)
from edge_agent.sync.fleet_payloads import CHUNK_MIN_BYTES, WINDOW_BLOCKS, BlocksPayload, ManifestPayload

XID, OTHER = "01M86F4VDCQ0S3Y1Q2K0ZC5T9R", "01M86F4VDCQ0S3Y1Q2K0ZC5T9S"
CHUNK = CHUNK_MIN_BYTES


def content_of(size):
    return bytes(number * 31 % 251 for number in range(size))


def manifest_of(content, **fields):
    return ManifestPayload(
        **{
            "id": XID, "kind": "delta", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
            "chunk_bytes": CHUNK, "codec": "edge-agent/delta/1",
        } | fields
    )  # fmt: skip


class Ends:
    """Both sides with their disks, and what is under way between them. A crash forgets all but the disks."""

    def __init__(self, content):
        self.content, self.manifest = content, manifest_of(content)
        self.clock_s = 1000.0
        self.disk, self.finished = {}, None
        self.channel = []
        self.sent_bytes = 0
        self.receiver = None
        self.start_sender()

    def start_sender(self):
        self.sender, actions = send(self.manifest, self.clock_s)
        self.do(actions)

    def start_receiver(self):
        if self.receiver is None or self.finished is not None:
            self.receiver = None
            return
        self.receiver, actions = receive(self.manifest, self.clock_s, present=sum(1 << number for number in self.disk))
        self.do(actions)

    def do(self, actions):
        for action in actions:
            if isinstance(action, Say):
                assert len(action.blocks.wanted if action.blocks.state == "want" else ()) <= WINDOW_BLOCKS
                self.channel.append(("get", action.blocks))
            elif isinstance(action, Send):
                for number in action.numbers:
                    offset, length = piece(self.manifest, number)
                    self.sent_bytes += length
                    self.channel.append(
                        ("blk", write_block(self.manifest, number, self.content[offset : offset + length]))
                    )
            elif action is Do.ANNOUNCE:
                self.channel.append(("up", self.manifest))
            elif action is Do.DISCARD:
                self.disk.clear()
            elif action is Do.FINISH:
                self.finished = self.whole()
            else:
                self.receive(Hashed(sha256=hashlib.sha256(self.whole()).hexdigest(), mono_s=self.clock_s))

    def whole(self):
        return b"".join(self.disk[number] for number in sorted(self.disk))

    def receive(self, event):
        self.receiver, actions = receiver_step(self.receiver, event)
        self.do(actions)

    def deliver(self, kind, said):
        if kind == "get":
            self.sender, actions = sender_step(self.sender, Asked(blocks=said, mono_s=self.clock_s))
            self.do(actions)
        elif kind == "up" and self.receiver is None:
            if self.finished is not None:
                self.channel.append(("get", BlocksPayload(state="done")))
                return
            self.receiver, actions = receive(said, self.clock_s, present=sum(1 << number for number in self.disk))
            self.do(actions)
        elif kind == "up":
            self.receive(Announced(mono_s=self.clock_s))
        elif self.receiver is not None:
            try:
                number, block = read_block(self.manifest, said)
            except BadMessageError:
                return
            if wants(self.receiver, number):
                self.disk[number] = block
            self.receive(Arrived(number=number, mono_s=self.clock_s))

    def tick(self, seconds):
        self.clock_s += seconds
        self.sender, actions = sender_step(self.sender, Ticked(mono_s=self.clock_s))
        self.do(actions)
        if self.receiver is not None:
            self.receive(Ticked(mono_s=self.clock_s))

    def calm(self):
        """From here on nothing is lost: how many waits until the end?"""
        for waits in range(20):
            while self.channel:
                self.deliver(*self.channel.pop(0))
            if self.finished is not None and self.sender.phase is Sending.DELIVERED:
                return waits
            self.tick(transfer.PATIENCE_MAX_S)
        raise AssertionError(f"never ends: {self.sender} {self.receiver}")


class Weather(RuleBasedStateMachine):
    @initialize(size=st.integers(1, 20 * CHUNK))
    def begin(self, size):
        self.ends = Ends(content_of(size))

    @precondition(lambda self: self.ends.channel)
    @rule(data=st.data(), repeat=st.booleans())
    def any_message_is_delivered(self, data, repeat):
        place = data.draw(st.integers(0, len(self.ends.channel) - 1))
        said = self.ends.channel[place] if repeat else self.ends.channel.pop(place)
        self.ends.deliver(*said)

    @rule(count=st.integers(1, 12))
    def messages_are_delivered_in_order(self, count):
        for _ in range(min(count, len(self.ends.channel))):
            self.ends.deliver(*self.ends.channel.pop(0))

    @precondition(lambda self: self.ends.channel)
    @rule(data=st.data())
    def a_message_is_lost(self, data):
        self.ends.channel.pop(data.draw(st.integers(0, len(self.ends.channel) - 1)))

    @precondition(lambda self: any(kind == "blk" for kind, _ in self.ends.channel))
    @rule(data=st.data(), bits=st.integers(1, 255))
    def a_block_is_damaged(self, data, bits):
        places = [place for place, (kind, _) in enumerate(self.ends.channel) if kind == "blk"]
        place = data.draw(st.sampled_from(places))
        block = bytearray(self.ends.channel[place][1])
        block[data.draw(st.integers(0, len(block) - 1))] ^= bits
        self.ends.channel[place] = ("blk", bytes(block))

    @rule(keeps_channel=st.booleans())
    def the_sender_starts_again(self, keeps_channel):
        if not keeps_channel:
            self.ends.channel.clear()
        self.ends.start_sender()

    @rule(keeps_channel=st.booleans())
    def the_receiver_starts_again(self, keeps_channel):
        if not keeps_channel:
            self.ends.channel.clear()
        self.ends.start_receiver()

    @rule(seconds=st.sampled_from([0.1, 5.0, 11.0, 40.0, 400.0]))
    def time_passes(self, seconds):
        self.ends.tick(seconds)

    @invariant()
    def never_more_than_a_window_is_under_way_and_what_is_on_disk_is_right(self):
        if not hasattr(self, "ends"):
            return
        if self.ends.receiver is not None:
            assert len(self.ends.receiver.asked) <= WINDOW_BLOCKS
            assert self.ends.receiver.phase is not Receiving.STOPPED
        for number, block in self.ends.disk.items():
            offset, length = piece(self.ends.manifest, number)
            assert block == self.ends.content[offset : offset + length]

    def teardown(self):
        if hasattr(self, "ends"):
            assert self.ends.calm() <= 3
            assert self.ends.finished == self.ends.content


TestWeather = Weather.TestCase
TestWeather.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    blocks=st.integers(1, 80),
    cut_at=st.integers(0, 80),
    who=st.sampled_from(["receiver", "sender", "both", "link"]),
)
@settings(deadline=None)
def test_one_cut_costs_at_most_one_window(blocks, cut_at, who):
    ends = Ends(content_of(blocks * CHUNK - 1))
    arrived = 0
    while ends.channel and arrived < cut_at:
        kind, said = ends.channel.pop(0)
        ends.deliver(kind, said)
        arrived += kind == "blk"
    ends.channel.clear()
    if who in {"sender", "both"}:
        ends.start_sender()
    if who in {"receiver", "both"}:
        ends.start_receiver()

    ends.calm()

    assert ends.finished == ends.content
    assert ends.sent_bytes <= len(ends.content) + WINDOW_BLOCKS * CHUNK


def test_without_faults_every_byte_goes_once_and_a_request_asks_for_four_blocks():
    ends = Ends(content_of(64 * CHUNK))
    gets = 0
    while ends.channel:
        kind, said = ends.channel.pop(0)
        gets += kind == "get"
        ends.deliver(kind, said)

    assert ends.finished == ends.content
    assert ends.sent_bytes == len(ends.content)
    assert gets <= 64 / 4 + 1


def test_a_file_that_is_wrong_as_a_whole_is_fetched_once_more_and_then_refused_on_both_sides():
    ends = Ends(content_of(3 * CHUNK))
    ends.manifest = manifest_of(ends.content, sha256="0" * 64)
    ends.channel = [("up", ends.manifest)]
    ends.sender = dataclasses.replace(ends.sender, manifest=ends.manifest)
    while ends.channel:
        ends.deliver(*ends.channel.pop(0))

    assert (ends.receiver.phase, ends.sender.phase) == (Receiving.STOPPED, Sending.STOPPED)
    assert ends.sent_bytes == 2 * len(ends.content)
    assert ends.disk == {}
    assert ends.finished is None
    assert "the manifest says 000000000000, 2 times" in ends.sender.reason


def test_nothing_is_asked_of_a_silent_sender_more_often_than_every_five_minutes():
    state, _ = receive(manifest_of(content_of(CHUNK)), 0.0)
    asked = []
    for second in range(3600):
        state, actions = receiver_step(state, Ticked(mono_s=float(second)))
        asked += [second] * len(actions)

    assert len(asked) < 18
    assert asked[1] - asked[0] >= 2 * transfer.PATIENCE_S


# --- every event in every phase -------------------------------------------------------------------------------------

MANIFEST = manifest_of(content_of(9 * CHUNK + 5))
RECEIVER_EVENTS = st.one_of(
    st.builds(Announced, mono_s=st.floats(0, 1e6)),
    st.builds(Arrived, number=st.integers(-1, 12), mono_s=st.floats(0, 1e6)),
    st.builds(Hashed, sha256=st.sampled_from([MANIFEST.sha256, "0" * 64]), mono_s=st.floats(0, 1e6)),
    st.builds(Ticked, mono_s=st.floats(0, 1e6)),
    st.builds(Cancelled, reason=st.text(min_size=1, max_size=600)),
)
SENDER_EVENTS = st.one_of(
    st.builds(
        Asked,
        blocks=st.sampled_from(
            [
                BlocksPayload(state="want", first=0, missing="ff"),
                BlocksPayload(state="want", first=9, missing="01"),
                BlocksPayload(state="done"),
                BlocksPayload(state="stopped", reason="no"),
            ]
        ),
        mono_s=st.floats(0, 1e6),
    ),
    st.builds(Ticked, mono_s=st.floats(0, 1e6)),
    st.builds(Cancelled, reason=st.text(max_size=20)),
)


@given(st.lists(RECEIVER_EVENTS, max_size=30), st.integers(0, 2**10 - 1))
def test_the_receiver_answers_every_event_in_every_phase(events, present):
    state, _ = receive(MANIFEST, 0.0, present=present)
    for event in events:
        ended = state.phase in {Receiving.DONE, Receiving.STOPPED}
        state, actions = receiver_step(state, event)
        assert len(state.asked) <= WINDOW_BLOCKS
        assert not ended or all(isinstance(action, Say) and action.blocks.state != "want" for action in actions)


@given(st.lists(SENDER_EVENTS, max_size=30))
def test_the_sender_answers_every_event_in_every_phase(events):
    state, _ = send(MANIFEST, 0.0)
    for event in events:
        state, actions = sender_step(state, event)
        assert all(action is Do.ANNOUNCE or max(action.numbers) < MANIFEST.blocks for action in actions)


def test_the_tables_have_a_row_for_every_phase_and_every_event():
    for table in (transfer._RECEIVER, transfer._SENDER):
        kinds = {frozenset(row) for row in table.values()}
        assert len(kinds) == 1
    assert set(transfer._RECEIVER) == set(Receiving)
    assert set(transfer._SENDER) == set(Sending)


def test_blocks_that_the_file_does_not_have_are_refused():
    state, _ = send(MANIFEST, 0.0)
    with pytest.raises(BadMessageError, match="block 10 asked for, of 10"):
        sender_step(state, Asked(blocks=BlocksPayload(state="want", first=3, missing="80"), mono_s=0.0))
    with pytest.raises(BadMessageError, match="bitmap"):
        receive(MANIFEST, 0.0, present=1 << 10)


# --- one block ------------------------------------------------------------------------------------------------------

BLOCK = write_block(MANIFEST, 9, b"abcde")


def test_a_block_is_read_as_it_was_written():
    assert read_block(MANIFEST, BLOCK) == (9, b"abcde")
    with pytest.raises(BadMessageError, match="block 9 of 4 bytes, expected 5"):
        write_block(MANIFEST, 9, b"abcd")
    with pytest.raises(BadMessageError, match="block 10 of 10"):
        piece(MANIFEST, 10)


@given(st.integers(0, len(BLOCK) * 8 - 1))
def test_every_flipped_bit_of_a_block_is_found(bit):
    altered = bytearray(BLOCK)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadMessageError):
        read_block(MANIFEST, bytes(altered))


def test_prefixes_suffixes_foreign_transfers_and_other_places_are_refused():
    for end in range(len(BLOCK)):
        with pytest.raises(BadMessageError):
            read_block(MANIFEST, BLOCK[:end])
    with pytest.raises(BadMessageError, match="its header says 5"):
        read_block(MANIFEST, BLOCK + b"x")
    with pytest.raises(BadMessageError, match="of another transfer"):
        read_block(dataclasses.replace(MANIFEST, id=OTHER), BLOCK)
    with pytest.raises(BadMessageError, match="are no block of"):
        read_block(manifest_of(content_of(9 * CHUNK + 6)), BLOCK)
    with pytest.raises(BadMessageError, match="are no block of"):
        read_block(manifest_of(content_of(9 * CHUNK + 5), chunk_bytes=CHUNK + 1), BLOCK)
    assert len(BLOCK) == HEADER_BYTES + 5
