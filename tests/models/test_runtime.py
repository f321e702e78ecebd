"""From profile and configuration to session options and flavour."""

from pathlib import Path

import pytest

from edge_agent.config.sections import DeviceKeys, Models
from edge_agent.device.profile import named
from edge_agent.models.runtime import flavour_of, runtime_of


def test_a_profile_decides_where_the_configuration_says_nothing():
    profile = named("x86-vnni")

    options = runtime_of(profile, DeviceKeys(), Path("/cache"))

    assert options.providers[0][0] == "CPUExecutionProvider"
    assert (options.intra_op_threads, options.allow_spinning) == (profile.inference.threads, profile.inference.spinning)
    assert flavour_of(profile, Models()) == "u8s8"


def test_the_configuration_overrides_threads_and_providers_and_keeps_their_options():
    profile = named("jetson-orin-nano-8gb")
    offered = profile.providers(threads=3)
    first = next(iter(offered))

    options = runtime_of(profile, DeviceKeys(providers=("CPUExecutionProvider", first), threads=3), Path("/cache"))

    assert options.providers == (
        ("CPUExecutionProvider", offered.get("CPUExecutionProvider", {})),
        (first, offered[first]),
    )
    assert options.intra_op_threads == 3


@pytest.mark.parametrize(("precision", "flavour"), [("auto", "symmetric"), ("int8", "symmetric"), ("fp32", "fp32")])
def test_precision_chooses_the_flavour(precision, flavour):
    profile = named("jetson-orin-nano-8gb")
    inference = profile.inference.model_copy(update={"int8": "symmetric"})

    assert flavour_of(profile.model_copy(update={"inference": inference}), Models(precision=precision)) == flavour


def test_a_device_without_a_quick_int8_runs_fp32_unless_int8_is_asked_for():
    profile = named("x86-vnni")
    slow = profile.model_copy(update={"inference": profile.inference.model_copy(update={"int8": "none"})})

    assert flavour_of(slow, Models()) == "fp32"
    assert flavour_of(slow, Models(precision="int8")) == "u8s8"
