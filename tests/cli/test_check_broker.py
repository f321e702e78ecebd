"""The checks of the broker against a real mosquitto: refused, wrong CA, expired, another name, ACL denial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.settings import Settings, loads
from edge_agent.processes.checks import broker as checks
from edge_agent.processes.checks.finding import Context, Finding, Level
from edge_agent.processes.checks.round_trip import Trip
from tests.fakes.broker import Authority, Broker, Listener

pytestmark = pytest.mark.broker

OWN = "acme/lyon/ev1/gw-07"


def context(tmp_path: Path, url: str, more: str = "", clock=None) -> Context:
    file = tmp_path / "agent.yaml"
    text = f"""\
version: 1
site: {{enterprise: acme, plant: lyon, gateway: gw-07}}
cameras: {{one: {{source: 'synthetic:scratches'}}}}
mqtt:
  url: {url}
  connect_timeout_s: 5
{more}"""
    return Context(
        config_file=file,
        settings=loads(text.encode(), file=file, environment={}),
        faults=(),
        root=tmp_path,
        machine="x86_64",
        environment={},
        clock=clock or SystemClock(),
        frames=1,
    )


def only(findings: tuple[Finding, ...], level: Level) -> Finding:
    (finding,) = findings
    assert finding.level is level, finding
    return finding


def of_gateway(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"site": settings.site.model_copy(update={"gateway": name})})


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificates(authority):
    """(certificate, key) by name; each is issued once."""
    return {name: authority.issue(name) for name in ("broker", "gw-07", "gw-08")} | {
        name: authority.issue(name, expired=True) for name in ("old-broker", "old-gw")
    }


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "Other CA")


def tls(authority: Authority, issued: tuple[Path, Path], *, mutual: bool = False) -> dict:
    certificate, key = issued
    lines = {"cafile": authority.ca_file, "certfile": certificate, "keyfile": key}
    return {**lines, "require_certificate": "true"} if mutual else lines


@pytest.mark.parametrize("protocol", [5, 311])
def test_a_message_goes_there_and_back(tmp_path, protocol):
    with Broker(tmp_path / "b") as broker:
        given = context(tmp_path, broker.url, f"  protocol: {protocol}\n")
        only(checks.reachable(given), Level.OK)
        assert f"{OWN}/#, there and back" in only(checks.through_the_acl(given), Level.OK).text


def test_the_check_does_not_disturb_the_daemon_nor_leave_anything_retained(tmp_path):
    with Broker(tmp_path / "b") as broker, Listener(broker, client_id="gw-07") as daemon:
        only(checks.through_the_acl(context(tmp_path, broker.url)), Level.OK)
        daemon.publish("still/here", b"1")
        daemon.wait_for(lambda heard: [m for m in heard if m.topic == "still/here"])
        assert all(f"{OWN}/ack/check/" in m.topic or m.topic == "still/here" for m in daemon.heard)
        with Listener(broker) as late:
            late.publish("last", b"1")
            late.wait_for(lambda heard: [m for m in heard if m.topic == "last"])
            assert not any(m.retain for m in late.heard)


def test_a_broker_that_is_down(tmp_path):
    given = context(tmp_path, "mqtt://127.0.0.1:1")
    assert "connection refused" in only(checks.reachable(given), Level.ERROR).text
    assert "connection refused" in only(checks.through_the_acl(given), Level.ERROR).text


def test_a_name_that_cannot_be_resolved(tmp_path):
    finding = only(checks.reachable(context(tmp_path, "mqtt://no-such-host.invalid")), Level.ERROR)
    assert "cannot be resolved" in finding.text


def test_a_wrong_password(tmp_path):
    with Broker(tmp_path / "b", passwords={"gw-07": "right"}) as broker:
        wrong = context(tmp_path, broker.url, "  username: gw-07\n  password: wrong\n")
        finding = only(checks.through_the_acl(wrong), Level.ERROR)
        assert "refused" in finding.text
        assert "wrong" not in finding.text
        right = context(tmp_path, broker.url, "  username: gw-07\n  password: right\n")
        only(checks.through_the_acl(right), Level.OK)


@pytest.mark.parametrize(
    ("acl", "level", "words"),
    [
        (f"user gw-07\ntopic readwrite {OWN}/#\n", Level.OK, "there and back"),
        (f"user gw-07\ntopic write {OWN}/#\ntopic read {OWN}/cmd/#\n", Level.WARNING, "not delivered back"),
        (f"user gw-07\ntopic read {OWN}/#\n", Level.ERROR, "publishing is refused"),
        ("user gw-07\ntopic readwrite other/#\n", Level.ERROR, "publishing is refused"),
    ],
)
def test_the_acl_is_proved_by_what_really_passes(tmp_path, acl, level, words):
    with Broker(tmp_path / "b", passwords={"gw-07": "p"}, acl=acl) as broker:
        given = context(tmp_path, broker.url, "  username: gw-07\n  password: p\n")
        finding = only(checks.through_the_acl(given), level)
        assert words in finding.text


def test_mqtt_3_1_1_hides_the_reason_of_a_refusal_and_the_advice_names_the_likely_one(tmp_path):
    with Broker(tmp_path / "b", passwords={"gw-07": "p"}, acl="user gw-07\ntopic readwrite other/#\n") as broker:
        given = context(tmp_path, broker.url, "  username: gw-07\n  password: p\n  protocol: 311\n")
        assert f"let it write {OWN}/#" in only(checks.through_the_acl(given), Level.ERROR).advice


def test_a_real_handshake_shows_version_and_expiry(tmp_path, authority, certificates):
    with Broker(tmp_path / "b", tls=tls(authority, certificates["broker"])) as broker:
        given = context(tmp_path, broker.url, f"  ca_file: {authority.ca_file}\n")
        text = only(checks.encrypted(given), Level.OK).text
        assert text == "TLSv1.3, the broker's certificate is valid until 2049-01-01"
        only(checks.through_the_acl(given), Level.OK)


def test_a_wrong_authority(tmp_path, authority, certificates, other_authority):
    with Broker(tmp_path / "b", tls=tls(authority, certificates["broker"])) as broker:
        given = context(tmp_path, broker.url, f"  ca_file: {other_authority.ca_file}\n")
        assert "not in ca_file" in only(checks.encrypted(given), Level.ERROR).text


def test_an_expired_certificate_of_the_broker(tmp_path, authority, certificates):
    with Broker(tmp_path / "b", tls=tls(authority, certificates["old-broker"])) as broker:
        given = context(tmp_path, broker.url, f"  ca_file: {authority.ca_file}\n")
        assert "expired" in only(checks.encrypted(given), Level.ERROR).text


def test_a_port_that_does_not_speak_tls(tmp_path, authority):
    with Broker(tmp_path / "b") as broker:
        given = context(tmp_path, broker.url.replace("mqtt:", "mqtts:"), f"  ca_file: {authority.ca_file}\n")
        assert only(checks.encrypted(given), Level.ERROR)


def test_our_own_certificate(tmp_path, authority, certificates):
    certificate, key = certificates["gw-07"]
    with Broker(tmp_path / "b", tls=tls(authority, certificates["broker"], mutual=True)) as broker:
        keys = f"  ca_file: {authority.ca_file}\n  cert_file: {certificate}\n  key_file: {key}\n"
        given = context(tmp_path, broker.url, keys)
        assert "valid until 2049-01-01" in only(checks.own_certificate(given), Level.OK).text
        only(checks.through_the_acl(given), Level.OK)
        without = context(tmp_path, broker.url, f"  ca_file: {authority.ca_file}\n")
        only(checks.through_the_acl(without), Level.ERROR)


def test_a_certificate_of_another_gateway_is_a_warning_and_an_expired_one_an_error(tmp_path, certificates):
    certificate, key = certificates["gw-08"]
    keys = f"  cert_file: {certificate}\n  key_file: {key}\n"
    finding = only(checks.own_certificate(context(tmp_path, "mqtts://127.0.0.1", keys)), Level.WARNING)
    assert "gw-08" in finding.text
    certificate, key = certificates["old-gw"]
    keys = f"  cert_file: {certificate}\n  key_file: {key}\n"
    expired = context(tmp_path, "mqtts://127.0.0.1", keys)
    expired = replace(expired, settings=of_gateway(expired.valid, "old-gw"))
    assert "expired on 2020-02-01" in only(checks.own_certificate(expired), Level.ERROR).text


def test_a_file_that_is_no_certificate(tmp_path):
    (tmp_path / "gw.pem").write_text("hello")
    (tmp_path / "gw.key").touch()
    given = context(tmp_path, "mqtts://127.0.0.1", "  cert_file: gw.pem\n  key_file: gw.key\n")
    assert "no certificate in it" in only(checks.own_certificate(given), Level.ERROR).text


def test_plain_text_over_a_network_is_a_warning_and_on_this_machine_it_is_not(tmp_path):
    only(checks.encrypted(context(tmp_path, "mqtt://10.0.0.1")), Level.WARNING)
    only(checks.encrypted(context(tmp_path, "mqtt://localhost")), Level.OK)


@pytest.mark.parametrize(
    ("trip", "complete"),
    [
        (Trip(), False),
        (Trip(lost="x"), True),
        (Trip(connected=True, subscribed=(1, 1), published=0), False),
        (Trip(connected=True, subscribed=(1, 1), published=135), True),
        (Trip(connected=True, subscribed=(1, 1), published=0, delivered_s=0.1), True),
    ],
)
def test_a_trip_ends_when_nothing_more_can_come(trip, complete):
    assert trip.complete is complete
