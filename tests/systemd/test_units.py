"""The systemd units: clean for systemd's own checker, sandboxed as the design promises."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = tuple(f"edge-agent-{name}" for name in ("inspect", "sync", "learn", "finetune", "review"))
EXPOSURE_LIMIT = 1.5

pytestmark = pytest.mark.systemd


def unit(name: str) -> dict[str, list[str]]:
    """Key -> values of a unit file, in order; systemd lets a key stand more than once."""
    values: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            values.setdefault(key, []).append(value)
    return values


@pytest.fixture
def installed(tmp_path):
    """The units with a program that exists, as an installation has them: verify looks for the executable."""
    for file in UNITS.iterdir():
        (tmp_path / file.name).write_text(file.read_text().replace("/usr/bin/edge-agent", shutil.which("true")))
    return tmp_path


def test_systemd_analyze_verify_has_nothing_to_say(installed):
    files = sorted(str(file) for file in installed.iterdir())

    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)

    # verify exits 0 on an unknown key and only mentions it on stderr (systemd 252).
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_verify_notices_a_misspelt_key(installed):
    file = installed / "edge-agent-sync.service"
    file.write_text(file.read_text().replace("WatchdogSec=", "WatchdogSecs="))

    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)

    assert "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_the_exposure_of_each_service_is_at_most_one_point_five(service):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / f"{service}.service")],
        capture_output=True,
        text=True,
        check=True,
    )

    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= EXPOSURE_LIMIT, done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_configuration_is_not_tried_again_and_the_service_is_told_to_prove_progress(service):
    keys = unit(f"{service}.service")

    assert keys["RestartPreventExitStatus"] == ["78 69"]
    assert keys["Type"] == ["notify"]
    assert int(keys["WatchdogSec"][0]) > 0
    assert keys["User"] == ["edge-agent"]


def test_sync_reaches_no_device_and_no_evidence():
    keys = unit("edge-agent-sync.service")

    assert keys["PrivateDevices"] == ["yes"]
    assert keys["DevicePolicy"] == ["closed"]
    assert keys["InaccessiblePaths"] == ["-/var/lib/edge-agent/evidence -/run/edge-agent/live"]
    assert "edge-agent/live" in keys["RuntimeDirectory"][0].split()
    assert "DeviceAllow" not in keys


@pytest.mark.parametrize("service", ["edge-agent-learn", "edge-agent-finetune"])
def test_what_learns_reaches_no_network_and_no_device_and_comes_after_everything_else(service):
    keys = unit(f"{service}.service")

    assert (keys["CPUSchedulingPolicy"], keys["Nice"]) == (["idle"], ["19"])

    assert keys["PrivateNetwork"] == ["yes"]
    assert keys["PrivateDevices"] == ["yes"]
    assert keys["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_what_trains_cannot_see_the_sealed_pictures_and_only_it_may_write_code():
    keys = unit("edge-agent-finetune.service")

    assert "-/var/lib/edge-agent/evidence/sealed" in keys["InaccessiblePaths"][0].split()
    assert keys["IOSchedulingClass"] == ["idle"]
    assert "MemoryDenyWriteExecute" not in keys  # torch generates code when it trains
    assert unit("edge-agent-learn.service")["MemoryDenyWriteExecute"] == ["yes"]


def test_inspect_reaches_only_private_addresses_where_cameras_are():
    keys = unit("edge-agent-inspect.service")

    assert keys["IPAddressDeny"] == ["any"]
    assert "0.0.0.0/0" not in " ".join(keys["IPAddressAllow"])


def test_learning_dies_first_then_the_page_then_sync_and_inspection_last():
    order = {service: int(unit(f"{service}.service")["OOMScoreAdjust"][0]) for service in SERVICES}

    assert (
        order["edge-agent-learn"] > order["edge-agent-review"] > order["edge-agent-sync"] > order["edge-agent-inspect"]
    )


def test_the_page_reaches_no_device_no_model_no_outbox_and_only_private_addresses():
    keys = unit("edge-agent-review.service")

    assert keys["PrivateDevices"] == ["yes"]
    assert keys["DevicePolicy"] == ["closed"]
    hidden = keys["InaccessiblePaths"][0].split()
    assert {path.rpartition("/")[2] for path in hidden} == {"models", "outbox.db", "inbox.db"}
    assert keys["IPAddressDeny"] == ["any"]
    assert "0.0.0.0/0" not in " ".join(keys["IPAddressAllow"])
    assert keys["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert "LoadCredential" not in keys


def test_the_target_pulls_in_every_unit_but_the_page_which_a_person_enables():
    wanted = " ".join(unit("edge-agent.target")["Wants"]).split()
    others = {file.name for file in UNITS.iterdir()} - {"edge-agent.target"}

    started_by_those = {"edge-agent-learn.service", "edge-agent-finetune.service"}
    assert set(wanted) | started_by_those | {"edge-agent-review.service"} == others
    assert "edge-agent-review.service" not in wanted


def test_the_units_parse_as_ini_without_duplicate_sections():
    for file in UNITS.iterdir():
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str
        parser.read_string(file.read_text())
        assert "Unit" in parser
