"""The store: nothing comes in unchecked, nothing is half there, and the pointer moves last or not at all."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import safetensors.numpy

from edge_agent.errors import (
    BadBundleError,
    CorruptStoreError,
    ProviderError,
    StorageFullError,
    TransientError,
)
from edge_agent.models import arrays, bundle
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.models.vet import vet
from edge_agent.storage import replace_file
from tests.fakes.clock import FakeClock
from tests.fakes.tiny_model import CLASSES, tiny_bundle, tiny_head, tiny_onnx, tiny_pictures

FILES = (
    "encoder-u8s8.onnx",
    "head.safetensors",
    "golden.safetensors",
    "scores.safetensors",
    "code.safetensors",
    "manifest.json",
)
BLOBS = FILES[:-1]


@pytest.fixture
def active(store, pristine, runtime):
    """The digest of a bundle that is staged and active."""
    return store.activate("surface", store.stage(pristine), runtime).digest


def safetensors_metadata(content):
    """The free entries of a safetensors file (github.com/huggingface/safetensors: length, JSON header, data)."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def names(store):
    found = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}
    return found - {".lock", "journal.jsonl"}


# --- coming in -----------------------------------------------------------------------------------------------------


def test_a_staged_bundle_is_complete_and_its_digest_is_that_of_its_manifest(store, pristine):
    digest = store.stage(pristine)

    assert digest == bundle.digest((pristine / "manifest.json").read_bytes())
    assert len(names(store)) == len(FILES)
    assert [(model.digest, model.state) for model in store.list()] == [(digest, "staged")]


def test_staging_twice_changes_nothing(store, pristine):
    digest = store.stage(pristine)
    before = {name: (store.root / name).stat().st_mtime_ns for name in names(store)}

    assert store.stage(pristine) == digest
    assert {name: (store.root / name).stat().st_mtime_ns for name in names(store)} == before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(store, directory, name):
    (directory / name).unlink()

    with pytest.raises(BadBundleError, match=f"{name}: cannot be read"):
        store.stage(directory)
    assert names(store) == set()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_truncated_file_is_refused(store, directory, name, keep):
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[: int(len(content) * keep) if keep >= 0 else -1])

    with pytest.raises(BadBundleError):
        store.stage(directory)
    assert names(store) == set()


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_refused(store, directory, name, rng):
    content = bytearray((directory / name).read_bytes())
    content[rng.integers(len(content))] ^= 1
    (directory / name).write_bytes(content)

    with pytest.raises(BadBundleError):
        store.stage(directory)
    assert names(store) == set()


@pytest.mark.parametrize("name", FILES)
def test_a_byte_too_many_is_refused(store, directory, name):
    with (directory / name).open("ab") as file:
        file.write(b"\n")

    with pytest.raises(BadBundleError):
        store.stage(directory)


@pytest.mark.parametrize("name", FILES)
def test_a_link_is_refused_wherever_it_leads(store, directory, name, tmp_path):
    (directory / name).rename(tmp_path / "elsewhere")
    (directory / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadBundleError, match="cannot be read"):
        store.stage(directory)


def test_a_pipe_in_place_of_a_file_does_not_hold_the_store_for_ever(store, directory):
    (directory / "head.safetensors").unlink()
    os.mkfifo(directory / "head.safetensors")

    with pytest.raises(BadBundleError, match="not a regular file"):
        store.stage(directory)


def test_a_hostile_encoder_is_refused_though_its_hash_is_right(store, restated):
    model = tiny_onnx()
    model.graph.initializer[-1].external_data.add(key="location", value="/etc/passwd")

    with pytest.raises(BadBundleError, match="external data is not allowed"):
        store.stage(restated("encoder-u8s8.onnx", model.SerializeToString()))
    assert names(store) == set()


def test_an_encoder_of_another_size_than_the_manifest_says_is_refused(store, restated):
    with pytest.raises(BadBundleError, match=r"takes \(64, 64\) px, the manifest says \(32, 32\)"):
        store.stage(restated("encoder-u8s8.onnx", tiny_onnx((64, 64)).SerializeToString()))


def test_an_encoder_that_came_in_as_something_else_is_vetted_all_the_same(store, pristine, restated):
    store.stage(pristine)
    hostile = tiny_onnx()
    hostile.graph.node[0].op_type = "NonZero"
    # As if an older fault had let it into the store under its hash.
    content = hostile.SerializeToString()
    (store.root / "blobs" / bundle.describe(content, "x").sha256).write_bytes(content)

    with pytest.raises(BadBundleError, match="operator NonZero"):
        store.stage(restated("encoder-u8s8.onnx", content))


