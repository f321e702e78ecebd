"""The uplink on a real mosquitto: outages, kills, refusals, commands."""

import json
import time
from collections import Counter

import pytest

from edge_agent.clock import SystemClock
from edge_agent.records import Alarm, Severity
from edge_agent.sync.messages import Message, Priority, alarm_message
from edge_agent.sync.mqtt import Connected, Connection, Publication
from edge_agent.sync.uplink import Uplink
from tests.fakes.broker import Broker, Listener
from tests.sync.conftest import inspection, numbers

pytestmark = pytest.mark.broker
PREFIX = "acme/lyon/ev1/gw-07/"


def states(messages):
    return [json.loads(message.payload)["state"] for message in messages if message.payload]


def acks(listener, kind, identity):
    return [json.loads(message.payload) for message in listener.on(f"ack/{kind}/{identity}")]


def ids(messages):
    return Counter(json.loads(message.payload)["id"] for message in messages if "/insp/" in message.topic)


# Delivery


def test_what_was_queued_before_and_during_an_outage_arrives_in_order_and_once(broker, gateway):
    gateway.queue(300)
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: len(numbers(heard)) == 300)

        assert numbers(listener.heard) == list(range(300))
        gateway.wait_for(lambda health: health.get("queued") == 0)
        assert gateway.outbox().delivered >= 300


def test_what_the_broker_did_not_acknowledge_before_it_was_killed_arrives_after_its_restart(broker, gateway):
    gateway.queue(3000)
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: len(numbers(heard)) > 200)
        broker.kill()
        gateway.wait_for(lambda health: health.get("connected") is False and health["queued"] > 0)
        gateway.stop()
    acknowledged = gateway.outbox().delivered
    broker.start()
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: len(numbers(heard)) == 3000 - acknowledged, 30)

        assert numbers(listener.heard) == list(range(acknowledged, 3000))


def test_an_outage_is_survived_without_help(broker, gateway):
    gateway.start()
    gateway.wait_for(lambda health: health.get("connected"))
    broker.kill()
    gateway.queue(50)
    broker.start()
    gateway.wait_for(lambda health: health.get("connected") and health["queued"] == 0 and health["published"] >= 50)


def test_nothing_is_lost_when_we_are_killed_while_draining(broker, gateway):
    gateway.queue(4000)
    with Listener(broker) as listener:
        for part in (500, 1500):
            gateway.spawn()
            listener.wait_for(lambda heard, part=part: len(set(numbers(heard))) > part, 30)
            gateway.kill()
        gateway.start()
        listener.wait_for(lambda heard: set(numbers(heard)) == set(range(4000)), 30)

        assert len(ids(listener.heard)) == 4000


def test_an_alarm_overtakes_what_waits(broker, gateway):
    gateway.queue(2000)
    (alarm,) = alarm_message(
        Alarm(code="camera-lost", subject="a", severity=Severity.CRITICAL, text="", active=True, since_utc_s=0), 0
    )
    gateway.writer.put(alarm)
    assert gateway.writer.flush(10)
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: len(numbers(heard)) == 2000)

        first = next(message.topic for message in listener.heard if "/status" not in message.topic)
        assert first == f"{PREFIX}alarm/camera-lost.a"


def test_a_message_reaches_a_subscriber_soon_after_it_is_put(broker, gateway):
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: states(listener.on("/status")) == ["online"])
        began = time.monotonic()
        gateway.writer.put(inspection(1))
        listener.wait_for(lambda heard: numbers(heard) == [1])

        assert time.monotonic() - began < 0.9  # rung, not found by looking once a second


@pytest.mark.parametrize("options", [{"protocol": 311}, {"protocol": 5, "in_flight": 1}, {"in_flight": 500}])
def test_it_works_with_either_protocol_and_any_window(broker, gateway_on, options):
    gateway = gateway_on(broker, **options)
    gateway.queue(100)
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: numbers(heard) == list(range(100)))


def test_it_works_through_websockets(short_path, gateway_on):
    with Broker(short_path / "w", websocket=True) as broker, Listener(broker) as listener:
        gateway = gateway_on(broker)
        gateway.queue(200)
        gateway.start()
        listener.wait_for(lambda heard: numbers(heard) == list(range(200)))


