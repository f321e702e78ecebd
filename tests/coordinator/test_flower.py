"""Our aggregation against Flower's, an independent implementation, on the same arrays.

What Flower 1.41.0 answered is kept in golden/flower-1.41.0.npz; the long run asks the real package again.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_agent.coordinator.aggregate import robust, sums
from edge_agent.coordinator.aggregate.adaptive import fed_adam, fed_yogi
from edge_agent.coordinator.aggregate.averaging import fed_avg, fed_avg_m
from edge_agent.coordinator.aggregate.layout import flatten, layout_of
from edge_agent.coordinator.aggregate.method import average_of
from edge_agent.coordinator.aggregate.weights import weigh
from tests import flower

GOLDEN = Path(__file__).parent / "golden" / "flower-1.41.0.npz"
PLANTS, ROUNDS = 9, 3
SIDE = Path(__file__).with_name("flower_side.py")


def given():
    """A model in float64, so that Flower computes in it too, and float32 deltas; two plants lie."""
    rng = np.random.default_rng(41)
    model = {"conv": rng.standard_normal((3, 4)), "bias": rng.standard_normal(5), "scale": rng.standard_normal(())}
    arrays = {f"model/{name}": array for name, array in model.items()}
    for number in range(1, ROUNDS + 1):
        for plant in range(PLANTS):
            size = -8 if plant in (2, 6) else 1
            for name, array in model.items():
                step = 1e-2 * (rng.standard_normal(array.shape) * 0.3 + size)
                arrays[f"delta/{number}/{plant}/{name}"] = step.astype(np.float32)
    return arrays | {"samples": rng.integers(10, 900, PLANTS)}


def mean(rows, weights):
    total = sums.empty(rows.size)
    for row, weight in zip(rows.tile(0, rows.size), weights, strict=True):
        total.add(row, weight)
    return total.mean()


OURS = {
    "fedavg": (fed_avg, mean),
    "fedavgm": (lambda: fed_avg_m(rate=0.7, momentum=0.9), mean),
    "fedadam": (lambda: fed_adam(rate=0.01), mean),
    "fedyogi": (lambda: fed_yogi(rate=0.01), mean),
    "median": (fed_avg, robust.median),
    "trimmed": (fed_avg, robust.trimmed),
    "krum": (fed_avg, lambda rows, weights: robust.krum(rows, weights, liars=2)),
    "multikrum": (fed_avg, lambda rows, weights: robust.krum(rows, weights, liars=2, keep=4)),
}


def ask(what, arrays, folder):
    source, target = folder / "in.npz", folder / "out.npz"
    np.savez(source, **arrays)
    command = [str(flower.python()), str(SIDE), what, str(source), str(target)]
    subprocess.run(command, check=True, env=flower.environ(), timeout=300)
    with np.load(target) as file:
        return dict(file)


@pytest.mark.parametrize("label", OURS)
def test_three_rounds_end_where_flower_ends(label):
    make, rule = OURS[label]
    arrays = given()
    model = {key.removeprefix("model/"): array for key, array in arrays.items() if key.startswith("model/")}
    layout = layout_of(model)
    method = make()
    state = method.init(model)
    weights = [weigh(samples) for samples in arrays["samples"].tolist()]
    with np.load(GOLDEN) as golden:
        for number in range(1, ROUNDS + 1):
            rows = [
                flatten(layout, {name: arrays[f"delta/{number}/{plant}/{name}"] for name in layout.names})
                for plant in range(PLANTS)
            ]
            moved = rule(robust.Stack(np.array(rows)), weights)
            model, state = method.apply(model, state, average_of(layout, moved, count=PLANTS))
            for name in layout.names:
                # Means differ by the grid of ours (2e-10 at most), which the adaptive ones divide by tau = 1e-3.
                assert np.allclose(model[name], golden[f"{label}/{number}/{name}"], rtol=0, atol=1e-8), (number, name)


@pytest.mark.long
def test_the_golden_file_is_what_flower_answers(tmp_path):
    answered = ask("rounds", given(), tmp_path)
    with np.load(GOLDEN) as golden:
        assert set(golden.files) == set(answered)
        for name, array in answered.items():
            assert np.allclose(array, golden[name], rtol=1e-12, atol=1e-12), name


@pytest.mark.long
@pytest.mark.parametrize("step", [1e-4, 1e-5])
def test_flowers_krum_is_lost_in_float32_where_fine_tuning_happens_and_ours_is_not(tmp_path, step):
    """flwr 1.41.0 takes |x|^2 + |y|^2 - 2xy of whole models in float32 (docs/decisions.md 25)."""
    rng = np.random.default_rng(7)
    base = (rng.standard_normal(100_000) * 0.05).astype(np.float32)
    deltas = (rng.standard_normal((9, len(base))) * step).astype(np.float32)
    deltas[4] *= 3  # the outlier
    weights = base + deltas
    answered = ask("distances", {"rows": weights}, tmp_path)
    # What the plants' float32 models really differ by.
    true_deltas = weights.astype(np.float64) - base
    exact = ((true_deltas[:, None] - true_deltas[None, :]) ** 2).sum(axis=2)
    others = ~np.eye(9, dtype=bool)

    def worst(distances):
        return float((np.abs(distances - exact)[others] / exact[others]).max())

    ours = robust.squared_distances(robust.Stack(true_deltas.astype(np.float32)))
    assert worst(ours) < 1e-5
    assert robust.krum_order(ours, liars=2)[-1] == 4
    assert worst(answered["distances"]) > (0.02 if step == 1e-4 else 1.0)
    if step == 1e-5:
        assert list(answered["order"]) != robust.krum_order(exact, liars=2)