def test_an_encoder_is_vetted_once(pristine, tmp_path):
    seen = []

    def vetting(content):
        seen.append(len(content))
        return vet(content)

    store = ModelStore(tmp_path / "models", vetting=vetting)
    store.stage(pristine)
    store.stage(pristine)

    assert len(seen) == 1


@pytest.mark.parametrize("array", ["weights", "bias", "mean", "scale"])
def test_a_head_that_is_not_finite_is_refused(store, directory, restated, array):
    content = (directory / "head.safetensors").read_bytes()
    head = arrays.head_from_bytes(content, dimension=24)
    spoiled = {name: getattr(head, name).copy() for name in ("weights", "bias", "mean", "scale")}
    spoiled[array].flat[-1] = np.nan
    metadata = safetensors_metadata(content)
    with_metadata = safetensors.numpy.save(spoiled, metadata=metadata)

    with pytest.raises(BadBundleError, match=f"head: {array} holds NaN"):
        store.stage(restated("head.safetensors", with_metadata))


@pytest.mark.parametrize(
    "fields",
    [{"classes": ["ok", "dent"]}, {"threshold": 0.7}, {"temperature": 2.0}, {"good_classes": []}, {"hold_below": 0.0}],
)
def test_a_manifest_that_says_other_than_its_head_is_refused(store, restated, fields):
    with pytest.raises(BadBundleError, match="head: classes, thresholds or temperature are"):
        store.stage(restated(**fields))


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, pristine, active, store):
    def full(path, content):
        raise StorageFullError(f"{path}: no space left to write")

    other = tiny_bundle(tmp_path / "other", version="2", seed=5)
    before = names(store)

    with pytest.raises(StorageFullError):
        ModelStore(store.root, write=full).stage(other)
    assert names(store) == before
    assert store.active("surface") == active


# --- becoming active -------------------------------------------------------------------------------------------------


def test_nothing_is_active_at_first(store):
    assert store.active("surface") is None
    assert store.list() == ()


def test_an_active_model_judges(store, active, runtime):
    model = store.load(active, runtime)

    named = [
        model.head.classes[int(np.argmax(arrays.probabilities(model.head, model.encoder.encode(p).vector)))]
        for p in tiny_pictures(8, seed=3)
    ]

    assert named == ["ok", "scratch"] * 4


def test_activating_another_keeps_the_one_before_and_rolling_back_returns_to_it(store, active, runtime, tmp_path):
    other = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))

    store.activate("surface", other, runtime)
    assert {model.digest: model.state for model in store.list()} == {other: "active", active: "previous"}

    assert store.roll_back("surface") == active
    assert {model.digest: model.state for model in store.list()} == {other: "previous", active: "active"}
    assert store.roll_back("surface") == other


def test_activating_the_active_one_again_keeps_the_previous(store, active, runtime, tmp_path):
    other = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))
    store.activate("surface", other, runtime)
    store.activate("surface", other, runtime)

    assert store.roll_back("surface") == active


def test_there_is_no_rolling_back_from_the_first(store, active):
    with pytest.raises(BadBundleError, match="no previous bundle"):
        store.roll_back("surface")
    assert store.active("surface") == active


def test_a_damaged_previous_bundle_is_not_rolled_back_to(store, active, runtime, tmp_path):
    other = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))
    store.activate("surface", other, runtime)
    blob = store.root / "blobs" / store.manifest(active).encoder("u8s8").sha256
    blob.write_bytes(blob.read_bytes()[:-1])

    with pytest.raises(BadBundleError, match="truncated or altered"):
        store.roll_back("surface")
    assert store.active("surface") == other


def test_a_golden_vector_that_is_not_reproduced_keeps_the_pointer(store, active, runtime, pristine, restated):
    tensors = safetensors.numpy.load((pristine / "golden.safetensors").read_bytes())
    tensors["vector.u8s8"] = tensors["vector.u8s8"] * np.float32(1.01)
    digest = store.stage(restated("golden.safetensors", safetensors.numpy.save(tensors)))

    with pytest.raises(BadBundleError, match="golden picture 0: the vector is off by"):
        store.activate("surface", digest, runtime)
    assert store.active("surface") == active


