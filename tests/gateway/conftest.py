"""What the specification of the gateway stands on: a broker, tiny models in a store, pictures, gateways that end."""

import contextlib
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from tests.fakes.broker import Broker
from tests.fakes.gateway import Gateway
from tests.fakes.tiny_model import tiny_bundle
from tests.gateway.witness import Witness

GOOD, SCRATCHED = "good.png", "scratched.png"
# For streams of a drawn picture: without noise it repeats itself exactly, as no camera does.
NO_SENSOR = {"health": []}


def picture(seed, *, line=False, size_px=32):
    """uint8 [size, size, 3]: grey noise, with a bright line across it if asked for; what the tiny head was taught."""
    pixels = np.random.default_rng(seed).integers(90, 120, (size_px, size_px, 3), dtype=np.uint8)
    if line:
        pixels[size_px // 3 : size_px // 3 + size_px // 8] = 250
    return pixels


def save(path, pixels):
    """Write a picture so that a watched folder sees all of it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    hidden.rename(path)


@contextlib.contextmanager
def short_folder():
    """A folder with a short path, for unix sockets."""
    with tempfile.TemporaryDirectory(prefix="ea-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Two versions of the model `surface`, as directories."""
    folder = tmp_path_factory.mktemp("bundles")
    return tuple(tiny_bundle(folder / f"v{n}", version=str(n), seed=n) for n in (1, 2))


@pytest.fixture(scope="session")
def models(bundles, tmp_path_factory):
    """A model store in which the first version is active."""
    store = ModelStore(tmp_path_factory.mktemp("store") / "models")
    store.activate("surface", store.stage(bundles[0]), RuntimeOptions())
    return store.root


@pytest.fixture(scope="session")
def line(tmp_path_factory):
    """A folder camera that shows a good and a scratched part in turn, for ever."""
    folder = tmp_path_factory.mktemp("line")
    save(folder / GOOD, picture(1))
    save(folder / SCRATCHED, picture(2, line=True))
    return {"source": f"folder:{folder}?loop=1", "fps": 20, "mode": "trained"}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def witness(broker):
    """Listens from now on; what it heard is held against docs/mqtt in the end."""
    with Witness(broker) as witness:
        yield witness
        witness.check()


@pytest.fixture
def ground():
    with short_folder() as folder:
        yield folder


@pytest.fixture
def gateway_with(ground, broker, models):
    """Makes the gateway of this test, not started yet; it is ended with the test."""
    with contextlib.ExitStack() as stack:

        def make(cameras, *, url=None, **sections):
            return stack.enter_context(Gateway(ground, url or broker.url, cameras, **{"models": models, **sections}))

        yield make
