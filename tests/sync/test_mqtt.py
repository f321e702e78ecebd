"""Why a broker cannot be reached is told in words a technician can act on; with real brokers and real certificates."""

import socket
import threading

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import BrokerError, ConfigError
from edge_agent.sync.broker import MqttOptions, parse_url
from edge_agent.sync.mqtt import Connected, Connection, Lost, Publication
from tests.fakes.broker import Authority, Broker, free_port
from tests.fakes.clock import FakeClock

WILL = Publication(topic="acme/ev1/gw-07/status", payload=b"{}", qos=1, retain=True)
DEADLINE_S = 10.0


class Attempt:
    """One connection attempt, pumped until its first event."""

    def __init__(self, url, clock=None, **options):
        self._woken = threading.Event()
        self.connection = Connection(
            MqttOptions(url=url, client_id="gw-07", **options), WILL, clock or SystemClock(), wake=self._woken.set
        )

    def first_event(self):
        self.connection.open()
        assert self._woken.wait(DEADLINE_S)
        for _ in range(1000):
            for event in self.connection.pump():
                return event
            threading.Event().wait(0.01)
        raise AssertionError("nothing happened")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls_broker(authority, tmp_path_factory):
    certificate, key = authority.issue("broker")
    with Broker(
        tmp_path_factory.mktemp("tls"), tls={"cafile": authority.ca_file, "certfile": certificate, "keyfile": key}
    ) as broker:
        yield broker


@pytest.fixture(scope="module")
def mutual_broker(authority, tmp_path_factory):
    certificate, key = authority.issue("broker-m")
    tls = {
        "cafile": authority.ca_file,
        "certfile": certificate,
        "keyfile": key,
        "require_certificate": "true",
        "use_identity_as_username": "true",
    }
    with Broker(tmp_path_factory.mktemp("mtls"), tls=tls) as broker:
        yield broker


@pytest.mark.broker
def test_tls_with_the_right_ca_connects(tls_broker, authority):
    attempt = Attempt(tls_broker.url, ca_file=authority.ca_file)

    assert isinstance(attempt.first_event(), Connected)
    attempt.connection.close()


@pytest.mark.broker
def test_a_client_certificate_of_the_right_ca_connects(mutual_broker, authority):
    certificate, key = authority.issue("gw-07")
    attempt = Attempt(mutual_broker.url, ca_file=authority.ca_file, cert_file=certificate, key_file=key)

    assert isinstance(attempt.first_event(), Connected)
    attempt.connection.close()


@pytest.mark.broker
def test_without_the_client_certificate_that_the_broker_wants_there_is_no_connection(mutual_broker, authority):
    assert isinstance(Attempt(mutual_broker.url, ca_file=authority.ca_file).first_event(), Lost)


@pytest.mark.broker
def test_a_client_certificate_of_another_ca_is_a_hint_at_the_certificate(mutual_broker, authority, tmp_path):
    certificate, key = Authority(tmp_path / "other", "Another CA").issue("gw-07")

    event = Attempt(mutual_broker.url, ca_file=authority.ca_file, cert_file=certificate, key_file=key).first_event()

    assert isinstance(event, Lost)
    assert "certificate" in event.reason or "cert_file" in event.reason


@pytest.mark.broker
def test_a_wrong_ca_is_named(tls_broker, tmp_path):
    other = Authority(tmp_path / "other", "Another CA")

    event = Attempt(tls_broker.url, ca_file=other.ca_file).first_event()

    assert "not in ca_file" in event.reason


@pytest.mark.broker
def test_an_expired_certificate_is_told_apart_from_a_wrong_ca(authority, tmp_path):
    certificate, key = authority.issue("expired", expired=True)
    with Broker(tmp_path / "b", tls={"certfile": certificate, "keyfile": key}) as broker:
        event = Attempt(broker.url, ca_file=authority.ca_file).first_event()

    assert "has expired" in event.reason