# Presence


def test_the_broker_says_offline_for_us_when_we_are_killed(broker, gateway):
    with Listener(broker) as listener:
        gateway.spawn()
        listener.wait_for(lambda heard: states(listener.on("/status")) == ["online"])
        gateway.kill()
        listener.wait_for(lambda heard: states(listener.on("/status")) == ["online", "offline"])

    with Listener(broker, (PREFIX + "status",)) as later:
        later.wait_for(lambda heard: heard)
        assert states(later.heard) == ["offline"]
        assert later.heard[0].retain


def test_a_clean_end_says_stopped_and_no_will_follows(broker, gateway):
    with Listener(broker) as listener:
        gateway.start()
        listener.wait_for(lambda heard: states(listener.on("/status")) == ["online"])
        gateway.stop()
        listener.wait_for(lambda heard: states(listener.on("/status")) == ["online", "stopped"])
        listener.publish("fence", b"1")
        listener.wait_for(lambda heard: heard[-1].topic == "fence")

        assert states(listener.on("/status")) == ["online", "stopped"]


def test_every_connect_says_who_we_are_and_what_stands_again(broker, gateway):
    state = Message(topic_tail="info", payload=b'{"v":1}', qos=1, retain=True, priority=Priority.STATE, slot="info")
    gateway.writer.put(state)
    assert gateway.writer.flush(10)
    gateway.start()
    with Listener(broker) as listener:
        listener.wait_for(lambda heard: listener.on("/info") and listener.on("/status"))
    gateway.wait_for(lambda health: health.get("queued") == 0)
    broker.kill()  # before it saved anything: its retained messages are gone
    for file in broker.directory.glob("*.db"):
        file.unlink()
    broker.start()
    with Listener(broker) as listener:
        listener.wait_for(lambda heard: listener.on("/info") and "online" in states(listener.on("/status")))


def test_commands_are_heard_after_the_broker_forgot_our_session(broker, gateway):
    gateway.start()
    gateway.wait_for(lambda health: health.get("connected"))
    broker.kill()
    gateway.wait_for(lambda health: health.get("connected") is False)
    broker.start()
    with Listener(broker) as listener:
        listener.wait_for(lambda heard: "online" in states(listener.on("/status")))
        gateway.wait_for(lambda health: health.get("connected"))
        listener.publish(PREFIX + "cmd/pause/c-1", b'{"v":1,"by":"anna"}')
        listener.wait_for(lambda heard: acks(listener, "pause", "c-1"))


# Refusals


def test_a_topic_that_the_acl_denies_is_an_alarm_and_the_others_flow(short_path, gateway_on):
    everything = f"topic readwrite {PREFIX}#\n"
    allowed = "".join(f"topic write {PREFIX}{tail}\n" for tail in ("status", "alarm/#", "insp/open", "ack/#"))
    acl = f"user gw\n{allowed}topic read {PREFIX}cmd/#\nuser watcher\n{everything}"
    with Broker(short_path / "b", passwords={"gw": "secret", "watcher": "w"}, acl=acl) as broker:
        gateway = gateway_on(broker, username="gw", password="secret")  # noqa: S106
        with Listener(broker, username="watcher", password="w") as listener:  # noqa: S106
            for number in range(5):
                gateway.writer.put(inspection(number, tail="insp/shut"))
                gateway.writer.put(inspection(100 + number, tail="insp/open"))
            assert gateway.writer.flush(10)
            gateway.start()
            listener.wait_for(lambda heard: listener.on("alarm/broker-denied.insp.shut") and len(ids(heard)) == 5)

            assert set(numbers(listener.heard)) == {100, 101, 102, 103, 104}
            assert len(listener.on("alarm/broker-denied.insp.shut")) == 1
            gateway.wait_for(lambda health: health.get("parked") == 5 and health["queued"] == 0)
            assert gateway.health()["alarms"] == ["broker-denied.insp.shut"]

            # mosquitto ends the connection with each refusal, so a denied topic must not be tried for every part.
            connects = len(listener.on("/status"))
            for number in range(20):
                gateway.writer.put(inspection(number, tail="insp/shut"))
            gateway.wait_for(lambda health: health["parked"] == 25 and health["queued"] == 0)
            assert len(listener.on("/status")) == connects


