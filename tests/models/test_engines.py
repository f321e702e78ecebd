"""Engines are kept by runtime, machine and the bytes of the encoder, and go when nobody needs them."""

import dataclasses
from pathlib import Path

import pytest

from edge_agent.config.sections import DeviceKeys
from edge_agent.device.profile import named, profiles
from edge_agent.models import engines
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.runtime import runtime_of
from edge_agent.models.store import ModelStore
from tests.fakes.tiny_model import tiny_bundle

ONE, TWO = "1" * 64, "2" * 64
COMPILING = sorted(name for name, profile in profiles().items() if "{engine_cache}" in str(profile.providers(1)))


def options_of(name, cache):
    return runtime_of(named(name), DeviceKeys(), cache)


@pytest.mark.parametrize("name", COMPILING)
def test_two_encoders_of_one_graph_never_share_a_folder(tmp_path, name):
    runtime = options_of(name, tmp_path / "cache" / "key")

    one, two = engines.prepared(runtime, ONE), engines.prepared(runtime, TWO)

    assert engines.folder(runtime, ONE) != engines.folder(runtime, TWO)
    for prepared, sha256 in ((one, ONE), (two, TWO)):
        place = engines.folder(runtime, sha256)
        paths = [value for _, options in prepared.providers for key, value in options.items() if str(tmp_path) in value]
        assert paths
        assert all(Path(path) == place for path in paths)
        assert place.is_dir()
        assert "{" not in str(prepared.providers).replace("({", "").replace(", {", "")


def test_a_device_that_compiles_nothing_has_no_folder_and_makes_none(tmp_path):
    runtime = options_of("x86-vnni", tmp_path / "cache" / "key")

    assert engines.prepared(runtime, ONE) == runtime
    assert not engines.to_be_built(runtime, ONE)
    assert not (tmp_path / "cache").exists()


def test_an_engine_is_to_be_built_until_something_lies_in_its_folder(tmp_path):
    runtime = options_of("x86-openvino", tmp_path / "cache" / "key")
    assert engines.to_be_built(runtime, ONE)

    engines.prepared(runtime, ONE)
    assert engines.to_be_built(runtime, ONE)

    (engines.folder(runtime, ONE) / "model.blob").write_bytes(b"engine")
    assert not engines.to_be_built(runtime, ONE)
    assert engines.to_be_built(runtime, TWO)


def test_what_no_bundle_and_no_present_runtime_needs_is_removed_and_the_rest_stays(tmp_path):
    runtime = options_of("x86-openvino", tmp_path / "cache" / "now")
    before = dataclasses.replace(runtime, engine_cache=tmp_path / "cache" / "before-the-update")
    for one in (runtime, before):
        for sha256 in (ONE, TWO):
            engines.prepared(one, sha256)
            (engines.folder(one, sha256) / "engine").write_bytes(b"x")

    gone = engines.prune(runtime, {ONE})

    assert set(gone) == {engines.folder(runtime, TWO), before.engine_cache}
    assert (engines.folder(runtime, ONE) / "engine").exists()
    assert not before.engine_cache.exists()
    assert engines.prune(runtime, {ONE}) == ()


def test_the_store_prunes_engines_of_encoders_it_no_longer_holds(tmp_path):
    store = ModelStore(tmp_path / "models")
    digest = store.stage(tiny_bundle(tmp_path / "bundle"))
    sha256 = store.manifest(digest).encoder("u8s8").sha256
    runtime = options_of("x86-openvino", tmp_path / "cache" / "key")
    assert store.builds_engine(digest, runtime)
    for each in (sha256, ONE):
        engines.prepared(runtime, each)
        (engines.folder(runtime, each) / "engine").write_bytes(b"x")

    store.prune_engines(runtime)

    assert not store.builds_engine(digest, runtime)
    assert not engines.folder(runtime, ONE).exists()


def test_nothing_is_pruned_where_nothing_was_built(tmp_path):
    assert engines.prune(options_of("x86-openvino", tmp_path / "none" / "key"), ()) == ()
    assert engines.prune(RuntimeOptions(), ()) == ()