@pytest.mark.broker
def test_a_certificate_for_another_name_is_named(authority, tmp_path):
    certificate, key = authority.issue("broker-n")
    with Broker(tmp_path / "b", tls={"certfile": certificate, "keyfile": key}) as broker:
        event = Attempt(f"mqtts://127.0.0.2:{broker.port}", ca_file=authority.ca_file).first_event()

        assert isinstance(event, Lost)  # this broker listens on 127.0.0.1 alone
        local = Attempt(f"mqtts://ip6-localhost:{broker.port}", ca_file=authority.ca_file).first_event()
    assert isinstance(local, Lost)


@pytest.mark.broker
@pytest.mark.parametrize("protocol", [5, 311])
def test_refused_credentials_are_told_with_the_brokers_reason(tmp_path, protocol):
    with Broker(tmp_path / "b", passwords={"gw": "right"}) as broker:
        wrong = Attempt(broker.url, username="gw", password="wrong", protocol=protocol).first_event()  # noqa: S106
        right = Attempt(broker.url, username="gw", password="right", protocol=protocol)  # noqa: S106

        assert isinstance(wrong, Lost)
        assert "Not authorized" in wrong.reason
        assert "wrong" not in wrong.reason
        assert isinstance(right.first_event(), Connected)
        right.connection.close()


@pytest.mark.broker
def test_the_brokers_limits_are_read_from_its_answer(tmp_path):
    with Broker(tmp_path / "b", lines=["max_packet_size 5000", "max_inflight_messages 7"]) as broker:
        attempt = Attempt(broker.url)
        event = attempt.first_event()
        attempt.connection.close()

    assert (event.max_packet_bytes, event.receive_maximum) == (5000, 7)


@pytest.mark.broker
def test_plain_mqtt_on_a_tls_port_and_tls_on_a_plain_port_are_told(tls_broker, authority, tmp_path):
    with Broker(tmp_path / "b") as plain:
        event = Attempt(f"mqtts://127.0.0.1:{plain.port}", ca_file=authority.ca_file).first_event()
        assert isinstance(event, Lost)
    assert isinstance(Attempt(f"mqtt://127.0.0.1:{tls_broker.port}").first_event(), Lost)


def test_nobody_at_the_port_is_told():
    event = Attempt(f"mqtt://127.0.0.1:{free_port()}").first_event()

    assert "connection refused" in event.reason


def test_a_missing_ca_file_is_named(tmp_path):
    event = Attempt(f"mqtts://127.0.0.1:{free_port()}", ca_file=tmp_path / "nowhere.crt").first_event()

    assert "ca_file" in event.reason


def test_a_server_that_never_answers_is_given_up():
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as server:
        attempt = Attempt(f"mqtt://127.0.0.1:{server.getsockname()[1]}", clock)
        attempt.connection.open()
        assert attempt._woken.wait(DEADLINE_S)
        assert attempt.connection.pump() == []
        clock.advance(11)
        (event,) = attempt.connection.pump()
        attempt.connection.close()

    assert "no CONNACK within 10 s" in event.reason


def test_publishing_without_a_connection_is_refused_rather_than_kept():
    attempt = Attempt(f"mqtt://127.0.0.1:{free_port()}")

    with pytest.raises(BrokerError, match="not connected"):
        attempt.connection.publish(WILL)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", ("broker", 1883, False, False)),
        ("mqtts://broker.plant.local:8884", ("broker.plant.local", 8884, True, False)),
        ("ws://broker/path", ("broker", 80, False, True)),
        ("wss://[::1]:9001", ("::1", 9001, True, True)),
    ],
)
def test_a_brokers_url_is_read(url, expected):
    address = parse_url(url)

    assert (address.host, address.port, address.tls, address.websocket) == expected


@pytest.mark.parametrize("url", ["http://broker", "broker:1883", "mqtt://", "mqtt://broker:99999", "mqtt://broker:x"])
def test_a_url_that_names_no_broker_is_refused(url):
    with pytest.raises(ConfigError):
        parse_url(url)


def test_a_password_appears_in_no_text_about_the_options():
    options = MqttOptions(url="mqtt://broker", client_id="a", username="u", password="hunter2")  # noqa: S106

    assert "hunter2" not in repr(options)
