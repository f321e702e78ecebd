"""A changed configuration: what is valid applies without losing a frame, what is not is refused and changes nothing."""

import itertools

import pytest

from tests.fakes.broker import Broker
from tests.fakes.gateway import Gateway
from tests.gateway.conftest import short_folder
from tests.gateway.witness import Witness, without_gaps
from tests.waiting import until


@pytest.fixture(scope="module")
def gateway(broker, models, line):
    """One gateway with two cameras that are always judged; each test leaves a valid configuration in force."""
    cameras = {"top": dict(line), "side": dict(line)}
    with short_folder() as folder, Gateway(folder, broker.url, cameras, models=models) as gateway:
        yield gateway.start()


@pytest.fixture
def reload(gateway, witness):
    """Have a valid configuration taken over; returns when inspect says that it is in force."""

    def wait():
        before = until(lambda: witness.latest("cfg/is"))
        gateway.reload()
        return until(lambda: (said := witness.latest("cfg/is"))["loaded"] != before["loaded"] and said)

    return wait


def test_a_valid_change_applies_and_the_camera_it_does_not_touch_loses_no_frame(gateway, witness, reload):
    until(lambda: len(witness.parts("top")) > 5)
    inspect = gateway.pid("inspect")

    gateway.settings["cameras"]["side"]["rotation"] = 90  # opens it again
    in_force = reload()

    until(lambda: gateway.live("inspect")["config_digest"] == in_force["hash"])
    seen = {camera: max(witness.parts(camera)) for camera in ("top", "side")}
    until(lambda: all(max(witness.parts(camera)) > seen[camera] + 20 for camera in seen))
    assert gateway.pid("inspect") == inspect
    # Nor does the other one: its numbers go on, and what it had queued is judged.
    until(lambda: all(without_gaps(witness.parts(camera)) for camera in seen))


def test_a_threshold_takes_effect_with_the_next_frame_and_no_frame_is_lost(gateway, witness, reload):
    until(lambda: "FAIL" in {part["verdict"] for part in witness.parts("top").values()})

    gateway.settings["cameras"]["top"]["threshold"] = 1.0
    reload()
    until(lambda: witness.last("top").get("threshold") == 1.0)
    gateway.settings["cameras"]["top"].pop("threshold")
    reload()
    until(lambda: witness.last("top").get("threshold") == 0.6)

    parts = until(lambda: without_gaps(witness.parts("top")) and witness.parts("top"))
    assert "FAIL" not in {part["verdict"] for part in parts.values() if part["threshold"] == 1.0}
    # Two changes, two borders: every frame was judged by one of the two.
    applied = [parts[number]["threshold"] for number in sorted(parts)]
    assert sum(one != other for one, other in itertools.pairwise(applied)) == 2
    assert {part["threshold"] for part in witness.parts("side").values()} == {0.6}


def test_a_camera_that_comes_is_judged_and_one_that_goes_is_judged_to_its_last_frame(gateway, line, witness, reload):
    gateway.settings["cameras"]["new"] = dict(line)
    reload()
    until(lambda: len(witness.parts("new")) > 10 and witness.latest("sum/new"))
    captured = until(lambda: gateway.camera("new"))["captured"]

    del gateway.settings["cameras"]["new"]
    reload()

    until(lambda: max(witness.parts("new")) >= captured)
    until(lambda: without_gaps(witness.parts("new")))
    assert min(witness.parts("new")) == 1
    until(lambda: {camera["name"] for camera in witness.latest("info")["cameras"]} == {"top", "side"})
    until(lambda: witness.latest("sum/new") is None)  # no dashboard shows it any more


def test_an_invalid_change_is_refused_the_old_one_stays_and_the_alarm_ends_with_the_next_valid_one(
    gateway, broker, witness, reload
):
    before = until(lambda: len(witness.parts("top")) > 5 and witness.latest("cfg/is"))
    pids = gateway.pid("inspect"), gateway.pid("sync")

    gateway.settings["cameras"]["top"]["fps"] = "many"
    gateway.reload()

    alarm = until(lambda: witness.alarm("config-refused"))
    assert "cameras.top.fps" in alarm["text"]
    assert f"{gateway.config}:" in alarm["text"]
    until(lambda: witness.latest("cfg/is")["refused"])
    assert witness.latest("cfg/is")["hash"] == before["hash"]
    with Witness(broker) as late:
        until(lambda: late.alarm("config-refused"))  # retained
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 10)

    gateway.settings["cameras"]["top"]["fps"] = 20
    assert reload()["refused"] is None
    until(lambda: witness.alarm("config-refused") is None)
    assert (gateway.pid("inspect"), gateway.pid("sync")) == pids
    until(lambda: all(without_gaps(witness.parts(camera)) for camera in ("top", "side")))


def test_the_level_of_the_log_applies_at_once(gateway, witness, reload):
    def order(identity):
        witness.command("counters", identity)
        until(lambda: witness.acks("counters", identity)[-1:] == ["successful"])

    present = gateway.settings["logging"]
    gateway.settings["logging"] = {**present, "level": "error"}
    reload()
    order("quiet-1")
    gateway.settings["logging"] = present
    reload()
    order("loud-1")

    assert "id=loud-1 by=tests event=executing" in gateway.log
    assert "id=quiet-1 by=tests event=executing" not in gateway.log


def test_a_key_that_needs_a_restart_is_named_and_waits_and_sync_stays_with_its_outbox(
    gateway, witness, reload, tmp_path
):
    until(lambda: witness.parts("top"))
    present = gateway.settings["storage"]
    gateway.settings["storage"] = {**present, "state_dir": str(tmp_path)}
    gateway.settings["mqtt"]["keepalive_s"] = 20  # on this one sync connects anew
    reload()

    until(lambda: "config=needs-restart storage.state_dir" in gateway.log)
    until(lambda: "event=reconnect" in gateway.log)
    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 20)
    until(lambda: without_gaps(witness.parts("top")))
    assert not (tmp_path / "outbox.db").exists()

    gateway.settings["storage"] = present
    gateway.settings["mqtt"].pop("keepalive_s")
    reload()


def test_another_broker_takes_over_where_the_first_one_stopped(gateway, broker, witness, tmp_path):
    # Failed parts go before passed ones: of a backlog some may have been told before we listened, and others after.
    until(lambda: len(witness.parts("top")) > 20)
    begin = max(witness.parts("top"))
    with Broker(tmp_path / "other") as other, Witness(other) as there:
        gateway.settings["mqtt"]["url"] = other.url
        gateway.reload()
        until(lambda: len(there.parts("top")) > 20)
        gateway.settings["mqtt"]["url"] = broker.url
        gateway.reload()
        until(lambda: max(witness.parts("top")) > max(there.parts("top")))
        until(
            lambda: without_gaps(number for number in {**witness.parts("top"), **there.parts("top")} if number >= begin)
        )
        until(lambda: there.latest("status")["state"] == "stopped")
        assert witness.latest("status")["state"] == "online"
        there.check()
