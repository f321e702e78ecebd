"""The sync process as a whole: its lock, its health file, what it tells the service manager, what it says of the disk."""

import json
import threading

import pytest

from edge_agent.cli import main
from edge_agent.clock import SystemClock
from edge_agent.errors import AlreadyRunningError
from edge_agent.processes import sync
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.messages import Message, Priority
from edge_agent.sync.outbox import OutboxReader
from tests.fakes.broker import free_port
from tests.sync.conftest import BRANCH, inspection


def options_at(directory, url="mqtt://127.0.0.1:1"):
    return sync.SyncOptions(
        state_dir=directory,
        runtime_dir=directory,
        branch=BRANCH,
        mqtt=MqttOptions(url=url, client_id="gw-07"),
        version="0",
    )


def test_two_sync_processes_on_one_state_directory_are_refused(broker, gateway):
    gateway.start()
    gateway.wait_for(lambda health: health.get("connected"))

    with pytest.raises(AlreadyRunningError, match="already in use"):
        sync.run(options_at(gateway.directory), clock=SystemClock(), stop=threading.Event())


def test_without_a_broker_it_is_ready_stays_alive_and_says_why_nothing_is_sent(short_path):
    class Stop:
        """Set once the health file says why there is no connection."""

        def is_set(self):
            try:
                return "connection refused" in json.loads((short_path / "sync.json").read_bytes())["reason"]
            except FileNotFoundError:
                return False

    told = []
    service = sync.ServiceManager(
        ready=lambda: told.append("ready"), alive=lambda: told.append("alive"), status=told.append
    )

    assert (
        sync.run(
            options_at(short_path, f"mqtt://127.0.0.1:{free_port()}"), clock=SystemClock(), stop=Stop(), service=service
        )
        == 0
    )

    assert told[:2] == ["ready", "alive"]
    assert any("connection refused" in text for text in told)
    health = json.loads((short_path / "sync.json").read_bytes())
    assert (health["connected"], health["queued"]) == (False, 0)


def test_a_disk_that_is_nearly_full_is_told_before_writing_fails(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sync, "FREE_BYTES_MIN", 2**62)

    sync.look_at_disk(tmp_path, seen.append)

    assert [(condition.code, condition.active) for condition in seen] == [
        ("disk-full", True),
        ("state-read-only", False),
    ]
    assert str(tmp_path) in seen[0].text


def test_the_outbox_verb_shows_classes_topics_ages_and_refusals(tmp_path, capsys):
    reader = OutboxReader(tmp_path / "outbox.db", SystemClock())
    reader.add(
        [
            inspection(1),
            inspection(2),
            Message(topic_tail="alarm/a", payload=b"{}", qos=1, retain=True, priority=Priority.ALARM),
        ]
    )
    reader.park(reader.pending(2)[1].seq, "Not authorized (135)")

    assert main(["outbox", "--state", str(tmp_path), "--output", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["outbox", "--state", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    reader.close()

    assert report["queued"] == 2
    assert report["by_class"]["alarm"]["queued"] == 1
    assert {topic["topic"]: topic["queued"] for topic in report["by_topic"]} == {"insp/press-3": 1, "alarm/a": 1}
    assert report["parked"] == [{"topic": "insp/press-3", "reason": "Not authorized (135)", "messages": 1}]
    for words in ("insp/press-3", "alarm", "Not authorized (135)", "2 queued"):
        assert words in page


def test_the_outbox_verb_says_that_there_is_no_outbox_yet(tmp_path, capsys):
    assert main(["outbox", "--state", str(tmp_path)]) == 0

    assert "no outbox yet" in capsys.readouterr().out
