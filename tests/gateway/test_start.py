"""A start: what is wrong is said at once and in full, and a gateway that cannot run says so by its exit code."""

from edge_agent.errors import EXIT_CONFIG
from tests.waiting import until


def test_a_wrong_configuration_ends_the_start_with_78_and_every_fault_with_its_place(gateway_with, line):
    gateway = gateway_with({"top": {**line, "fps": -3}, "side": {"source": "fodler:/pictures"}})
    gateway.settings["mqtt"]["url"] = "http://broker"
    gateway.settings["site"]["gateway"] = "GW 07"
    gateway.write()

    for process in ("run", "inspect", "sync"):
        gateway.launch(process)
        assert gateway.wait(process) == EXIT_CONFIG

    said = (gateway.folder / "run.log").read_text()
    for key, found in (
        ("site.gateway", "GW 07"),
        ("cameras.top.fps", "-3"),
        ("cameras.side.source", "fodler:/pictures"),
        ("mqtt.url", "http://broker"),
    ):
        fault = next(text for text in said.splitlines() if key in text)
        assert found in fault
        assert f"{gateway.config}:" in fault


def test_an_unknown_key_is_refused_with_the_nearest_known_one(gateway_with, line):
    gateway = gateway_with({"top": {**line, "treshold": 0.5}})

    gateway.launch("run")

    assert gateway.wait("run") == EXIT_CONFIG
    fault = next(text for text in gateway.log.splitlines() if "treshold" in text)
    assert "cameras.top.treshold" in fault
    assert "threshold" in fault.replace("treshold", "")


def test_a_second_daemon_on_the_same_state_directory_ends_with_78_and_names_the_first(gateway_with, line, witness):
    gateway = gateway_with({"top": line}).start()
    pids = {process: gateway.pid(process) for process in ("run", "inspect", "sync")}

    for words, process in ((["run"], "run"), (["serve", "inspect"], "inspect"), (["serve", "sync"], "sync")):
        done = gateway.cli(*words)
        assert done.returncode == EXIT_CONFIG, done.stderr
        assert f"pid {pids[process]}" in done.stderr
        assert str(gateway.state) in done.stderr

    heard = len(witness.parts("top"))
    until(lambda: len(witness.parts("top")) > heard + 10)
    assert {process: gateway.pid(process) for process in pids} == pids
    assert gateway.live("sync")["connected"]
