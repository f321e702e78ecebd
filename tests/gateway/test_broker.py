"""The broker in all its moods: down, unwilling, not to be trusted, deaf to one topic. Nothing that was judged is lost."""

import json
import signal

import pytest

from tests.fakes.broker import Authority, Broker
from tests.fakes.gateway import PREFIX, Gateway
from tests.gateway.conftest import short_folder
from tests.gateway.witness import Witness, without_gaps
from tests.waiting import until

USER, PASSWORD = "gw-07", "correct horse"
TAILS = ("status", "info", "tm", "insp/top", "sum/+", "alarm/+", "cfg/is", "model/is", "ack/+/+")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def tls_of(authority, name, **options):
    certificate, key = authority.issue(name, **options)
    return {"cafile": authority.ca_file, "certfile": certificate, "keyfile": key}


@pytest.fixture(scope="module")
def expired_broker(authority, tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("expired"), tls=tls_of(authority, "expired", expired=True)) as broker:
        yield broker


@pytest.fixture(scope="module")
def tls_broker(authority, tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("tls"), tls=tls_of(authority, "broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def strict_broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("strict"), passwords={USER: PASSWORD}) as broker:
        yield broker


@pytest.fixture(scope="module")
def gateway(broker, models, line):
    """One gateway that judges all the time; each test gives it another broker, in the end the good one again."""
    with short_folder() as folder, Gateway(folder, broker.url, {"top": line}, models=models) as gateway:
        yield gateway.start()


def told_while(gateway, witness, mqtt, words):
    """Point the gateway at a broker that will not have it; what is said of it, while verdicts queue, and then drain."""
    good = gateway.settings["mqtt"]
    until(lambda: witness.parts("top"))
    gateway.settings["mqtt"] = mqtt
    gateway.reload()
    health = until(lambda: (h := gateway.live("sync")) and not h["connected"] and words in h["reason"] and h)
    judged = gateway.camera("top")["judged"]
    until(lambda: gateway.camera("top")["judged"] > judged + 20)
    assert until(lambda: gateway.report("outbox"))["by_class"]["pass"]["queued"] > 0

    gateway.settings["mqtt"] = good
    gateway.reload()
    until(lambda: max(witness.parts("top")) > judged + 20)
    until(lambda: without_gaps(witness.parts("top")))
    return health["reason"]


def test_a_broker_that_is_down_at_the_start_gets_every_verdict_later_each_under_its_one_id(
    gateway_with, line, tmp_path
):
    broker = Broker(tmp_path / "later")
    gateway = gateway_with({"top": line}, url=broker.url).start()
    until(lambda: "connection refused" in gateway.live("sync")["reason"])
    until(lambda: gateway.camera("top")["judged"] > 30)
    waiting = gateway.report("outbox")
    assert waiting["by_class"]["pass"]["queued"] + waiting["by_class"]["defect"]["queued"] > 30

    # When it comes up somebody is to listen before the gateway tells.
    gateway.signal("sync", signal.SIGSTOP)
    with broker, Witness(broker) as witness:
        gateway.signal("sync", signal.SIGCONT)
        until(lambda: len(witness.parts("top")) > 40)
        until(lambda: gateway.live("sync")["connected"] and gateway.report("outbox")["queued"] < 20)
        parts = until(lambda: without_gaps(witness.parts("top")) and witness.parts("top"))
        witness.check()

    assert min(parts) == 1
    assert len({part["id"] for part in parts.values()}) == len(parts)


def test_a_broker_that_refuses_the_password_is_said_to_and_the_verdicts_wait(gateway, witness, strict_broker):
    wrong = {"url": strict_broker.url, "username": USER, "password": "wrong"}

    assert "ot authorized" in told_while(gateway, witness, wrong, "refused")
    assert "wrong" not in json.dumps(gateway.live("sync"))


def test_a_broker_of_an_unknown_authority_is_not_trusted_and_the_verdicts_wait(gateway, witness, tls_broker, tmp_path):
    stranger = Authority(tmp_path / "stranger", "Another CA")

    words = told_while(gateway, witness, {"url": tls_broker.url, "ca_file": str(stranger.ca_file)}, "CA")

    assert "signed by a CA that is not in ca_file" in words


def test_a_broker_with_an_expired_certificate_is_not_trusted_and_the_verdicts_wait(
    gateway, witness, expired_broker, authority
):
    words = told_while(gateway, witness, {"url": expired_broker.url, "ca_file": str(authority.ca_file)}, "expired")

    assert "renew it on the broker" in words


def test_over_tls_with_the_right_authority_verdicts_flow(gateway_with, line, tls_broker, authority):
    with Witness(tls_broker, tls={"ca_certs": str(authority.ca_file)}) as witness:
        gateway_with({"top": line}, url=tls_broker.url, mqtt={"ca_file": str(authority.ca_file)}).start()

        until(lambda: len(witness.parts("top")) > 10)
        witness.check()


def test_a_topic_that_the_acl_denies_is_an_alarm_and_the_other_topics_flow(gateway_with, line, tmp_path):
    writes = "".join(f"topic write {PREFIX}{tail}\n" for tail in TAILS)
    acl = f"user watcher\ntopic readwrite #\nuser {USER}\ntopic read #\n{writes}"
    passwords = {USER: PASSWORD, "watcher": PASSWORD}
    mqtt = {"username": USER, "password": PASSWORD}
    with (
        Broker(tmp_path / "acl", passwords=passwords, acl=acl) as broker,
        Witness(broker, username="watcher", password=PASSWORD) as witness,
    ):
        gateway = gateway_with({"top": line, "side": line}, url=broker.url, mqtt=mqtt).start()

        alarm = until(lambda: witness.alarm("broker-denied.insp.side"))
        assert alarm["severity"] == "critical"
        assert f"{PREFIX}insp/side" in alarm["text"]
        heard = len(witness.parts("top"))
        until(lambda: len(witness.parts("top")) > heard + 30)
        until(lambda: without_gaps(witness.parts("top")))
        assert witness.said("insp/side") == []
        parked = gateway.report("outbox")["parked"]
        assert {entry["topic"] for entry in parked} == {"insp/side"}

        # The person corrects the ACL and has the parked messages sent again: none of them was lost.
        broker.write_acl(acl + f"topic write {PREFIX}insp/side\n")
        broker.reload()
        gateway.cli("outbox", "--requeue")
        until(lambda: witness.parts("side") and min(witness.parts("side")) == 1)
        until(lambda: without_gaps(witness.parts("side")))
        until(lambda: witness.alarm("broker-denied.insp.side") is None)
        witness.check()
