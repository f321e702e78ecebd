"""Laws of aggregation: order does not matter to the bit, what was added comes out again, liars do not decide."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.coordinator.aggregate import robust, sums
from edge_agent.coordinator.aggregate.adaptive import fed_adam, fed_yogi
from edge_agent.coordinator.aggregate.alternating import alternating, next_kind
from edge_agent.coordinator.aggregate.averaging import fed_avg, fed_avg_m, fed_bn, fed_buff, fed_prox
from edge_agent.coordinator.aggregate.layout import flatten, layout_of, unflatten
from edge_agent.coordinator.aggregate.method import average_of
from edge_agent.coordinator.aggregate.scaffold import scaffold
from edge_agent.coordinator.aggregate.weights import Weight, weigh
from edge_agent.errors import RefusedError

METHODS = [fed_avg, fed_prox, fed_avg_m, fed_adam, fed_yogi, fed_bn, fed_buff, alternating, scaffold]
deltas = st.floats(-16, 16, width=32)


def updates(count, size, seed=0, scale=1e-3):
    return (np.random.default_rng(seed).standard_normal((count, size)) * scale).astype(np.float32)


# --- exact sums -----------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(deltas, st.integers(1, 10**6), st.integers(0, 9)), min_size=1, max_size=6), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_does_not_change_a_bit(parts, random):
    contributions = [(np.float32([x, -x, x / 3]), weigh(samples, staleness=stale)) for x, samples, stale in parts]
    first = sums.empty(3)
    for vector, weight in contributions:
        first.add(vector, weight)
    random.shuffle(contributions)
    second = sums.empty(3)
    for vector, weight in contributions:
        second.add(vector, weight)
    assert first.mean().tobytes() == second.mean().tobytes()


@given(st.lists(deltas, min_size=2, max_size=6), st.integers(1, 70_000))
@settings(max_examples=60, deadline=None)
def test_what_was_added_is_taken_out_without_a_trace(values, samples):
    one, others = np.float32(values), np.float32(values[::-1])
    result, without = sums.empty(len(values)), sums.empty(len(values))
    result.add(one, weigh(samples))
    result.add(others, weigh(3))
    without.add(others, weigh(3))
    result.take_out(one, weigh(samples))
    assert result.totals.tobytes() == without.totals.tobytes()
    assert (result.count, result.weight, result.nominal) == (without.count, without.weight, without.nominal)


def test_the_mean_is_that_of_exact_arithmetic_to_the_grid():
    rows, samples = updates(30, 500), np.random.default_rng(1).integers(1, 5000, 30)
    total = sums.empty(500)
    for row, count in zip(rows, samples.tolist(), strict=True):
        total.add(row, weigh(count))
    exact = np.average(rows.astype(np.longdouble), axis=0, weights=samples)
    assert np.abs(total.mean() - exact).max() < 2.0**-24


def test_the_heaviest_and_largest_contribution_still_adds_exactly():
    total = sums.empty(2)
    for _ in range(100):
        total.add(np.float64([16.0, -16.0]), weigh(10**9))
    assert total.mean().tolist() == [16.0, -16.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 16.001, -1e30])
def test_numbers_that_no_fine_tuning_makes_are_refused_and_change_nothing(bad):
    total = sums.empty(3)
    total.add(np.float32([1, 2, 3]), weigh(5))
    before = total.totals.copy()
    with pytest.raises(RefusedError, match="expected finite numbers within 16"):
        total.add(np.float32([0, bad, 0]), weigh(5))
    assert (total.totals == before).all()
    assert total.count == 1


def test_sums_refuse_other_shapes_weights_out_of_range_and_what_was_never_added():
    total = sums.empty(3)
    with pytest.raises(RefusedError, match=r"expected float32 or float64 \[3\]"):
        total.add(np.zeros(4, np.float32), weigh(1))
    with pytest.raises(RefusedError, match="can be summed exactly"):
        total.add(np.zeros(3, np.float32), Weight(units=0, nominal=5))
    with pytest.raises(RefusedError, match="is not in sums"):
        total.take_out(np.zeros(3, np.float32), weigh(1))
    with pytest.raises(RefusedError, match="no contribution"):
        total.mean()


def test_a_stale_contribution_moves_the_model_less_also_when_it_comes_alone():
    fresh, stale = sums.empty(1), sums.empty(1)
    fresh.add(np.float32([1]), weigh(100))
    stale.add(np.float32([1]), weigh(100, staleness=3))
    assert fresh.mean()[0] == 1.0
    assert stale.mean()[0] == pytest.approx(0.5, rel=1e-4)
    assert weigh(10**9) == weigh(65_536)
    assert weigh(10**9, equal=True) == weigh(1)


# --- layout ---------------------------------------------------------------------------------------------------------


def test_arrays_come_back_from_their_vector_whatever_order_they_came_in():
    arrays = {"b": np.float32([[1, 2], [3, 4]]), "a": np.float32(7.0).reshape(()), "c": np.zeros((0, 3), np.float32)}
    layout = layout_of(arrays)
    vector = flatten(layout, dict(reversed(arrays.items())))
    assert vector.tolist() == [7, 1, 2, 3, 4]
    back = unflatten(layout, vector)
    assert all((back[name] == arrays[name]).all() and back[name].shape == arrays[name].shape for name in arrays)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": None}, "are missing"),
        ({"x": np.zeros(1, np.float32)}, "not asked for"),
        ({"a": np.zeros(3, np.float32)}, r"expected float32 or float64 \[2\]"),
        ({"a": np.zeros(2, np.int64)}, "int64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, words):
    arrays = {"a": np.zeros(2, np.float32)}
    layout = layout_of(arrays)
    changed = {name: array for name, array in (arrays | change).items() if array is not None}
    with pytest.raises(RefusedError, match=words):
        flatten(layout, changed)


# --- methods --------------------------------------------------------------------------------------------------------


def model_and_mean(method, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    model = {"encoder/w": rng.standard_normal((4, 3)).astype(dtype), "head/w": rng.standard_normal(5).astype(dtype)}
    sent = {**model, **{f"{slot}/{name}": array for slot in method.slots for name, array in model.items()}}
    layout = layout_of(sent)
    return model, average_of(layout, rng.standard_normal(layout.size) * 1e-2, count=3, population=6)


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_method_keeps_names_shapes_and_types_and_changes_neither_model_nor_state(make, dtype):
    method = make()
    model, mean = model_and_mean(method, dtype)
    kept = {name: array.copy() for name, array in model.items()}
    state = method.init(model)
    slots = {slot: {n: a.copy() for n, a in arrays.items()} for slot, arrays in state.slots.items()}
    after, then = method.apply(model, state, mean)
    assert {n: (a.shape, a.dtype) for n, a in after.items()} == {n: (a.shape, a.dtype) for n, a in model.items()}
    assert all((model[name] == kept[name]).all() for name in model)
    assert all((state.slots[slot][name] == slots[slot][name]).all() for slot in slots for name in slots[slot])
    assert (state.step, then.step) == (0, 1)
    assert set(then.slots) == set(state.slots)


@pytest.mark.parametrize("make", METHODS)
def test_the_same_rounds_give_the_same_bytes(make):
    def run():
        method = make()
        model, _ = model_and_mean(method)
        state = method.init(model)
        for seed in range(4):
            model, state = method.apply(model, state, model_and_mean(method, seed=seed)[1])
        return b"".join(model[name].tobytes() for name in sorted(model))

    assert run() == run()


def test_averaging_moves_the_model_by_the_mean_and_prox_tells_the_trainers_its_mu():
    model, mean = model_and_mean(fed_avg())
    after, _ = fed_avg().apply(model, fed_avg().init(model), mean)
    assert all((after[n] == (model[n] + mean.arrays[n]).astype(np.float32)).all() for n in model)
    assert fed_prox(mu=0.1).client == {"proximal_mu": 0.1}
    assert fed_buff(staleness_max=4).staleness_max == 4


def test_momentum_goes_on_where_the_means_stop():
    method = fed_avg_m(momentum=0.5)
    model, zero = {"w": np.zeros(1)}, average_of(layout_of({"w": np.zeros(1)}), np.zeros(1), count=1)
    state = method.init(model)
    model, state = method.apply(model, state, average_of(layout_of(model), np.ones(1), count=1))
    model, state = method.apply(model, state, zero)
    assert model["w"].tolist() == [1.5]


def test_scaffold_moves_its_variate_by_the_share_that_took_part():
    method = scaffold()
    model, mean = model_and_mean(method)
    after, state = method.apply(model, method.init(model), mean)
    assert all(np.allclose(state.slots["control"][n], mean.arrays[f"control/{n}"] * 0.5) for n in model)
    assert all(np.allclose(after[n], model[n] + mean.arrays[n]) for n in model)
    assert method.equal


def test_local_norms_are_not_asked_for_and_never_change_at_the_server():
    method = fed_bn()
    model = {"conv": np.zeros(2), "norm1": np.ones(2)}
    sent = layout_of({"conv": model["conv"]})
    after, _ = method.apply(model, method.init(model), average_of(sent, np.ones(2), count=1))
    assert after["conv"].tolist() == [1, 1]
    assert after["norm1"].tolist() == [1, 1]


def test_alternating_leaves_the_head_to_statistics_and_takes_turns():
    method = alternating()
    model, mean = model_and_mean(method)
    after, _ = method.apply(model, method.init(model), mean)
    assert (after["head/w"] == model["head/w"]).all()
    assert not (after["encoder/w"] == model["encoder/w"]).all()
    kinds = list(itertools.accumulate(range(4), lambda kind, _: next_kind(kind), initial=next_kind(None)))
    assert kinds == ["statistics", "delta", "statistics", "delta", "statistics"]


# --- robust rules ---------------------------------------------------------------------------------------------------


class Columns(robust.Stack):
    """Rows that remember how much of them was asked for at once."""

    widest = 0

    def tile(self, start, end):
        self.widest = max(self.widest, end - start)
        return super().tile(start, end)


WEIGHTS = [weigh(10)] * 9


@pytest.mark.parametrize(
    "rule",
    [
        robust.weighted,
        robust.clipped,
        robust.median,
        robust.trimmed,
        lambda rows, weights: robust.krum(rows, weights, liars=2),
        lambda rows, weights: robust.krum(rows, weights, liars=2, keep=5),
    ],
)
def test_tiles_change_nothing_but_the_memory(rule, monkeypatch):
    matrix = updates(9, 1000)
    whole = rule(robust.Stack(matrix), WEIGHTS)
    monkeypatch.setattr(robust, "TILE_NUMBERS", 1)
    rows = Columns(matrix)
    tiled = rule(rows, WEIGHTS)
    assert rows.widest == 256
    assert np.allclose(tiled, whole, rtol=1e-12, atol=0)


def test_the_rules_are_those_of_plain_numpy():
    matrix = updates(9, 300).astype(np.float64)
    rows = robust.Stack(matrix)
    assert np.allclose(robust.median(rows), np.median(matrix, axis=0))
    assert np.allclose(robust.median(robust.Stack(matrix[:8])), np.median(matrix[:8], axis=0))
    assert np.allclose(robust.trimmed(rows, share=0.25), np.sort(matrix, axis=0)[2:7].mean(axis=0))
    assert np.allclose(robust.norms(rows), np.linalg.norm(matrix, axis=1))
    exact = ((matrix[:, None] - matrix[None, :]) ** 2).sum(axis=2)
    assert np.allclose(robust.squared_distances(rows), exact, rtol=1e-9)


def test_liars_do_not_carry_the_robust_rules_away_as_they_do_the_mean():
    truth = np.full(400, 1e-3)
    matrix = (truth + np.random.default_rng(3).standard_normal((9, 400)) * 1e-4).astype(np.float32)
    matrix[:2] = -10 * truth
    rows = robust.Stack(matrix)

    def off(mean):
        return float(np.linalg.norm(mean - truth) / np.linalg.norm(truth))

    assert off(robust.weighted(rows, WEIGHTS)) > 2
    assert off(robust.clipped(rows, WEIGHTS)) < 0.6
    for mean in (
        robust.median(rows),
        robust.trimmed(rows, share=0.25),
        robust.krum(rows, WEIGHTS, liars=2),
        robust.krum(rows, WEIGHTS, liars=2, keep=5),
    ):
        assert off(mean) < 0.15


def test_clipping_keeps_small_rows_and_shortens_long_ones_to_the_limit():
    matrix = np.float32([[3, 4], [0.3, 0.4], [0, 0]])
    mean = robust.clipped(robust.Stack(matrix), [weigh(1)] * 3, limit=1.0)
    assert np.allclose(mean * 3, [0.9, 1.2], atol=1e-8)


def test_krum_refuses_a_round_too_small_for_its_promise():
    with pytest.raises(RefusedError, match="6 contributions, expected at least 7"):
        robust.krum(robust.Stack(updates(6, 3)), WEIGHTS, liars=2)
    with pytest.raises(RefusedError, match="expected at least 1"):
        robust.median(robust.Stack(updates(0, 3)))


def test_two_equal_rows_are_each_others_nearest_not_their_own():
    matrix = np.float32([[0, 0], [0, 0], [1, 0], [9, 9], [9, 8]])
    assert robust.krum_order(robust.squared_distances(robust.Stack(matrix)), liars=1)[0] == 0
