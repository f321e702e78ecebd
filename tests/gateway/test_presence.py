"""What a dashboard sees that comes late, and what the broker says of a gateway that is gone."""

from tests.gateway.witness import Witness
from tests.waiting import until

# With 3.1.1 the broker says our Will as soon as the connection breaks; with 5 it waits 15 s, since a short break is no news.
AT_ONCE = {"protocol": 311}


def test_a_late_subscriber_finds_the_whole_picture_retained(gateway_with, line, broker, witness):
    gateway_with({"top": line}).start()
    until(lambda: (witness.latest("sum/top") or {}).get("passed"))

    with Witness(broker) as late:
        until(lambda: all(late.latest(tail) for tail in ("status", "info", "sum/top", "model/is", "cfg/is")))
        assert late.on("/info")[0].retain
        late.check()

        assert late.latest("status")["state"] == "online"
        info = late.latest("info")
        assert [camera["name"] for camera in info["cameras"]] == ["top"]
        assert info["cameras"][0]["digest"] == late.latest("model/is")["models"][0]["active"]
        assert late.latest("sum/top")["last"]["verdict"] in ("PASS", "FAIL")
        assert late.latest("sum/top")["yield_fraction"] > 0


def test_after_kill_9_of_sync_alone_the_broker_says_that_we_are_offline(gateway_with, line, witness):
    gateway = gateway_with({"top": line}, mqtt=AT_ONCE).start("sync")
    online = until(lambda: (said := witness.latest("status")) and said["state"] == "online" and said)

    gateway.kill("sync")

    offline = until(lambda: (said := witness.latest("status")) and said["state"] == "offline" and said)
    assert offline["session"] == online["session"]
    gateway.start("sync")
    again = until(lambda: (said := witness.latest("status")) and said["state"] == "online" and said)
    assert again["session"] != online["session"]


def test_after_a_clean_stop_every_frame_is_told_and_the_gateway_says_that_it_stopped(gateway_with, line, witness):
    gateway = gateway_with({"top": line}).start()
    until(lambda: len(witness.parts("top")) > 10)

    codes = gateway.stop()

    assert codes == {"run": 0}
    until(lambda: witness.latest("status")["state"] == "stopped")
    # What was in the outbox when sync ended waits there: nothing is lost, whoever starts next sends it.
    gateway.start("sync")
    until(lambda: gateway.report("outbox")["queued"] == 0)
    parts = witness.parts("top")
    assert set(parts) == set(range(1, max(parts) + 1))
