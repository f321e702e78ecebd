"""Bundles of a few kilobytes: written once per session, copied where a test changes them."""

import json
import shutil

import numpy as np
import pytest

from edge_agent.models import bundle
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.tiny_model import tiny_bundle

PLAIN_FILES = ("head", "golden", "scores", "feature_code")  # fields of a manifest that name one file


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A valid bundle that nobody changes."""
    return tiny_bundle(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def directory(pristine, tmp_path):
    """A valid bundle that a test may spoil."""
    return shutil.copytree(pristine, tmp_path / "bundle")


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def runtime():
    return RuntimeOptions()


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def restated(directory):
    """Replace a file of the bundle, or fields of its manifest, so that hashes and sizes agree again."""

    def restate(name=None, content=None, **fields):
        path = directory / bundle.MANIFEST_NAME
        value = json.loads(path.read_bytes()) | fields
        if name is not None:
            (directory / name).write_bytes(content)
            entry = next(
                entry
                for entry in (*(value[key] for key in PLAIN_FILES), *value["encoders"].values())
                if entry["name"] == name
            )
            described = bundle.describe(content, name)
            entry["size"], entry["sha256"] = described.size, described.sha256
        path.write_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
        return directory

    return restate
