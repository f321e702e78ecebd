from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.device import health
from edge_agent.device.profile import named, profiles

TREES = Path(__file__).parents[1] / "data" / "devices"


def test_a_machine_that_says_nothing_has_no_health_and_no_fault(tmp_path):
    reading = health.read(tmp_path)
    assert reading == health.Health()
    assert set(reading.numbers().values()) == {None}
    assert reading.hottest_c() is None


@pytest.mark.parametrize("tree", sorted(path.name for path in TREES.iterdir() if path.is_dir()))
def test_every_tree_can_be_read(tree):
    health.read(TREES / tree)


def test_zones_that_are_offline_unreadable_or_no_sensor_are_left_out():
    assert health.temperatures_c(TREES / "offline-zones") == {"tj-thermal": 41.0}
    jetson = health.temperatures_c(TREES / "jetson-orin-nano-8gb")
    assert jetson == {"cpu-thermal": 49.312, "gpu-thermal": 51.093, "soc0-thermal": 48.5, "tj-thermal": 51.093}


def test_sensors_of_an_x86_cpu_count_too_and_the_hottest_core_counts():
    assert health.temperatures_c(TREES / "x86-vnni") == {"acpitz": 27.8, "x86_pkg_temp": 54.0, "coretemp": 55.0}


def test_the_hottest_is_taken_of_the_zones_of_the_profile():
    reading = health.read(TREES / "x86-vnni")
    assert reading.hottest_c(("acpi*",)) == 27.8
    assert reading.hottest_c(named("x86-vnni").thermal.zones) == 55.0
    assert reading.hottest_c(("tj*",)) is None


BOARDS = sorted(path.parent.parent.name for path in TREES.glob("jetson-*/etc/nvpmodel.conf"))


@pytest.mark.parametrize(
    ("tree", "profile"),
    [(tree, tree.replace("-devkit", "-32gb")) for tree in (*BOARDS, "raspberry-pi-5")]
    + [("arm64-board", "generic-arm64")],
)
def test_the_zones_of_a_profile_exist_on_its_machine(tree, profile):
    assert health.read(TREES / tree).hottest_c(profiles()[profile].thermal.zones) is not None


def test_a_jetson_tells_load_power_throttling_and_its_mode_by_name():
    reading = health.read(TREES / "jetson-orin-nano-8gb")
    assert reading.gpu_load == 0.37
    assert reading.power_w == pytest.approx(5.056 * 1.092)
    assert reading.throttle_events == 4
    assert reading.power_mode == "25W"
    assert reading.power_mode in named("jetson-orin-nano-8gb").power.modes


def test_a_jetson_with_jetpack_4_tells_its_power_in_another_place_and_unit():
    assert health.power_w(TREES / "jetson-nano") == pytest.approx(2.137)


@pytest.mark.parametrize("tree", BOARDS)
def test_the_mode_a_jetson_is_in_is_known_to_its_profile_by_name(tree):
    profile = named(tree.replace("-devkit", "-32gb"))
    assert health.power_mode(TREES / tree) in profile.power.modes


def test_a_mode_is_named_without_the_prefix_that_only_some_releases_write():
    assert "NAME=MODE_30W_ALL" in (TREES / "jetson-agx-xavier/etc/nvpmodel.conf").read_text()
    assert health.power_mode(TREES / "jetson-agx-xavier") == "30W_ALL"


def test_memory_and_frequency():
    reading = health.read(TREES / "x86-vnni")
    assert reading.memory_total_bytes == 16181236 * 1024
    assert reading.memory_available_bytes == 12000000 * 1024
    assert reading.cpu_frequency_share == 0.5
