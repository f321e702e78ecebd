"""Orders over MQTT: carried out once, answered through their states, remembered over a restart."""

import signal

import pytest

from tests.fakes.broker import Broker
from tests.fakes.gateway import Gateway
from tests.gateway.conftest import short_folder
from tests.gateway.witness import Witness, without_gaps
from tests.waiting import until

DONE = ["accepted", "successful"]
ENDS = ("successful", "failed", "rejected")


@pytest.fixture(scope="module")
def gateway(broker, models, line):
    """One gateway with two cameras; each test takes back what it ordered."""
    with short_folder() as folder, Gateway(folder, broker.url, {"top": line, "side": line}, models=models) as gateway:
        yield gateway.start()


@pytest.fixture
def ordered(witness):
    """Send a command and wait for its last state."""

    def order(kind, identity, **args):
        witness.command(kind, identity, **args)
        return until(lambda: (acks := witness.acks(kind, identity)) and acks[-1] in ENDS and acks)

    return order


def test_a_pause_holds_every_part_of_that_camera_until_it_is_resumed(gateway, witness, ordered):
    until(lambda: len(witness.parts("top")) > 5)

    assert ordered("pause", "pause-1", camera="top") == DONE
    until(lambda: witness.last("top").get("reason") == "paused")
    until(lambda: (witness.latest("sum/top") or {}).get("state") == "paused")
    assert ordered("resume", "resume-1", camera="top") == DONE
    until(lambda: witness.last("top").get("reason") is None)
    until(lambda: (witness.latest("sum/top") or {}).get("state") == "running")

    parts = until(lambda: without_gaps(witness.parts("top")) and witness.parts("top"))
    assert {part["verdict"] for part in parts.values() if part["reason"] == "paused"} == {"HOLD"}
    assert "paused" not in {part["reason"] for part in witness.parts("side").values()}


def test_a_pause_of_all_holds_every_camera(gateway, witness, ordered):
    until(lambda: witness.parts("top") and witness.parts("side"))

    assert ordered("pause", "pause-all") == DONE
    until(lambda: all(witness.last(name).get("reason", "nothing yet") == "paused" for name in ("top", "side")))
    assert ordered("resume", "resume-all") == DONE
    until(lambda: all(witness.last(name).get("reason", "nothing yet") is None for name in ("top", "side")))


def test_a_command_that_is_sent_twice_is_carried_out_once(gateway, witness, ordered):
    assert ordered("threshold", "twice-1", camera="top", value=0.9) == DONE
    until(lambda: witness.last("top").get("threshold") == 0.9)
    assert ordered("threshold", "twice-2", camera="top", value=0.7) == DONE
    until(lambda: witness.last("top").get("threshold") == 0.7)

    # The first one again: it is answered, and 0.7 stays.
    answers = len(witness.said("ack/threshold/twice-1"))
    witness.command("threshold", "twice-1", camera="top", value=0.9)
    until(lambda: len(witness.said("ack/threshold/twice-1")) > answers)
    ordered("counters", "after-twice")
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 5)
    assert {witness.parts("top")[number]["threshold"] for number in witness.parts("top") if number > seen} == {0.7}
    assert gateway.log.count("command=threshold id=twice-1 by=tests event=executing") == 1


def test_the_counters_are_answered_for_every_camera(gateway, witness, ordered):
    until(lambda: witness.parts("top"))

    ordered("counters", "counters-1")

    result = witness.latest("ack/counters/counters-1")["result"]
    assert set(result["cameras"]) == {"top", "side"}
    assert result["cameras"]["top"]["passed"] > 0


@pytest.mark.parametrize(
    ("kind", "args", "words"),
    [
        ("threshold", {"camera": "nowhere", "value": 0.5}, "no camera 'nowhere' here, the cameras are side, top"),
        ("threshold", {"camera": "top", "value": 2}, "expected a number from 0 to 1"),
        ("model", {"action": "rollback", "name": "other"}, "no camera uses model 'other'"),
        ("alarm-ack", {"code": "hot", "subject": "moon"}, "no alarm hot of 'moon' is active"),
        ("label", {"sample": "01M86F4VDCQ0S3Y1Q2K0ZC5T9R", "label": "pit"}, "no sample '01M86F4VDCQ0S3Y1Q2K0ZC5T9R'"),
    ],
)
def test_an_order_that_does_not_apply_is_answered_with_the_reason(gateway, witness, ordered, kind, args, words):
    identity = f"{kind}-{len(args)}-{args.get('camera', args.get('code', 'x'))}"

    assert ordered(kind, identity, **args)[-1] in ("rejected", "failed")

    assert words in witness.latest(f"ack/{kind}/{identity}")["reason"]


def test_an_order_that_comes_while_inspect_is_away_is_carried_out_when_it_returns(gateway, witness, ordered):
    until(lambda: witness.parts("side"))
    gateway.signal("inspect", signal.SIGSTOP)
    witness.command("threshold", "away-1", camera="side", value=0.65)
    until(lambda: witness.acks("threshold", "away-1") == ["accepted"])

    gateway.signal("inspect", signal.SIGCONT)

    until(lambda: witness.acks("threshold", "away-1") == DONE)
    until(lambda: witness.last("side").get("threshold") == 0.65)
    ordered("threshold", "away-2", camera="side", value=0.6)


def test_what_commands_changed_survives_kill_9_and_an_edit_of_the_same_key_ends_it(gateway_with, line, tmp_path):
    with Broker(tmp_path / "own") as own, Witness(own) as witness:
        gateway = gateway_with({"top": dict(line), "side": dict(line)}, url=own.url).start()
        witness.command("threshold", "keep-1", camera="top", value=0.95)
        witness.command("pause", "keep-2", camera="side")
        until(lambda: witness.acks("threshold", "keep-1") == DONE and witness.acks("pause", "keep-2") == DONE)

        gateway.kill("inspect")
        until(lambda: gateway.live("inspect"), 30)
        until(lambda: witness.last("top").get("sequence", 0) > 5)
        assert witness.last("top").get("threshold") == 0.95
        assert witness.last("side").get("reason") == "paused"

        gateway.settings["cameras"]["top"]["threshold"] = 0.8
        gateway.reload()
        until(lambda: witness.last("top").get("threshold") == 0.8)
        witness.check()