def test_a_message_over_the_brokers_packet_limit_is_parked_and_the_others_flow(short_path, gateway_on):
    with Broker(short_path / "b", lines=["max_packet_size 5000"]) as broker, Listener(broker) as listener:
        gateway = gateway_on(broker)
        gateway.writer.put(inspection(1, size=20_000))
        gateway.writer.put(inspection(2))
        gateway.start()
        listener.wait_for(lambda heard: numbers(heard) == [2] and listener.on("alarm/message-parked.insp.press-3"))
        gateway.wait_for(lambda health: health.get("parked") == 1 and health["queued"] == 0)


def test_a_message_over_which_the_broker_closes_the_connection_is_found_and_parked(short_path, gateway_on):
    with Broker(short_path / "b", lines=["message_size_limit 5000"]) as broker, Listener(broker) as listener:
        gateway = gateway_on(broker)
        for number in range(30):
            gateway.writer.put(inspection(number, size=20_000 if number == 12 else 10))
        assert gateway.writer.flush(10)
        gateway.start()
        listener.wait_for(lambda heard: len(ids(heard)) == 29 and listener.on("alarm/message-parked.insp.press-3"), 30)
        gateway.wait_for(lambda health: health.get("parked") == 1 and health["queued"] == 0)


def test_a_missing_right_to_listen_for_commands_does_not_stop_delivery(short_path, gateway_on):
    acl = f"user gw\ntopic write {PREFIX}#\nuser watcher\ntopic read #\n"
    with (
        Broker(short_path / "b", passwords={"gw": "s", "watcher": "w"}, acl=acl) as broker,
        Listener(broker, username="watcher", password="w") as listener,  # noqa: S106
    ):
        gateway = gateway_on(broker, username="gw", password="s")  # noqa: S106
        gateway.queue(3)
        gateway.start()
        listener.wait_for(lambda heard: numbers(heard) == [0, 1, 2])


def test_a_refused_publish_is_sent_again_when_asked_after_the_acl_was_corrected(short_path, gateway_on):
    acl = f"topic write {PREFIX}status\ntopic write {PREFIX}alarm/#\ntopic read #\n"
    with Broker(short_path / "b", acl=acl) as broker, Listener(broker) as listener:
        gateway = gateway_on(broker)
        gateway.queue(3)
        gateway.start()
        gateway.wait_for(lambda health: health.get("parked") == 3)
        broker.write_acl("topic readwrite #\n")
        broker.reload()

        from edge_agent.cli import main

        assert main(["outbox", "--state", str(gateway.directory), "--requeue"]) == 0

        listener.wait_for(lambda heard: numbers(heard) == [0, 1, 2])
        listener.wait_for(
            lambda heard: (
                [
                    json.loads(m.payload)["state"] if m.payload else ""
                    for m in listener.on("alarm/broker-denied.insp.press-3")
                ][-2:]
                == ["cleared", ""]
            )
        )


# Commands


@pytest.fixture
def operator(broker, gateway):
    gateway.start()
    with Listener(broker) as listener:
        gateway.wait_for(lambda health: health.get("connected"))
        yield listener


def test_a_command_that_is_sent_twice_waits_once_and_is_answered_twice(operator, gateway):
    for _ in range(2):
        operator.publish(PREFIX + "cmd/pause/c-1", b'{"v":1,"by":"anna","args":{"camera":"press-3"}}')
    operator.wait_for(lambda heard: len(acks(operator, "pause", "c-1")) == 2)

    with gateway.inbox() as inbox:
        assert [(command.id, command.args) for command in inbox.waiting()] == [("c-1", {"camera": "press-3"})]


