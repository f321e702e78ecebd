"""kill -9 of anything while parts flow: every committed verdict arrives, repeated only under its own id."""

import contextlib
import json
import signal

from edge_agent.errors import EXIT_CONFIG
from edge_agent.sync import outbox_table as table
from edge_agent.sync.messages import Priority
from edge_agent.sync.outbox_file import inspect_outbox
from tests.fakes.broker import Broker
from tests.gateway.witness import Witness, without_gaps
from tests.waiting import until


def committed(gateway):
    """The ids of the inspections that lie in the outbox now."""
    with inspect_outbox(gateway.state / "outbox.db") as connection:
        rows = [row for priority in Priority for row in table.after(connection, priority, 0, 10_000)]
    return {json.loads(row.message.payload)["id"] for row in rows if row.message.topic_tail == "insp/top"}


def heard(witness):
    return {part["id"] for part in witness.said("insp/top")}


def test_after_kill_9_of_inspect_what_was_committed_arrives_and_the_supervisor_starts_it_again(
    gateway_with, line, witness
):
    gateway = gateway_with({"top": line}).start()
    until(lambda: len(witness.parts("top")) > 10)
    sync = gateway.signal("sync", signal.SIGSTOP)  # so that something waits when the kill comes
    until(lambda: len(committed(gateway)) > 20)

    gateway.kill("inspect")
    waiting = committed(gateway)
    before = heard(witness)
    assert waiting - before
    gateway.signal("sync", signal.SIGCONT)

    until(lambda: waiting <= heard(witness))
    # The new process begins its numbers anew, under ids of its own.
    until(lambda: gateway.live("inspect"), 30)
    until(lambda: len(heard(witness) - waiting - before) > 10)
    assert gateway.pid("sync") == sync
    again = witness.said("insp/top")
    assert len({(part["id"], part["sequence"]) for part in again}) == len({part["id"] for part in again})


def test_after_kill_9_of_sync_every_verdict_arrives_and_the_supervisor_starts_it_again(gateway_with, line, witness):
    gateway = gateway_with({"top": line}).start()
    until(lambda: len(witness.parts("top")) > 20)
    inspect, killed = gateway.pid("inspect"), gateway.pid("sync")

    gateway.kill("sync")

    until(lambda: (gateway.live("sync") or {}).get("connected"), 30)
    assert gateway.pid("sync") != killed
    assert gateway.pid("inspect") == inspect
    judged = gateway.camera("top")["judged"]
    until(lambda: max(witness.parts("top")) > judged)
    until(lambda: without_gaps(witness.parts("top")))


def test_after_kill_9_of_the_broker_every_verdict_that_waited_arrives(gateway_with, line, tmp_path):
    broker = Broker(tmp_path / "mortal").start()
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        first = stack.enter_context(Witness(broker))
        gateway = gateway_with({"top": line}, url=broker.url).start()
        until(lambda: len(first.parts("top")) > 20)

        broker.kill()
        until(lambda: not gateway.live("sync")["connected"])
        judged = gateway.camera("top")["judged"]
        until(lambda: gateway.camera("top")["judged"] > judged + 30)
        # A broker that comes back knows no listener: one has to be there before the gateway is.
        gateway.signal("sync", signal.SIGSTOP)
        broker.start()
        second = stack.enter_context(Witness(broker))
        gateway.signal("sync", signal.SIGCONT)
        until(lambda: second.parts("top") and max(second.parts("top")) > judged + 40, 30)

        def together():
            return {**first.parts("top"), **second.parts("top")}

        until(lambda: without_gaps(together()))
        repeated = first.parts("top").keys() & second.parts("top").keys()
        assert all(first.parts("top")[number]["id"] == second.parts("top")[number]["id"] for number in repeated)
        assert second.latest("status")["state"] == "online"
        second.check()


def test_after_kill_9_of_the_supervisor_a_new_one_is_told_of_the_orphans_and_they_lose_nothing(
    gateway_with, line, witness
):
    gateway = gateway_with({"top": line}).start()
    until(lambda: len(witness.parts("top")) > 10)
    inspect = gateway.pid("inspect")

    gateway.kill("run")

    seen = max(witness.parts("top"))
    until(lambda: max(witness.parts("top")) > seen + 20)
    until(lambda: without_gaps(witness.parts("top")))
    done = gateway.cli("run")
    assert done.returncode == EXIT_CONFIG
    assert f"pid {inspect}" in done.stderr
