"""A finished run becomes a bundle that a gateway takes: with the plant's classes in it and none of its pictures."""

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from edge_agent.clock import SystemClock
from edge_agent.errors import RefusedError
from edge_agent.models.build.bundle import Plan
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.finetune import checkpoint, job
from edge_agent.models.finetune.plan import FinetunePlan
from edge_agent.models.store import ModelStore

pytestmark = pytest.mark.train
PX = (32, 32)


def parts(count, seed):
    rng = np.random.default_rng(seed)
    pictures, labels = [], []
    for number in range(count):
        picture = rng.integers(80, 120, (*PX, 3), dtype=np.uint8)
        if number % 2:
            picture[8:20, 8:20] = 240
        pictures.append(picture)
        labels.append("pit" if number % 2 else "ok")
    return pictures, labels


@pytest.fixture
def trained(tmp_path):
    from edge_agent.models.build.network import imagenet_network
    from edge_agent.models.finetune.train import Trainer

    base = ModelProto()
    for name, tensor in imagenet_network(PX).state_dict().items():
        base.graph.initializer.append(numpy_helper.from_array(tensor.numpy(), f"network.{name}"))
    pictures, labels = parts(24, 1)
    plan = FinetunePlan(epochs=1, batch=12, slice=6)
    work = job.write(
        tmp_path / "job", plan=plan, base=base.SerializeToString(), labels=labels, pictures=pictures, input_px=PX
    )
    trainer = Trainer(work)
    return work, trainer, pictures


def test_the_bundle_of_a_finished_run_is_taken_reproduced_and_holds_none_of_the_plants_pictures(trained, tmp_path):
    from edge_agent.models.finetune.finish import finish

    work, trainer, pictures = trained
    with pytest.raises(RefusedError, match="0 of 2 steps were taken"):
        finish(work, tmp_path / "early", plan=Plan(), held=parts(12, 2), good_classes=("ok",), created_utc_s=1.79e9)
    assert trainer.run(SystemClock(), lambda: False, lambda _: None)
    checkpoint.write(work.checkpoint, trainer.checkpoint())

    plan = Plan(name="press", version="night-1", flavours=("fp32", "u8s8"))
    built = finish(work, tmp_path / "bundle", plan=plan, held=parts(12, 2), good_classes=("ok",), created_utc_s=1.79e9)

    store = ModelStore(tmp_path / "store")
    digest = store.stage(tmp_path / "bundle")
    for flavour in ("fp32", "u8s8"):
        model = store.verify(digest, RuntimeOptions(), flavour)
        assert (model.manifest.trained_on, model.manifest.classes) == ("site", ("ok", "pit"))
    assert digest == built.digest
    assert built.accuracy["u8s8"] >= 0.9
    content = b"".join(file.read_bytes() for file in (tmp_path / "bundle").iterdir())
    # Rows of a picture, which would be found in whatever way it were kept uncompressed.
    assert not any(picture[row].tobytes() in content for picture in pictures for row in range(PX[0]))
