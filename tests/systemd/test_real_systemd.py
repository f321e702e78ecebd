"""The units under a real systemd: Debian 12 in a container, installed as docs/service.md says, with a broker of its own.

this file: prepares and judges --> nspawn.py: boots --> inside.py: acts and notes --> probe.py: tries, in a unit's sandbox
"""

import json
import re
import shutil
from pathlib import Path

import pytest

import edge_agent
import firmware_profiles
from tests.fakes.tiny_model import tiny_bundle
from tests.systemd import nspawn

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGE = CHECKOUT / "docs" / "service.md"
# A block of the page that is run or written as it stands: a shell's, or a drop-in of the unit that its first line names.
BLOCK = re.compile(r"<!-- tried as it stands -->\n```(?:sh|ini)\n(.*?)```", re.DOTALL)
DROP_IN = re.compile(r"# /etc/systemd/system/edge-agent-(\w+)\.service\.d/")
DEADLINE_S = 300
EXPOSURE_LIMIT = 1.5
ALWAYS_ON = ("inspect", "sync")
SERVICES = (*ALWAYS_ON, "learn")
NO_CAPABILITY = "0" * 16
AGENT = """\
version: 1
site: {enterprise: acme, plant: lyon, gateway: gw-07}
cameras:
  press-1: {source: "synthetic:mixed", fps: 10, mode: trained}
mqtt: {url: "mqtt://127.0.0.1:1883", username: gw, password: !secret mqtt-password}
storage: {min_free_bytes: 0}
device: {threads: 1}
"""

pytestmark = [pytest.mark.systemd, pytest.mark.long]


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What happened in the container: step -> what inside.py noted. Booted once for all tests here."""
    lacks = nspawn.missing()
    if lacks:
        pytest.fail(f"a real systemd needs, and this machine lacks: {'; '.join(lacks)}")
    cache = CHECKOUT / ".cache" / "nspawn"
    root = nspawn.debian_root(cache)
    packages = nspawn.gateway_packages(cache, root)
    ground = tmp_path_factory.mktemp("container")
    stage, program = ground / "stage", ground / "program"
    _fill(stage, program)
    ground.chmod(0o755)
    console = ground / "console.log"
    read_only = ((program, "/opt/program"), (packages, "/opt/packages"))
    nspawn.boot(root, stage, read_only, log=console, deadline_s=DEADLINE_S)
    noted = stage / "facts.jsonl"
    assert noted.exists(), (
        f"the container noted nothing in {DEADLINE_S} s; its console:\n{console.read_text(errors='replace')[-4000:]}"
    )
    return {line.pop("step"): line for line in map(json.loads, noted.read_text().splitlines())}


def _fill(stage, program):
    """The program as it is tested here (checkout or wheel), and what the container needs to install and try it."""
    skip = shutil.ignore_patterns("__pycache__")
    for package in (edge_agent, firmware_profiles):
        source = Path(next(iter(package.__path__)))
        shutil.copytree(source, program / source.name, ignore=skip)
    shutil.copytree(CHECKOUT / "systemd", stage / "systemd")
    tiny_bundle(stage / "bundle")
    commands, drop_ins = _page()
    (stage / "install.sh").write_text("".join(commands))
    for name, text in drop_ins.items():
        (stage / f"{name}.conf").write_text(text)
    (stage / "agent.yaml").write_text(AGENT)
    for name in ("inside.py", "probe.py"):
        shutil.copyfile(HERE / name, stage / name)
    for top in (stage, program):
        for path in (top, *top.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _page():
    """What docs/service.md tells a person to type, and its drop-ins by the service they are of."""
    blocks = BLOCK.findall(PAGE.read_text())
    drop_ins = {found[1]: block for block in blocks if (found := DROP_IN.match(block))}
    return [block for block in blocks if not DROP_IN.match(block)], drop_ins


@pytest.fixture
def step(facts):
    """The facts of one step; fails with its traceback, and with the journal, where it did not come to its end."""

    def of(name):
        found = facts.get(name)
        faults = "".join(f"\n{other}: {facts[other]['fault']}" for other in facts if "fault" in facts[other])
        assert found is not None, f"{name} was not reached in {DEADLINE_S} s, only {', '.join(facts)}{faults}"
        assert "fault" not in found, (
            f"{name}: {found['fault']}\njournal:\n{facts.get('end', {}).get('journal', '')[-6000:]}"
        )
        return found

    return of


@pytest.fixture
def note(capsys):
    """Says on the terminal what this machine's kernel did not let us try."""

    def say(text):
        with capsys.disabled():
            print(f"\nnote: {text}")

    return say


def test_a_machine_that_cannot_boot_a_container_is_told_what_it_lacks():
    lacks = nspawn.missing(which=lambda tool: None, uid=1000)

    assert [line.split()[0] for line in lacks] == ["debootstrap", "systemd-nspawn", "the"]
    assert "apt install systemd-container" in " ".join(lacks)


