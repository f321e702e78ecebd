import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadCommandError
from edge_agent.sync.commands import COMMANDS, MAX_COMMAND_BYTES, parse_command

NOW = 1_795_514_322.0
DIGEST = "a" * 64


def parse(kind, args=None, *, identity="c-1", retained=False, **envelope):
    payload = json.dumps({"v": 1, "by": "anna", "args": args or {}, **envelope}).encode()
    return parse_command(kind, identity, payload, retained=retained, now_utc_s=NOW)


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("model", {"action": "activate", "name": "surface", "digest": DIGEST}),
        ("model", {"action": "rollback", "name": "surface"}),
        ("finetune", {"action": "start"}),
        ("finetune", {"action": "cancel", "model": "surface"}),
        ("threshold", {"camera": "press-3", "value": 0.4}),
        ("pause", {}),
        ("pause", {"camera": "press-3"}),
        ("trigger", {"camera": "press-3"}),
        ("trigger", {"camera": "press-3", "part": "A-17", "recipe": "lid"}),
        ("resume", {}),
        ("counters", {}),
        ("alarm-ack", {"code": "outbox-corrupt", "subject": ""}),
    ],
)
def test_a_well_formed_command_is_taken(kind, args):
    command = parse(kind, args)

    assert (command.id, command.type, command.by, dict(command.args)) == ("c-1", kind, "anna", args)


@pytest.mark.parametrize(
    ("kind", "args", "words"),
    [
        ("model", {"action": "delete", "name": "surface"}, "delete"),
        ("model", {"action": "activate", "name": "surface"}, "sha256"),
        ("model", {"action": "activate", "name": "surface", "digest": "ABC"}, "sha256"),
        ("model", {"action": "rollback", "name": "surface", "digest": DIGEST}, "takes no digest"),
        ("threshold", {"camera": "press-3", "value": 1.2}, "0 to 1"),
        ("threshold", {"camera": "press-3", "value": True}, "0 to 1"),
        ("threshold", {"value": 0.5}, "lacks 'camera'"),
        ("pause", {"kamera": "press-3"}, "kamera"),
        ("trigger", {"part": "A-17"}, "lacks 'camera'"),
        ("trigger", {"camera": "press-3", "part": 17}, "expected a text of 1 to 64 characters"),
        ("trigger", {"camera": "press-3", "recipe": "x" * 65}, "expected a text of 1 to 64 characters"),
        ("counters", {"x": 1}, "known are: none"),
        ("reboot", {}, "unknown command type"),
        ("learn", {"now": True}, "now"),
        ("finetune", {}, "lacks 'action'"),
        ("finetune", {"action": "stop"}, "expected start or cancel"),
        ("finetune", {"action": "start", "model": ""}, "args.model"),
        ("label", {"sample": "01M86F4VDCQ0S3Y1Q2K0ZC5T9R"}, "label"),
        ("label", {"sample": "x", "label": "pit", "new_class": "yes"}, "true or false"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_rejected_with_what_was_wrong(kind, args, words):
    with pytest.raises(BadCommandError, match=words):
        parse(kind, args)


def test_a_retained_command_is_rejected_because_it_would_come_again():
    with pytest.raises(BadCommandError, match="retain"):
        parse("pause", retained=True)


def test_a_command_is_taken_until_it_expires_and_not_after():
    assert parse("pause", exp="2026-11-24T09:58:42.000Z").expires_utc_s == NOW
    with pytest.raises(BadCommandError, match="expired"):
        parse("pause", exp="2026-11-24T09:58:41.000Z")


@pytest.mark.parametrize("exp", ["tomorrow", "2026-11-24T09:58:41", 5, ""])
def test_an_expiry_that_is_no_moment_in_time_is_rejected(exp):
    with pytest.raises(BadCommandError, match="exp"):
        parse("pause", exp=exp)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"v":1,"by":"a","by":"b"}',
        b'{"v":NaN,"by":"a"}',
        b'{"v":2,"by":"a"}',
        b'{"v":true,"by":"a"}',
        b'{"v":1}',
        b'{"v":1,"by":""}',
        b'{"v":1,"by":"a","args":[]}',
        b'{"v":1,"by":"a","shell":"rm"}',
        b"[" * 10_000,
        b'{"v":1,"by":"a","args":' + b'{"a":' * 8 + b"1" + b"}" * 9,
        b'{"v":1,"by":"a","args":{"a":[' + b",".join([b"1"] * 300) + b"]}}",
        b" " * (MAX_COMMAND_BYTES + 1),
    ],
)
def test_hostile_bytes_are_rejected_and_nothing_else_happens(payload):
    with pytest.raises(BadCommandError):
        parse_command("pause", "c-1", payload, retained=False, now_utc_s=NOW)


@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_a_command_or_a_reason(payload):
    for kind in COMMANDS:
        with contextlib.suppress(BadCommandError):
            command = parse_command(kind, "c-1", payload, retained=False, now_utc_s=NOW)
            assert (command.id, command.type) == ("c-1", kind)


@pytest.mark.parametrize("identity", ["", "a/b", "a b", "x" * 65, "é", "a\n"])
def test_an_id_that_could_not_be_answered_on_is_rejected(identity):
    with pytest.raises(BadCommandError, match="id"):
        parse("pause", identity=identity)