def test_a_golden_score_that_is_not_reproduced_keeps_the_pointer(store, active, runtime, pristine, restated):
    tensors = safetensors.numpy.load((pristine / "scores.safetensors").read_bytes())
    swapped = safetensors.numpy.save({"u8s8": tensors["u8s8"][:, ::-1].copy()})
    digest = store.stage(restated("scores.safetensors", swapped))

    with pytest.raises(BadBundleError, match="golden picture 0: a probability is off by"):
        store.activate("surface", digest, runtime)
    assert store.active("surface") == active


def test_a_provider_that_is_not_there_keeps_the_pointer(store, active, tmp_path):
    other = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))

    with pytest.raises(ProviderError, match="TensorrtExecutionProvider is not part of"):
        store.activate("surface", other, RuntimeOptions(providers=(("TensorrtExecutionProvider", {}),)))
    assert store.active("surface") == active


def test_a_flavour_that_a_bundle_lacks_is_named(store, active, runtime):
    with pytest.raises(BadBundleError, match="has no encoder of flavour 'symmetric', only u8s8"):
        store.load(active, runtime, "symmetric")


def test_a_bundle_cannot_become_another_model(store, active, runtime):
    with pytest.raises(BadBundleError, match="is a model 'surface', not 'weld'"):
        store.activate("weld", active, runtime)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "Surface", ".hidden", "a/b"])
def test_a_name_that_is_no_name_never_becomes_a_path(store, name):
    with pytest.raises(BadBundleError, match="is not a model name"):
        store.active(name)