@pytest.mark.parametrize(("python", "numpy"), [("3.11", "numpy==2.4.6"), ("3.10", "numpy==2.2.6")])
def test_the_container_gets_what_a_gateway_needs_for_its_own_python_and_no_more(python, numpy):
    lock = (
        "# the gateway\n"
        'numpy==2.4.6 ; python_version >= "3.11"\nnumpy==2.2.6 ; python_version < "3.11"\nshtab==1.13.0\n\n'
        "# [train]: builds the default bundle\ntorch==2.13.0\n"
    )

    assert nspawn.gateway_pins(lock, python) == [numpy, "shtab==1.13.0"]


def test_the_page_on_installing_has_its_commands_and_drop_ins():
    commands, drop_ins = _page()

    assert len(commands) == 2
    assert set(drop_ins) == set(ALWAYS_ON)


# --- start ---


def test_a_check_by_root_sees_the_credential_and_leaves_nothing_that_the_gateway_cannot_write(step):
    found = step("install")
    code, said = found["check"]

    assert code == 0, said
    assert found["foreign"] == []


def test_the_target_starts_inspect_and_sync_the_timer_and_the_path(step):
    found = step("start")

    assert found["others"] == ["active", "active", "active"]
    assert found["enabled"] == "enabled"
    for name in ALWAYS_ON:
        assert found["services"][name]["SubState"] == "running"


@pytest.mark.parametrize("name", ALWAYS_ON)
def test_a_service_says_itself_that_it_is_ready(step, name):
    service = step("start")["services"][name]

    assert (service["Type"], service["ActiveState"], service["NRestarts"]) == ("notify", "active", "0")
    assert service["StatusText"]


def test_verdicts_reach_a_broker_that_wants_the_password_of_the_credential_store(step):
    assert step("broker")["wrong_password"] != 0
    found = step("verdicts")

    assert found["sync"]["connected"]
    assert {message["camera"] for message in found["heard"]} == {"press-1"}
    assert found["status"][0]["state"] == "online"


def test_inference_works_where_writable_code_is_denied(step):
    heard = step("verdicts")["heard"]

    assert step("sandbox")["probes"]["inspect"]["writable_code"] == "EPERM"
    assert all(message["verdict"] in {"PASS", "FAIL", "HOLD"} for message in heard)
    assert all(isinstance(message["score"], float) for message in heard)


# --- sandbox ---


