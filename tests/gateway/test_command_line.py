"""The command line beside a running gateway, and what never leaves it: pictures, passwords."""

import json
import subprocess
import sys
import tarfile

import pytest

from edge_agent.cli import VERBS
from edge_agent.errors import EXIT_OK, EXIT_TEMPORARY
from tests.fakes.broker import Broker
from tests.fakes.gateway import Gateway, Secret
from tests.gateway.conftest import short_folder
from tests.gateway.witness import Witness
from tests.waiting import until

BROKER_PASSWORD, CAMERA_PASSWORD = "kX7-broker-Qz", "pW3-camera-Jv"
PICTURE_BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM6")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A broker with passwords."""
    passwords = {"gw-07": BROKER_PASSWORD, "watcher": BROKER_PASSWORD}
    with Broker(tmp_path_factory.mktemp("guarded"), passwords=passwords) as broker:
        yield broker


@pytest.fixture(scope="module")
def gateway(guarded, models, line):
    """One gateway whose configuration names two secrets: the broker's password and a camera's."""
    net = {
        "source": "rtsp://127.0.0.1:1/stream1",
        "username": "viewer",
        "password": Secret("camera"),
        "open_timeout_s": 1,
    }
    mqtt = {"username": "gw-07", "password": Secret("broker")}
    cameras = {"top": line, "net": net}
    with short_folder() as folder, Gateway(folder, guarded.url, cameras, models=models, mqtt=mqtt) as gateway:
        secrets = folder / "secrets.yaml"
        secrets.write_text(f"broker: {BROKER_PASSWORD}\ncamera: {CAMERA_PASSWORD}\n")
        secrets.chmod(0o600)
        gateway.start()
        until(lambda: gateway.live("sync")["connected"] and gateway.camera("top")["judged"] > 10)
        yield gateway


def test_status_reads_the_running_daemon(gateway):
    done = gateway.cli("status", "--output", "json")

    assert done.returncode == EXIT_OK
    status = json.loads(done.stdout)
    assert status["inspect"]["pid"] == gateway.pid("inspect")
    assert status["sync"]["pid"] == gateway.pid("sync")
    assert status["sync"]["connected"]
    top = status["inspect"]["cameras"]["top"]
    assert top["state"] == "streaming"
    assert top["captured"] == top["judged"] + sum(top["dropped"].values()) + top["in_flight"]
    assert {alarm["code"] for alarm in status["inspect"]["alarms"]} == {"camera-lost"}


def test_status_for_people_shows_cameras_alarms_and_the_broker(gateway, guarded):
    done = gateway.cli("status", "--once")

    assert done.returncode == EXIT_OK
    for word in ("top", "net", "acme/lyon/gw-07", guarded.url):
        assert word in done.stdout


def test_status_of_a_gateway_that_does_not_run_ends_with_75(gateway_with, line):
    gateway = gateway_with({"top": line})

    done = gateway.cli("status", "--output", "json")

    assert done.returncode == EXIT_TEMPORARY
    assert json.loads(done.stdout)["inspect"] is None


def test_outbox_shows_what_was_delivered_and_what_waits(gateway):
    report = until(lambda: (found := gateway.report("outbox")) and found["by_class"]["pass"]["delivered"] and found)

    assert report["exists"]
    assert report["parked"] == []
    assert "delivered" in gateway.cli("outbox").stdout


def test_a_support_bundle_holds_what_support_needs_and_neither_pictures_nor_passwords(gateway, tmp_path):
    target = tmp_path / "support.tar.gz"

    done = gateway.cli("support-bundle", "--output", str(target))

    assert done.returncode == EXIT_OK
    with tarfile.open(target) as archive:
        contents = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
    assert {name.rpartition("/")[2] for name in contents} >= {
        "MANIFEST.txt",
        "configuration.yaml",
        "status-inspect.json",
        "status-sync.json",
        "models.json",
        "versions.txt",
        "state-files.txt",
    }
    assert b"press" not in contents  # a look at names only finds names
    for name, content in contents.items():
        for password in (BROKER_PASSWORD, CAMERA_PASSWORD):
            assert password.encode() not in content, name
        assert not any(beginning in content for beginning in PICTURE_BEGINNINGS), name
    manifest = contents["edge-agent-support/MANIFEST.txt"].decode()
    assert all(name.rpartition("/")[2] in manifest for name in contents if "MANIFEST" not in name)
    assert json.loads(contents["edge-agent-support/status-inspect.json"])["pid"] == gateway.pid("inspect")


def test_passwords_appear_in_no_log_no_state_file_and_no_message(gateway, guarded):
    with Witness(guarded, username="watcher", password=BROKER_PASSWORD) as witness:
        until(lambda: len(witness.parts("top")) > 10)
        until(lambda: witness.alarm("camera-lost.net"))
        told = b"".join(message.payload for message in witness.heard)
        witness.check()
    kept = [path for path in gateway.folder.rglob("*") if path.is_file() and path.name != "secrets.yaml"]
    assert len(kept) > 10
    for password in (BROKER_PASSWORD.encode(), CAMERA_PASSWORD.encode()):
        assert password not in told
        assert [path for path in kept if password in path.read_bytes()] == []
        assert password not in gateway.cli("config", "show").stdout.encode()


def ask(*words):
    command = [sys.executable, "-m", "edge_agent", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_is_a_page_one_can_work_from(verb):
    done = ask(verb, "--help")

    assert done.returncode == EXIT_OK
    assert f"edge-agent {verb}" in done.stdout.partition("options:")[0].partition("positional arguments:")[0]
    assert done.stderr == ""
    # Beside the usage line, at least one line that can be typed as it stands.
    assert done.stdout.count(f"edge-agent {verb}") >= 2


def test_without_a_verb_the_verbs_are_listed_and_the_exit_code_is_that_of_wrong_usage():
    done = ask()

    assert done.returncode == 2
    assert all(verb in done.stdout for verb in VERBS)


def test_the_completion_for_bash_is_a_script_that_bash_reads_and_that_knows_the_verbs():
    script = ask("completion", "bash").stdout

    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert all(verb in script for verb in VERBS)
