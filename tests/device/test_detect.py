from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.device.detect import choose, detect, release, tensorrt
from edge_agent.device.profile import profiles

TREES = Path(__file__).parents[1] / "data" / "devices"
CHOSEN = {
    "x86-vnni": ("x86_64", "x86-vnni"),
    "x86-avx512-vnni": ("x86_64", "x86-vnni"),
    "x86-avx2": ("x86_64", "x86-avx2"),
    "x86-avx512-without-vnni": ("x86_64", "x86-avx2"),
    "x86-old": ("x86_64", "generic-x86"),
    "jetson-orin-nano-8gb": ("aarch64", "jetson-orin-nano-8gb"),
    "jetson-orin-nano-8gb-module-r35": ("aarch64", "jetson-orin-nano-8gb"),
    "jetson-orin-nano-8gb-in-container": ("aarch64", "jetson-orin-nano-8gb"),
    "jetson-nano": ("aarch64", "jetson-nano"),
    "jetson-xavier-nx": ("aarch64", "jetson-xavier-nx"),
    "jetson-agx-xavier": ("aarch64", "jetson-agx-xavier"),
    "jetson-orin-nano-4gb": ("aarch64", "jetson-orin-nano-4gb"),
    "jetson-orin-nx-8gb": ("aarch64", "jetson-orin-nx-8gb"),
    "jetson-orin-nx-16gb": ("aarch64", "jetson-orin-nx-16gb"),
    "jetson-agx-orin-devkit": ("aarch64", "jetson-agx-orin-32gb"),
    "jetson-agx-orin-32gb": ("aarch64", "jetson-agx-orin-32gb"),
    "jetson-agx-orin-64gb": ("aarch64", "jetson-agx-orin-64gb"),
    "jetson-thor-t5000": ("aarch64", "jetson-thor-t5000"),
    "raspberry-pi-5": ("aarch64", "raspberry-pi-5"),
    "arm64-board": ("aarch64", "generic-arm64"),
    "x86-nvidia-driver": ("x86_64", "x86-vnni"),
    "offline-zones": ("x86_64", "generic-x86"),
}


def chosen(tree: str, wanted: str = "auto"):
    return choose(detect(TREES / tree, CHOSEN[tree][0]), profiles(), wanted)


@pytest.mark.parametrize("tree", sorted(CHOSEN))
def test_each_machine_gets_its_profile_with_a_reason(tree):
    choice = chosen(tree)
    assert choice.profile.name == CHOSEN[tree][1]
    assert choice.reason


def test_every_tree_is_tested():
    assert {path.name for path in TREES.iterdir() if path.is_dir()} == set(CHOSEN)


def test_every_profile_is_found_on_a_tree_or_is_for_choosing_by_name():
    found = {profile for _, profile in CHOSEN.values()}
    by_name = {name for name, profile in profiles().items() if profile.detect.by_name}
    assert found.isdisjoint(by_name)
    assert found | by_name == set(profiles())


@pytest.mark.parametrize("tree", sorted(tree for tree in CHOSEN if "-r35" not in tree and "container" not in tree))
def test_a_profile_fits_its_machine_without_a_warning(tree):
    assert chosen(tree).warnings == ()


def test_no_module_belongs_to_two_profiles():
    modules = [module for profile in profiles().values() for module in profile.detect.modules]
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize("name", ["x86-openvino", "x86-nvidia"])
def test_what_needs_a_wheel_of_its_own_is_used_only_where_it_is_named(name):
    choice = chosen("x86-nvidia-driver", name)
    assert choice.profile.name == name
    assert choice.warnings == ()
    assert "aarch64" in chosen("raspberry-pi-5", name).warnings[0]


def test_a_board_of_another_name_is_said():
    assert chosen("arm64-board", "raspberry-pi-5").warnings[0].endswith("the profile is for raspberrypi,5-model-b")


def test_the_reason_names_what_was_recognised():
    assert chosen("x86-vnni").reason == "x86_64, CPU flag avx_vnni"
    assert chosen("jetson-orin-nano-8gb").reason == "aarch64, module p3767-0005"
    assert chosen("raspberry-pi-5").reason == "aarch64, board raspberrypi,5-model-b"
    assert chosen("x86-old").reason == "x86_64, nothing more special was recognised"


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "generic-x86"), ("aarch64", "generic-arm64")])
def test_a_tree_without_any_file_falls_to_the_generic_profile(tmp_path, machine, name):
    choice = choose(detect(tmp_path, machine), profiles())
    assert choice.profile.name == name
    assert "nothing more special" in choice.reason
    assert choice.warnings == ()


def test_an_unknown_machine_gets_the_fall_back_and_a_warning(tmp_path):
    choice = choose(detect(tmp_path, "riscv64"), profiles())
    assert choice.profile.name == "generic-x86"
    assert "riscv64" in choice.warnings[0]


def test_texts_of_the_device_tree_end_with_nul():
    device = detect(TREES / "jetson-orin-nano-8gb", "aarch64")
    assert device.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert device.modules == ("p3768-0000", "p3767-0005")
    assert (device.soc, device.l4t, device.threads) == ("tegra234", "36.4.3", 6)
    assert device.memory_bytes == 7801856 * 1024


def test_ids_may_stand_only_in_the_name_of_the_device_tree_source():
    assert detect(TREES / "jetson-orin-nano-8gb-module-r35", "aarch64").modules == ("p3767-0003",)


def test_a_release_outside_the_range_is_a_warning_not_another_profile():
    assert "35.5.0" in chosen("jetson-orin-nano-8gb-module-r35").warnings[0]
    assert "container" in chosen("jetson-orin-nano-8gb-in-container").warnings[0]
    assert chosen("jetson-orin-nano-8gb").warnings == ()


def test_a_profile_that_a_person_names_is_used_and_what_does_not_match_is_said():
    choice = chosen("x86-avx2", "x86-vnni")
    assert choice.profile.name == "x86-vnni"
    assert choice.warnings == ("the CPU has none of avx512_vnni, avx_vnni",)
    assert "aarch64" in chosen("x86-avx2", "jetson-orin-nano-8gb").warnings[0]
    assert chosen("x86-vnni", "x86-vnni").warnings == ()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R32 (release), REVISION: 7.6, GCID: 1", "32.7.6"),
        ("# R38 (release), REVISION: 2.0", "38.2.0"),
        ("", None),
        ("something else", None),
    ],
)
def test_the_release_is_read_from_its_first_line(line, found):
    assert release(line + "\n# more\n") == found


def test_what_is_no_text_does_not_stop_detection(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_bytes(b"\xff\xfe\x00flags : \x80")
    assert choose(detect(tmp_path, "x86_64"), profiles()).profile.name == "generic-x86"


def test_the_version_of_tensorrt_is_that_of_its_library(tmp_path):
    assert tensorrt(tmp_path) is None
    folder = tmp_path / "usr/lib/aarch64-linux-gnu"
    folder.mkdir(parents=True)
    for name in (
        "libnvinfer.so",
        "libnvinfer.so.10",
        "libnvinfer.so.10.3.0",
        "libnvinfer.so.old",
        "libnvinfer_plugin.so.9.9.9",
    ):
        (folder / name).touch()
    assert tensorrt(tmp_path) == detect(tmp_path, "aarch64").tensorrt == "10.3.0"