@pytest.mark.parametrize("name", ALWAYS_ON)
def test_the_main_process_has_no_capability_and_is_filtered(step, name):
    rights = step("sandbox")["main"][name]

    assert {rights[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NO_CAPABILITY}
    assert (rights["NoNewPrivs"], rights["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("name", SERVICES)
def test_whatever_runs_in_the_sandbox_has_no_capability_and_is_filtered(step, name):
    rights = step("sandbox")["probes"][name]["status"]

    assert (rights["CapEff"], rights["CapBnd"], rights["NoNewPrivs"], rights["Seccomp"]) == (
        NO_CAPABILITY,
        NO_CAPABILITY,
        "1",
        "2",
    )


@pytest.mark.parametrize("name", SERVICES)
def test_only_state_runtime_and_a_private_tmp_can_be_written(step, name):
    write = step("sandbox")["probes"][name]["write"]

    assert {place for place, how in write.items() if how == "EROFS"} == {"/etc", "/usr", "/opt"}
    assert {place for place, how in write.items() if how == "ok"} == {"/var/lib/edge-agent", "/run/edge-agent", "/tmp"}


def test_sync_cannot_see_the_pictures_that_inspect_and_learn_can(step):
    probes = step("sandbox")["probes"]

    assert probes["sync"]["evidence"] in {"EACCES", "ENOENT"}
    assert probes["sync"]["frames"] == "EACCES"
    assert (probes["inspect"]["evidence"], probes["learn"]["evidence"]) == ("ok", "ok")


@pytest.mark.parametrize(("name", "how"), [("inspect", "EPERM"), ("sync", "EPERM"), ("learn", "EPERM")])
def test_writable_code_is_denied(step, name, how):
    assert step("sandbox")["probes"][name]["writable_code"] == how


def test_each_service_has_only_its_own_credentials(step):
    probes = step("sandbox")["probes"]

    assert {name: probes[name]["credentials"] for name in SERVICES} == {
        "inspect": [],
        "sync": ["mqtt-password"],
        "learn": [],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_the_processes_of_others_are_invisible(step, name):
    assert step("sandbox")["probes"][name]["foreign_processes"] == "ENOENT"


@pytest.mark.parametrize("name", ["sync", "learn"])
def test_who_needs_no_device_sees_none(step, name):
    probe = step("sandbox")["probes"][name]

    assert probe["forbidden_device"] == "ENOENT"
    assert not [device for device in probe["devices"] if device.startswith(("video", "dri", "nvidia", "mem", "kmsg"))]


def test_inspect_may_open_no_device_but_cameras_and_accelerators(step, note):
    device = step("device")
    assert device["free_unit"], "the device of the test cannot be opened at all"

    if device["denied_unit"]:
        note("DevicePolicy= is not enforced here (a unit with DevicePolicy=closed got through): not tried")
    else:
        assert step("sandbox")["probes"]["inspect"]["forbidden_device"] == "EPERM"


def test_only_inspect_is_in_the_groups_of_cameras_and_accelerators(step):
    main = step("sandbox")["main"]

    assert len(main["inspect"]["Groups"].split()) == 3
    assert len(main["sync"]["Groups"].split()) == 1


def test_learn_has_no_network(step):
    learn = step("sandbox")["probes"]["learn"]

    assert learn["network_namespace"] != step("network")["namespace"]
    assert set(learn["connect"].values()) == {"EAFNOSUPPORT"}


def test_inspect_reaches_its_cameras_and_no_public_address(step, note):
    network, connect = step("network"), step("sandbox")["probes"]["inspect"]["connect"]
    assert network["free"], "the public address of the test cannot be reached at all"
    assert network["free_unit"]

    assert {connect[name] for name in ("camera", "neighbour", "loopback")} == {"ok"}
    if network["denied_unit"]:
        note("IPAddressDeny= is not enforced here (a unit with IPAddressDeny=any got through): not tried")
    else:
        assert connect["public"] != "ok"


def test_a_drop_in_narrows_inspect_to_one_camera(step, note):
    connect = step("drop_ins")["connect"]

    assert connect["camera"] == "ok"
    if step("network")["denied_unit"]:
        note("IPAddressDeny= is not enforced here: a drop-in with one camera's address was not tried")
    else:
        assert "ok" not in {connect["neighbour"], connect["public"]}


def test_a_drop_in_gives_a_credential_by_its_path(step):
    assert step("drop_ins")["credentials"] == ["mqtt-password"]


@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_of_the_loaded_unit_is_at_most_one_point_five(step, name):
    assert step("without_probes")["exposure"][name] <= EXPOSURE_LIMIT


# --- faults ---


def test_an_inspect_that_is_killed_comes_back_and_sync_does_not_notice(step):
    found = step("kill")
    before, after = found["before"], found["after"]

    assert int(after["inspect"]["NRestarts"]) == int(before["inspect"]["NRestarts"]) + 1
    assert after["inspect"]["MainPID"] != before["inspect"]["MainPID"]
    assert (after["sync"]["MainPID"], after["sync"]["NRestarts"]) == (
        before["sync"]["MainPID"],
        before["sync"]["NRestarts"],
    )
    assert len(found["heard"]) == 3


@pytest.mark.parametrize("name", ALWAYS_ON)
def test_a_service_that_stands_still_is_ended_by_the_watchdog_and_started_again(step, name):
    found = step("freeze")

    assert "Watchdog timeout" in found["journals"][name]
    assert found["after"][name]["MainPID"] != found["before"][name]["MainPID"]
    assert found["after"][name]["ActiveState"] == "active"
    assert len(found["heard"]) == 3


def test_an_invalid_configuration_ends_with_78_and_is_not_tried_again(step):
    found = step("invalid")

    assert found["check"] == 78
    assert found["rc"] != 0
    # "failed" is where systemd leaves a service for good; "auto-restart" would be one that it tries again.
    assert (found["broken"]["ExecMainStatus"], found["broken"]["SubState"]) == ("78", "failed")
    assert "did you mean fps?" in found["journal"]


def test_sync_outlives_an_inspect_that_is_refused_and_a_repaired_file_starts(step):
    found = step("invalid")
    before, after = found["sync"]

    assert after["MainPID"] == before["MainPID"]
    assert found["repaired"]["ActiveState"] == "active"


# --- what people do ---


def test_a_reload_of_the_target_applies_another_fps_without_a_restart(step):
    found = step("reload")

    assert found["rc"] == 0, found["said"]
    assert found["fps_before"] > 5
    assert found["fps_after"] < 4
    for name in ALWAYS_ON:
        assert found["after"][name]["MainPID"] == found["before"][name]["MainPID"]
        assert found["after"][name]["ActiveState"] == "active"


def test_a_learning_pass_by_hand_ends_with_success(step):
    found = step("learn_by_hand")

    assert (found["rc"], found["after"]["Result"], found["after"]["ExecMainStatus"]) == (0, "success", "0")
    assert "pass=learn" in found["journal"]


def test_touching_the_request_starts_a_learning_pass(step):
    after = step("learn_by_request")["after"]

    assert (after["Result"], after["ExecMainStatus"]) == ("success", "0")


def test_fine_tuning_asked_for_in_the_terminal_is_looked_at_by_its_own_unit(step):
    found = step("finetune_by_request")

    assert found["asked"][0] == 0, found["asked"]
    assert found["units"] == ["active", "active"]
    assert (found["after"]["Result"], found["after"]["ExecMainStatus"]) == ("success", "0")
    # Nobody has labelled anything here: it says so and trains nothing.
    assert "finetune=rest" in found["journal"]
    assert json.loads(found["told"])["models"]
    assert found["served"] == found["wanted"]


def test_a_stop_ends_both_in_time_and_leaves_stopped_at_the_broker(step):
    found = step("stop")

    assert {service["Result"] for service in found["services"].values()} == {"success"}
    assert {service["ActiveState"] for service in found["services"].values()} == {"inactive"}
    assert found["status"][0]["state"] == "stopped"
