"""Laws of what a round is about: sums kept and taken up again are the same, every method goes through whole rounds."""

import numpy as np
import pytest

from edge_agent.coordinator.aggregate.adaptive import fed_adam, fed_yogi
from edge_agent.coordinator.aggregate.alternating import alternating
from edge_agent.coordinator.aggregate.averaging import fed_avg, fed_avg_m, fed_bn, fed_buff, fed_prox
from edge_agent.coordinator.aggregate.scaffold import scaffold
from edge_agent.coordinator.aggregate.weights import weigh
from edge_agent.coordinator.matter import (
    DeltaMatter,
    StatisticsMatter,
    model_to_bytes,
    state_from_bytes,
    state_to_bytes,
)
from edge_agent.errors import BadContributionError
from edge_agent.federate import delta_code, statistics_code
from edge_agent.learn.solve import solve_head
from edge_agent.models import arrays as files
from tests.coordinator.scene import CODE, ENCODER, GATEWAYS, MODEL, statistics_of, statistics_payload

METHODS = [fed_avg, fed_prox, fed_avg_m, fed_adam, fed_yogi, fed_bn, fed_buff, scaffold, alternating]
BASE = "b" * 64


def rounds_of(make, keep_at=None, count=3):
    """The models of some rounds; with `keep_at` the sums are kept and taken up again after so many contributions."""
    model, state = MODEL, None
    rng = np.random.default_rng(5)
    models = []
    for _ in range(count):
        matter = DeltaMatter(method=make(), model=model, state=state)
        running = matter.begin()
        for number in range(4):
            shapes = dict(zip(matter.layout.names, matter.layout.shapes, strict=True))
            delta = {name: (rng.standard_normal(shape) * 1e-2).astype(np.float32) for name, shape in shapes.items()}
            running.add(matter.read(delta_code.to_bytes(delta, BASE)[0], BASE, 10), weigh(10 + number))
            if number == keep_at:
                running = matter.begin(running.to_bytes())
        solved = matter.solve(running, population=6)
        model, state = solved.model, solved.state
        models.append(model)
    return models


@pytest.mark.parametrize("make", METHODS)
def test_every_method_goes_through_rounds_and_sums_may_be_kept_in_between(make):
    models = rounds_of(make)
    assert models == rounds_of(make, keep_at=1)
    assert len(set(models)) == 3
    first, last = (files.load(content, "model") for content in (MODEL, models[-1]))
    assert {n: (a.shape, a.dtype) for n, a in first.items()} == {n: (a.shape, a.dtype) for n, a in last.items()}
    assert (last["bn.running_mean"] == first["bn.running_mean"]).all()


def test_a_servers_memory_survives_its_file():
    model = {"a": np.ones((2, 3), np.float32), "b.c": np.float32(1.0)}
    state = fed_adam().init(model)
    assert state_to_bytes(state_from_bytes(state_to_bytes(state))) == state_to_bytes(state)
    assert set(state_from_bytes(state_to_bytes(state)).slots["v"]) == {"a", "b.c"}


def test_what_a_delta_leaves_out_has_not_moved():
    matter = DeltaMatter(method=fed_avg(), model=MODEL)
    payload, _ = delta_code.to_bytes({"head.weight": np.float32([0, 0, 0, 0, 0.5])}, BASE)
    running = matter.begin()
    running.add(matter.read(payload, BASE, 1), weigh(1))
    after = files.load(matter.solve(running, population=1).model, "model")
    assert (after["conv.weight"] == 1).all()
    assert after["head.weight"][4] > 0


def test_a_head_of_some_features_takes_the_whole_vector_and_ignores_the_rest():
    ranges = ((0, 2), (4, 6))
    matter = StatisticsMatter(code=CODE, good_classes=("ok",), features=ranges)
    running = matter.begin()
    for gateway in GATEWAYS:
        share = statistics_code.share(ENCODER, statistics_of(gateway), ranges)
        running.add(matter.read(statistics_code.to_bytes(share), ENCODER, 30), weigh(30))
    head = files.head_from_bytes(matter.solve(running, population=4).model, dimension=CODE.dimension)
    assert (head.weights[2:4] == 0).all()
    assert (head.weights[[0, 1, 4, 5]] != 0).all()


def test_statistics_kept_and_taken_up_again_are_the_same():
    matter = StatisticsMatter(code=CODE, good_classes=("ok",))
    running = matter.begin()
    assert running.to_bytes() == b""
    running = matter.begin(running.to_bytes())
    running.add(matter.read(statistics_payload("gw-1"), ENCODER, 30), weigh(30))
    again = matter.begin(running.to_bytes())
    assert again.to_bytes() == running.to_bytes()
    expected = files.head_to_bytes(solve_head(statistics_of("gw-1"), ["ok"], CODE))
    assert matter.solve(again, population=1).model == expected


def test_nothing_makes_no_head():
    matter = StatisticsMatter(code=CODE, good_classes=("ok",))
    with pytest.raises(BadContributionError, match="no contribution"):
        matter.solve(matter.begin(), population=3)


def test_scalars_stay_scalars_in_a_model_file():
    model = files.load(model_to_bytes({"n": np.array(7), "w": np.ones((2, 2), np.float32).T}), "model")
    assert model["n"].shape == ()