@pytest.mark.parametrize("digest", ["", "zz", "../manifests", "A" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(store, digest):
    with pytest.raises(BadBundleError, match="is not a bundle digest"):
        store.manifest(digest)


@pytest.mark.parametrize("name", BLOBS[:2])
def test_a_blob_that_rots_is_noticed_when_it_is_loaded(store, active, runtime, name):
    file = next(file for file in store.manifest(active).files if file.name == name)
    blob = store.root / "blobs" / file.sha256
    content = bytearray(blob.read_bytes())
    content[100] ^= 4
    blob.write_bytes(content)

    with pytest.raises(BadBundleError, match="truncated or altered"):
        store.load(active, runtime)


def test_importing_again_mends_a_blob_that_rotted(store, active, runtime, pristine):
    blob = store.root / "blobs" / store.manifest(active).head.sha256
    blob.write_bytes(b"rotten")

    store.stage(pristine)

    assert store.verify(active, runtime).digest == active


def test_a_manifest_that_rots_is_noticed(store, active):
    path = store.root / "manifests" / f"{active}.json"
    path.write_bytes(path.read_bytes().replace(b"0.6", b"0.7"))

    with pytest.raises(BadBundleError, match="altered, its digest is"):
        store.manifest(active)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"active": "zz", "previous": null}', b"\xff"])
def test_a_damaged_pointer_is_said_and_never_guessed(store, active, content):
    (store.root / "pointers" / "surface.json").write_bytes(content)

    with pytest.raises(CorruptStoreError, match=r"surface\.json"):
        store.active("surface")


# --- a new head ------------------------------------------------------------------------------------------------------


def test_a_new_head_shares_the_encoder_and_is_a_bundle_of_its_own(store, active, runtime):
    clock = FakeClock()
    blobs = len(list((store.root / "blobs").iterdir()))
    head = tiny_head(store.load(active, runtime).encoder, (*CLASSES, "dent"), seed=9)

    digest = ModelStore(store.root, clock=clock).with_head(active, head, "2")

    manifest, base = store.manifest(digest), store.manifest(active)
    assert manifest.encoders == base.encoders
    assert (manifest.version, manifest.classes, manifest.created) == (
        "2",
        (*CLASSES, "dent"),
        "2026-09-21T14:13:20.000Z",
    )
    assert len(list((store.root / "blobs").iterdir())) == blobs + 2
    assert store.activate("surface", digest, runtime).head.classes == (*CLASSES, "dent")


def test_a_head_that_does_not_fit_the_encoder_gets_no_digest(store, active, runtime):
    head = tiny_head(store.load(active, runtime).encoder)
    shorter = dataclasses.replace(head, weights=head.weights[:8], mean=head.mean[:8], scale=head.scale[:8])
    before = names(store)

    with pytest.raises((BadBundleError, ValueError)):
        store.with_head(active, shorter, "2")
    assert names(store) == before


# --- going -----------------------------------------------------------------------------------------------------------


def test_a_bundle_that_this_version_does_not_read_stands_in_nobodys_way(store, active, runtime, tmp_path):
    content = (store.root / "manifests" / f"{active}.json").read_bytes().replace(b'"feature_code"', b'"feature_cold"')
    old = bundle.digest(content)
    (store.root / "manifests" / f"{old}.json").write_bytes(content)

    assert [model.digest for model in store.list()] == [active]
    assert "feature_code" in store.unreadable()[old]
    newer = store.stage(tiny_bundle(tmp_path / "newer", version="9"))
    assert store.activate("surface", newer, runtime).digest == newer
    blobs = {path.name for path in (store.root / "blobs").iterdir()}
    with pytest.raises(BadBundleError, match="feature_code"):
        store.prune(keep=0)
    assert {path.name for path in (store.root / "blobs").iterdir()} == blobs
    assert {model.digest for model in store.list()} == {active, newer}


def test_pruning_keeps_active_previous_and_the_newest_and_no_other_blob(store, active, runtime, tmp_path):
    head = tiny_head(store.load(active, runtime).encoder, seed=4)
    later = [ModelStore(store.root, clock=FakeClock(1.8e9 + 60 * n)).with_head(active, head, f"{n}") for n in range(3)]
    store.activate("surface", later[0], runtime)
    (store.root / "blobs" / ("0" * 64)).write_bytes(b"left by a kill")
    (store.root / "manifests" / ".x.1.new").write_bytes(b"left by a kill")

    assert store.prune(keep=1) == (later[1],)

    assert {model.digest for model in store.list()} == {active, later[0], later[2]}
    wanted = {file.sha256 for model in store.list() for file in model.manifest.files}
    assert {path.name for path in (store.root / "blobs").iterdir()} == wanted
    assert not list((store.root / "manifests").glob(".*"))
    store.verify(store.roll_back("surface"), runtime)


# --- kills and crowds --------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.storage import replace_file

root, directory, step, how = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
writes = 0

def write(path, content):
    global writes
    if writes == step and how == "half":
        path.with_name(f".{path.name}.{os.getpid()}.new").write_bytes(content[: len(content) // 2])
    if writes == step and how == "after":
        replace_file(path, content)
    if writes == step:
        os.kill(os.getpid(), signal.SIGKILL)
    replace_file(path, content)
    writes += 1

store = ModelStore(root, write=write)
store.activate("surface", store.stage(directory), RuntimeOptions())
"""
STEPS = range(len(FILES) + 1)  # each file of the bundle, the manifest last, then the pointer


@pytest.mark.parametrize("kill", [(step, how) for step in STEPS for how in ("half", "after")], ids=str)
def test_a_kill_at_any_write_leaves_the_old_model_or_the_new_one(store, active, runtime, tmp_path, kill):
    step, how = kill
    other = tiny_bundle(tmp_path / "other", version="2", seed=5)
    expected = bundle.digest((other / "manifest.json").read_bytes())

    child = subprocess.run(
        [sys.executable, "-c", KILLED, store.root, other, str(step), how], capture_output=True, check=False
    )

    assert child.returncode == -signal.SIGKILL, child.stderr
    moved = how == "after" and step == STEPS[-1]
    assert store.active("surface") == (expected if moved else active)
    store.verify(store.active("surface"), runtime)
    for model in store.list():
        store.verify(model.digest, runtime)
    # And nothing stands in the way of trying again.
    assert store.activate("surface", store.stage(other), runtime).digest == expected
    store.prune(keep=0)
    assert len(names(store)) == 2 * len(FILES) + 1


def test_two_writers_take_turns_or_are_told_to_come_back(store, pristine, tmp_path):
    inside, leave = threading.Event(), threading.Event()

    def slow(path, content):
        inside.set()
        assert leave.wait(20)
        replace_file(path, content)

    writer = threading.Thread(target=ModelStore(store.root, write=slow).stage, args=(pristine,))
    writer.start()
    assert inside.wait(20)
    with pytest.raises(TransientError, match="another process is changing models"):
        store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))
    leave.set()
    writer.join(20)

    assert len(store.list()) == 1


def test_readers_in_many_threads_always_see_a_whole_model(store, active, runtime, tmp_path):
    other = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=5))
    done = threading.Event()
    faults = []

    def read():
        while not done.is_set():
            model = store.load(store.active("surface"), runtime)
            if model.digest not in {active, other}:
                faults.append(model.digest)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for digest in [other, active] * 5:
        store.activate("surface", digest, runtime)
    done.set()
    for reader in readers:
        reader.join(20)

    assert faults == []


def test_whoever_only_looks_leaves_nothing_behind(tmp_path):
    store = ModelStore(tmp_path / "models")

    assert store.list() == ()
    assert store.active("surface") is None
    assert store.previous("surface") is None
    assert not (tmp_path / "models").exists()
