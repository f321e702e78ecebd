from __future__ import annotations

import string
from pathlib import Path

import pytest

from edge_agent.config.faults import InvalidConfigError
from edge_agent.device.profile import FALLBACK, named, parse, profiles

FOLDER = Path(__file__).parents[2] / "firmware_profiles"
GOOD = (FOLDER / "x86-vnni.yaml").read_bytes()
# What a camera's pipeline may leave open; whoever opens it fills these in.
PLACEHOLDERS = {"sensor", "width", "height", "fps", "url"}


def test_every_file_is_valid_and_named_after_itself():
    assert set(profiles()) == {path.stem for path in FOLDER.glob("*.yaml")}
    assert all(profile.name == name for name, profile in profiles().items())
    assert FALLBACK in profiles()


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_profile_keeps_its_own_promises(name):
    profile = profiles()[name]
    assert profile.thermal.pause_training_c < profile.thermal.slow_inspection_c
    assert profile.memory.training_needs_available_bytes > profile.memory.training_bytes
    assert profile.evidence.notes
    assert profile.evidence.date or not profile.evidence.tested_on_hardware
    for pipeline in profile.capture.pipelines.values():
        fields = {name for _, name, _, _ in string.Formatter().parse(pipeline) if name}
        assert fields <= PLACEHOLDERS


def test_the_cache_of_engines_is_left_open_for_the_folder_of_each_encoder():
    providers = named("jetson-orin-nano-8gb").providers(threads=2)
    assert list(providers) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert providers["TensorrtExecutionProvider"]["trt_engine_cache_path"] == "{engine_cache}"


def test_a_provider_with_threads_of_its_own_gets_those_of_the_configuration():
    assert named("x86-openvino").providers(threads=3)["OpenVINOExecutionProvider"]["num_of_threads"] == "3"


# The options that docs/devices.md asks for: a cache lost is minutes at every start, the default arena takes all memory.
OPTIONS = {
    "TensorrtExecutionProvider": {
        "device_id",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_max_workspace_size",
        "trt_builder_optimization_level",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
    },
    "CUDAExecutionProvider": {"device_id", "arena_extend_strategy", "gpu_mem_limit", "cudnn_conv_algo_search"},
    "OpenVINOExecutionProvider": {"device_type", "precision", "num_of_threads", "num_streams", "cache_dir"},
    "CPUExecutionProvider": set(),
}
JETSONS = sorted(name for name in profiles() if name.startswith("jetson-"))


@pytest.mark.parametrize("name", sorted(profiles()))
def test_a_provider_has_the_options_it_needs_and_every_cache_is_in_the_folder_of_the_model(name):
    for provider, options in profiles()[name].providers(threads=1).items():
        assert set(options) == OPTIONS[provider]
        folders = {value for key, value in options.items() if key.endswith(("_path", "_dir"))}
        assert folders <= {"{engine_cache}"}
        assert "{" not in "".join(options.values()).replace("{engine_cache}", "")


@pytest.mark.parametrize("name", sorted(profiles()))
def test_int8_is_on_in_tensorrt_exactly_where_the_profile_takes_int8(name):
    profile = profiles()[name]
    options = profile.providers(threads=1).get("TensorrtExecutionProvider")
    if options is not None:
        # A calibration table must not be given with models that carry their own scales (QDQ), as ours do.
        assert not [key for key in options if "calibration" in key]
        assert options["trt_int8_enable"] == ("0" if profile.inference.int8 == "none" else "1")
        assert profile.inference.int8 in ("none", "symmetric")
        assert profile.inference.first_start_s >= 600  # a first engine takes 9 to 12 minutes in public reports


@pytest.mark.parametrize("name", JETSONS)
def test_every_jetson_decodes_alike_and_says_that_it_was_not_tried(name):
    profile = profiles()[name]
    assert profile.capture == named("jetson-orin-nano-8gb").capture
    assert set(profile.capture.pipelines) == {"csi", "rtsp-h264", "rtsp-h265"}
    assert not profile.evidence.tested_on_hardware
    assert profile.power.modes
    assert profile.releases is not None


def test_a_bigger_module_of_a_family_never_gets_less():
    for small, big in (
        ("orin-nano-4gb", "orin-nano-8gb"),
        ("orin-nx-8gb", "orin-nx-16gb"),
        ("agx-orin-32gb", "agx-orin-64gb"),
    ):
        less, more = named(f"jetson-{small}"), named(f"jetson-{big}")
        assert less.memory.inspect_bytes <= more.memory.inspect_bytes
        assert less.memory.training_bytes < more.memory.training_bytes


def test_a_jetson_nano_runs_in_fp16():
    inference = named("jetson-nano").inference
    assert (inference.int8, inference.float) == ("none", "fp16")


def test_x86_takes_unsigned_activations_and_tensorrt_symmetric_ones():
    assert named("x86-vnni").inference.int8 == "u8s8"
    assert named("jetson-orin-nano-8gb").inference.int8 == "symmetric"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(InvalidConfigError, match="did you mean x86-vnni"):
        named("x86-vnii")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        (b"rank: 20", b"rnk: 20", "rnk"),
        (b"spinning: false", b"spinning: off", "inference.spinning"),
        (b"name: CPUExecutionProvider", b"name: CPU", "inference.providers.0.name"),
        (b"pause_training_c: 80", b"pause_training_c: 800", "thermal.pause_training_c"),
        (b"int8: u8s8", b"int8: s8s8", "inference.int8"),
    ],
)
def test_a_fault_in_a_profile_has_its_place(old, new, key):
    with pytest.raises(InvalidConfigError) as caught:
        parse(GOOD.replace(old, new), "mine.yaml", "mine")
    faults = {fault.key: fault for fault in caught.value.faults}
    line = GOOD[: GOOD.index(old)].count(b"\n") + 1
    assert faults[key].line == line
    assert faults[key].file == "mine.yaml"


@pytest.mark.parametrize("name", sorted(profiles()))
def test_the_documentation_has_a_row_of_every_profile_with_its_power_modes(name):
    page = (FOLDER.parent / "docs" / "devices.md").read_text()
    assert f"`{name}`" in page
    row = next((line for line in page.splitlines() if line.startswith(f"| `{name}` |")), "")
    modes = profiles()[name].power.modes
    # The modes of a Xavier NX with fewer cores are summed up.
    assert all(mode in row or "_4CORE" in mode or "_2CORE" in mode for mode in modes)
