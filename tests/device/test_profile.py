from __future__ import annotations

import string
from pathlib import Path

import pytest

from edge_agent.config.faults import InvalidConfigError
from edge_agent.device.profile import FALLBACK, named, parse, profiles

FOLDER = Path(__file__).parents[2] / "firmware_profiles"
GOOD = (FOLDER / "x86-vnni.yaml").read_bytes()
# What a camera's pipeline may leave open; whoever opens it fills these in.
PLACEHOLDERS = {"sensor", "width", "height", "fps", "url", "device"}


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


def test_the_cache_of_engines_is_where_it_is_told_to_be():
    providers = named("jetson-orin-nano-8gb").providers(Path("/state/engines/abc"))
    assert [name for name, _ in providers] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert providers[0][1]["trt_engine_cache_path"] == "/state/engines/abc"


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