def test_the_sender_is_told_every_state_that_inspect_reports(operator, gateway):
    operator.publish(PREFIX + "cmd/counters/c-2", b'{"v":1,"by":"anna"}')
    operator.wait_for(lambda heard: acks(operator, "counters", "c-2"))
    with gateway.inbox() as inbox:
        inbox.advance("c-2", "successful", result={"press-3": {"passed": 5}})
    operator.wait_for(lambda heard: len(acks(operator, "counters", "c-2")) == 2)

    assert [ack["state"] for ack in acks(operator, "counters", "c-2")] == ["accepted", "successful"]
    assert acks(operator, "counters", "c-2")[1]["result"] == {"press-3": {"passed": 5}}


def test_a_retained_command_is_rejected(operator, broker, gateway):
    gateway.stop()
    operator.publish(PREFIX + "cmd/pause/c-3", b'{"v":1,"by":"anna"}', retain=True)
    gateway.start()
    operator.wait_for(lambda heard: acks(operator, "pause", "c-3"))

    # It may come twice, queued for our session and retained; each time it is told so, and never is it carried out.
    assert {(ack["state"], "retain" in ack["reason"]) for ack in acks(operator, "pause", "c-3")} == {("rejected", True)}
    with gateway.inbox() as inbox:
        assert inbox.waiting() == []


@pytest.mark.parametrize(
    ("topic", "payload", "words"),
    [
        ("cmd/reboot/c-4", b'{"v":1,"by":"anna"}', "unknown"),
        ("cmd/pause/c-4", b"\x00\xff", "not JSON"),
        ("cmd/pause/c-4", b'{"v":1,"by":"anna","exp":"2020-01-01T00:00:00Z"}', "expired"),
        ("cmd/learn/c-4", b'{"v":1,"by":"anna","args":{"now":1}}', "now"),
        ("cmd/pause/c-4", b"x" * 20_000, "at most"),
    ],
)
def test_a_bad_command_is_answered_with_its_fault(operator, topic, payload, words):
    operator.publish(PREFIX + topic, payload)
    operator.wait_for(lambda heard: operator.on(topic.replace("cmd/", "ack/")))

    (ack,) = [json.loads(message.payload) for message in operator.on(topic.replace("cmd/", "ack/"))]
    assert ack["state"] == "rejected"
    assert words in ack["reason"]


def test_a_command_sent_while_we_were_away_is_carried_out_when_we_are_back(operator, gateway):
    gateway.stop()
    operator.publish(PREFIX + "cmd/pause/c-5", b'{"v":1,"by":"anna"}')
    gateway.start()
    operator.wait_for(lambda heard: acks(operator, "pause", "c-5"))

    assert acks(operator, "pause", "c-5")[0]["state"] == "accepted"


# Faults of our own


def test_an_exception_while_handling_an_event_ends_the_process(broker, gateway, monkeypatch):
    def broken(self, event):
        raise ZeroDivisionError

    monkeypatch.setattr(Uplink, "_on", broken)
    gateway.start()
    gateway._thread.join(10)

    assert isinstance(gateway.crash, ZeroDivisionError)


def test_an_exception_in_a_callback_of_paho_comes_out_of_pump(broker, monkeypatch):
    def broken(self, *_):
        raise ZeroDivisionError

    monkeypatch.setattr(Connection, "_on_connect", broken)
    with pytest.raises(ZeroDivisionError):
        until_connected(broker, "gw-07")


def until_connected(broker, client_id):
    import threading

    from edge_agent.sync.broker import MqttOptions

    woken = threading.Event()
    connection = Connection(
        MqttOptions(url=broker.url, client_id=client_id),
        Publication(topic="will", payload=b"", qos=1, retain=True),
        SystemClock(),
        wake=woken.set,
    )
    connection.open()
    assert woken.wait(10)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for event in connection.pump():
            return connection, event
        threading.Event().wait(0.01)
    raise AssertionError("no event")


def test_a_second_client_with_our_name_is_told_apart(broker, gateway):
    gateway.start()
    gateway.wait_for(lambda health: health.get("connected"))

    other, event = until_connected(broker, "gw-07")

    assert isinstance(event, Connected)
    gateway.wait_for(lambda health: "taken over" in health.get("reason", "").lower() or health.get("connected"))
    other.close()
