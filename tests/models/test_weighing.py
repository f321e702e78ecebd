"""How much memory models take, as a process of its own says."""

import pytest

from edge_agent.errors import BadBundleError
from edge_agent.models import weighing
from edge_agent.models.encoder import RuntimeOptions
from tests.fakes.tiny_model import FLAVOUR, tiny_bundle

MIB = 1024 * 1024


def test_a_process_that_holds_a_model_has_at_least_its_runtime(store, pristine, runtime):
    digest = store.stage(pristine)

    assert 20 * MIB < weighing.weigh(store.root, [digest], runtime, FLAVOUR) < 2048 * MIB


def test_more_pixels_weigh_more(store, pristine, runtime, tmp_path):
    small = store.stage(pristine)
    large = store.stage(tiny_bundle(tmp_path / "large", version="large", input_px=(1024, 1024)))

    weights = [weighing.weigh(store.root, [digest], runtime, FLAVOUR) for digest in (small, large)]

    # Eight channels of half the width and height alone are 8 MiB in float.
    assert weights[1] > weights[0] + 8 * MIB


def test_what_cannot_be_loaded_there_is_refused_in_its_words(store, runtime):
    with pytest.raises(BadBundleError, match="memory: no bundle 0000"):
        weighing.weigh(store.root, ["0" * 64], runtime, FLAVOUR)


def test_a_provider_that_is_not_here_is_said(store, pristine):
    elsewhere = RuntimeOptions(providers=(("NoSuchExecutionProvider", {}),))

    with pytest.raises(BadBundleError, match="NoSuchExecutionProvider"):
        weighing.weigh(store.root, [store.stage(pristine)], elsewhere, FLAVOUR)


def test_a_child_that_dies_without_a_word_is_refused(store, pristine, runtime, monkeypatch, tmp_path):
    """As one that the kernel killed for its memory: whatever stands in its place gives no answer."""
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nkill -9 $$\n")
    silent.chmod(0o755)
    monkeypatch.setattr(weighing.sys, "executable", str(silent))

    with pytest.raises(BadBundleError, match="ended with status -9 and no answer"):
        weighing.weigh(store.root, [store.stage(pristine)], runtime, FLAVOUR)
