"""Laws of the clerk and its ledger: each contribution counts once, a model does not hang on order, a gateway can go."""

import hashlib
import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from edge_agent.coordinator.aggregate import robust
from edge_agent.coordinator.rounds import Answer, Phase
from edge_agent.coordinator.versions import Mark
from edge_agent.errors import CorruptStoreError, RefusedError
from edge_agent.learn.solve import solve_head
from edge_agent.learn.statistics import merge
from edge_agent.models import arrays as files
from tests.coordinator.scene import (
    CODE,
    FIRST,
    GATEWAYS,
    Scene,
    claim,
    delta_payload,
    statistics_of,
    statistics_payload,
)


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def give(scene, state, gateway, **changes):
    """What this plant learned for the round, sent; returns its answer."""
    terms = state.terms
    if terms.kind == "statistics":
        payload = statistics_payload(gateway, terms.number)
    else:
        payload = delta_payload(gateway, changes.get("base", terms.bases[0]), terms.number)
    return scene.clerk.receive(claim(state, gateway, payload, **changes), payload)


def whole_round(scene, task, kind, gateways):
    state = scene.clerk.open_round(task, kind)
    for gateway in gateways:
        assert give(scene, state, gateway).state == "counted"
    scene.clock.advance(200)
    state = scene.clerk.tick(task)
    assert state.phase is Phase.PUBLISHED, state.reason
    return state


def test_a_statistics_round_publishes_exactly_the_head_of_all_samples_in_one_place(scene):
    scene.begin("heads")
    whole_round(scene, "heads", "statistics", GATEWAYS)
    pooled = merge([statistics_of(gateway) for gateway in GATEWAYS])
    assert scene.model("heads") == files.head_to_bytes(solve_head(pooled, ["ok"], CODE))


@pytest.mark.parametrize(("task", "kind"), [("heads", "statistics"), ("steps", "delta"), ("robust", "delta")])
def test_the_order_of_arrival_does_not_change_a_bit_of_the_model(tmp_path, task, kind):
    models = set()
    for number in range(3):
        order = list(GATEWAYS)
        random.Random(number).shuffle(order)
        scene = Scene(tmp_path / str(number), keep_sums_every=number + 1)
        scene.begin(task)
        whole_round(scene, task, kind, order)
        models.add(scene.model(task))
        scene.close()
    assert len(models) == 1


def test_the_round_closes_as_soon_as_all_who_were_invited_have_come(scene):
    scene.begin("heads", gateways=GATEWAYS[:2])
    state = scene.clerk.open_round("heads", "statistics")
    assert give(scene, state, "gw-1").state == give(scene, state, "gw-2").state == "counted"
    assert scene.clerk.tick("heads").phase is Phase.PUBLISHED


def test_a_delta_round_moves_the_model_and_leaves_norms_where_they_were(scene):
    scene.begin("steps")
    state = whole_round(scene, "steps", "delta", GATEWAYS[:2])
    model = files.load(scene.model("steps"), "model")
    assert (model["bn.running_mean"] == 1).all()
    assert (model["bn.num_batches_tracked"].shape, model["scale.weight"].shape) == ((), ())
    assert not (model["conv.weight"] == 1).all()
    assert scene.ledger.registry.base("steps") == scene.ledger.release("steps").model != state.terms.bases[0]
    again = whole_round(scene, "steps", "delta", GATEWAYS[:2])
    assert again.terms.bases == (scene.ledger.release("steps").base,)


def test_a_repeat_is_counted_once_and_answered_the_same(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    first = give(scene, state, "gw-1")
    assert [give(scene, state, "gw-1") for _ in range(3)] == [first] * 3
    assert scene.ledger.round("heads").counted == 1
    second = give(scene, state, "gw-1", id="another")
    assert second.state == "refused"
    assert "counts once" in second.reason


def test_too_few_until_the_deadline_end_the_round_and_what_they_gave_is_not_lost(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1")
    scene.clock.advance(101)
    ended = scene.clerk.tick("heads")
    assert ended.phase is Phase.ABANDONED
    assert "1 contributions until the deadline, at least 2" in ended.reason
    whole_round(scene, "heads", "statistics", ["gw-2", "gw-3"])
    # gw-1's sums are on the same base, so they stand.
    everybody = merge([statistics_of("gw-1", 1), statistics_of("gw-2", 2), statistics_of("gw-3", 2)])
    assert scene.model("heads") == files.head_to_bytes(solve_head(everybody, ["ok"], CODE))


def test_deltas_of_a_round_that_came_to_nothing_count_in_the_next(scene):
    scene.begin("steps")
    state = scene.clerk.open_round("steps", "delta")
    give(scene, state, "gw-1")
    scene.clock.advance(101)
    assert scene.clerk.tick("steps").phase is Phase.ABANDONED
    after = scene.clerk.open_round("steps", "delta")
    assert after.counted == 1
    assert give(scene, after, "gw-2").state == "counted"
    assert "counts once" in give(scene, after, "gw-1").reason
    scene.clock.advance(101)
    assert scene.clerk.tick("steps").phase is Phase.PUBLISHED


@pytest.mark.parametrize(("task", "kind"), [("heads", "statistics"), ("steps", "delta")])
def test_the_disk_holds_what_is_still_needed_and_no_more(scene, tmp_path, task, kind):
    scene.begin(task)
    sizes = []
    for _ in range(4):
        whole_round(scene, task, kind, GATEWAYS)
        scene.payloads.sweep(scene.ledger.spoken_of())
        sizes.append(len(list(tmp_path.glob("payloads/*/*"))))
    files_a_round = 1 if kind == "statistics" else 2  # the model, and what the server remembers
    assert [after - before for before, after in itertools.pairwise(sizes)] == [files_a_round] * 3
    if kind == "statistics":
        scene.clerk.forget("gw-4")
        assert scene.model(task) is not None


def test_what_a_head_stands_on_stays_while_the_next_round_is_open(scene):
    scene.begin("heads")
    whole_round(scene, "heads", "statistics", ["gw-1", "gw-2"])
    whole_round(scene, "heads", "statistics", ["gw-3", "gw-4"])
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1")
    scene.payloads.sweep(scene.ledger.spoken_of())
    scene.clerk.forget("gw-4")
    left = merge([statistics_of("gw-1", 1), statistics_of("gw-2", 1), statistics_of("gw-3", 2)])
    assert scene.ledger.release("heads").number == 2
    assert scene.model("heads") == files.head_to_bytes(solve_head(left, ["ok"], CODE))


def test_a_gateway_that_sends_nonsense_does_not_fill_the_ledger(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    for number in range(80):
        assert give(scene, state, "gw-1", id=f"bad-{number:02}", base="a" * 64).state == "refused"
        scene.clerk.announce(claim(state, "gw-2", b"x", id=f"soon-{number}"))
    assert scene.ledger.answered("gw-1", "bad-00") is None
    assert scene.ledger.answered("gw-1", "bad-79").state == "refused"
    assert scene.ledger.round("heads").announced == 1


def test_a_straggler_is_kept_and_counted_in_the_next_round(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1"), give(scene, state, "gw-2")
    scene.clock.advance(101)
    scene.clerk.tick("heads")
    assert give(scene, state, "gw-3").state == "late"
    assert give(scene, state, "gw-3").state == "late"
    after = scene.clerk.open_round("heads", "statistics")
    assert after.counted == 1
    answered = give(scene, state, "gw-3")
    assert (answered.state, answered.counted_in) == ("counted", after.terms.number)


def test_a_late_delta_whose_base_was_replaced_is_refused_with_a_reason(scene):
    scene.begin("steps")
    state = scene.clerk.open_round("steps", "delta")
    give(scene, state, "gw-1"), give(scene, state, "gw-2")
    scene.clock.advance(101)
    scene.clerk.tick("steps")
    answered = give(scene, state, "gw-3")
    assert answered.state == "refused"
    assert "is replaced" in answered.reason


def test_a_buffer_takes_stale_deltas_within_bounds_and_gives_them_less_weight(scene):
    scene.begin("buffer", staleness_max=1, minimum=2, maximum=2)
    first = scene.clerk.open_round("buffer", "delta")
    give(scene, first, "gw-1"), give(scene, first, "gw-2")
    assert scene.clerk.tick("buffer").phase is Phase.PUBLISHED
    second = scene.clerk.open_round("buffer", "delta")
    assert second.terms.bases == (scene.ledger.registry.base("buffer"), FIRST)
    give(scene, second, "gw-3", base=FIRST)
    (counted,) = scene.ledger.counted("buffer", second.terms.number)
    assert counted.weight.units == round(counted.weight.nominal / 2**0.5)


def test_what_was_announced_in_time_is_awaited_within_the_grace(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1")
    payload = statistics_payload("gw-2")
    slow = claim(state, "gw-2", payload)
    assert scene.clerk.announce(slow).answer is Answer.COUNT
    assert scene.clerk.announce(slow).answer is Answer.COUNT
    scene.clock.advance(110)
    assert scene.clerk.tick("heads").phase is Phase.CLOSING
    assert scene.clerk.receive(slow, payload).state == "counted"
    assert scene.clerk.tick("heads").phase is Phase.PUBLISHED


def test_what_was_announced_and_never_came_does_not_hold_the_round_up(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1"), give(scene, state, "gw-2")
    scene.clerk.announce(claim(state, "gw-3", statistics_payload("gw-3")))
    scene.clock.advance(110)
    assert scene.clerk.tick("heads").phase is Phase.CLOSING
    scene.clock.advance(11)
    assert scene.clerk.tick("heads").phase is Phase.PUBLISHED


def test_a_person_can_let_a_gateways_deltas_count_for_less(scene):
    scene.begin("steps")
    scene.ledger.registry.set_share("gw-2", 0.25)
    state = scene.clerk.open_round("steps", "delta")
    give(scene, state, "gw-1"), give(scene, state, "gw-2")
    weights = {entry.gateway: entry.weight.units for entry in scene.ledger.counted("steps", 1)}
    assert weights["gw-2"] * 4 == weights["gw-1"]
    for name, share in (("gw-1", 0.0), ("gw-1", 1.5), ("gw-9", 0.5)):
        with pytest.raises(RefusedError, match="expected above 0 to 1"):
            scene.ledger.registry.set_share(name, share)


# --- bad input ------------------------------------------------------------------------------------------------------


def flipped(payload):
    return payload[:-9] + bytes([payload[-9] ^ 1]) + payload[-8:]


def huge(base):
    from edge_agent.federate import delta_code

    delta = np.zeros((4, 3), np.float32)
    delta[0, 0] = 500
    return delta_code.to_bytes({"conv.weight": delta}, base)[0]


def of_features(base, size, features=None):
    from edge_agent.federate import statistics_code
    from edge_agent.learn.statistics import sums

    codes = np.random.default_rng(0).integers(-50, 50, (30, size)).astype(np.int8)
    return statistics_code.to_bytes(statistics_code.share(base, sums(codes, ["ok", "dent"] * 15), features))


BAD = [
    ("heads", "an encoder of 9 features, expected 6", lambda base: of_features(base, 9)),
    ("heads", "expected ((0, 6),)", lambda base: of_features(base, 6, ((0, 4),))),
    ("heads", "", lambda base: b"\x00" * 40),
    ("heads", "", lambda base: statistics_payload("gw-3")[:-5]),
    ("heads", "", lambda base: flipped(statistics_payload("gw-3"))),
    ("heads", "the round wants eeeeeeeeeeee", lambda base: statistics_payload("gw-3", base="a" * 64)),
    ("heads", "of 12 samples, announced were 30", lambda base: statistics_payload("gw-3", count=12)),
    ("steps", "", lambda base: delta_payload("gw-3", base)[:-3]),
    ("steps", "another base", lambda base: delta_payload("gw-3", "a" * 64)),
    ("steps", "expected finite numbers within 16", huge),
]


@pytest.mark.parametrize(("task", "words", "make"), BAD)
def test_a_payload_that_is_not_one_is_refused_and_the_round_goes_on(scene, task, words, make):
    kind = "statistics" if task == "heads" else "delta"
    scene.begin(task)
    state = scene.clerk.open_round(task, kind)
    give(scene, state, "gw-1")
    payload = make(state.terms.bases[0])
    answered = scene.clerk.receive(claim(state, "gw-3", payload), payload)
    assert answered.state == "refused"
    assert words in answered.reason
    give(scene, state, "gw-2")
    scene.clock.advance(200)
    published = scene.clerk.tick(task)
    assert (published.phase, published.counted) == (Phase.PUBLISHED, 2)


def test_bytes_other_than_announced_are_refused(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    honest = claim(state, "gw-1", statistics_payload("gw-1"))
    answered = scene.clerk.receive(honest, statistics_payload("gw-1", 9))
    assert answered.state == "refused"
    assert "announced was" in answered.reason


def test_nobody_can_speak_for_another_or_overwrite_what_it_was_answered(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    assert give(scene, state, "gw-1", sender="gw-2").state == "refused"
    assert scene.ledger.answered("gw-1", "gw-1-1") is None
    assert give(scene, state, "gw-1").state == "counted"
    other = statistics_payload("gw-1", 5)
    assert "other bytes" in scene.clerk.receive(claim(state, "gw-1", other), other).reason
    assert scene.ledger.answered("gw-1", "gw-1-1").state == "counted"
    assert scene.ledger.round("heads").counted == 1


def test_gateways_outside_the_cohort_and_unknown_ones_take_no_part(scene):
    scene.begin("heads", cohort="product=pcb")
    scene.ledger.registry.join("gw-5", {"product": "steel"}, (1, 1), {}, 0.0)
    state = scene.clerk.open_round("heads", "statistics")
    assert state.terms.invited == 4
    payload = statistics_payload("gw-1")
    for stranger in ("gw-5", "gw-9"):
        assert "does not take part" in scene.clerk.receive(claim(state, stranger, payload), payload).reason


def test_a_head_that_cannot_be_solved_ends_the_round_with_the_reason(scene, monkeypatch):
    scene.begin("heads", minimum=1)
    state = scene.clerk.open_round("heads", "statistics")
    from edge_agent.federate import statistics_code
    from edge_agent.learn.statistics import sums

    alone = sums(np.ones((30, 6), np.int8), ["ok"] * 30)
    payload = statistics_code.to_bytes(statistics_code.share(state.terms.bases[0], alone))
    scene.clerk.receive(claim(state, "gw-1", payload), payload)
    scene.clock.advance(101)
    ended = scene.clerk.tick("heads")
    assert ended.phase is Phase.ABANDONED
    assert "all of class 'ok'" in ended.reason


def test_krum_with_too_few_rows_ends_the_round_with_the_reason(tmp_path):
    scene = Scene(tmp_path, rule=lambda rows, weights: robust.krum(rows, weights, liars=2))
    scene.begin("robust")
    state = scene.clerk.open_round("robust", "delta")
    give(scene, state, "gw-1"), give(scene, state, "gw-2")
    scene.clock.advance(101)
    assert "expected at least 7" in scene.clerk.tick("robust").reason
    assert not list((tmp_path / "scratch").iterdir())
    scene.close()


def test_damaged_bytes_on_our_own_disk_are_noticed(scene, tmp_path):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    give(scene, state, "gw-1")
    digest = hashlib.sha256(statistics_payload("gw-1")).hexdigest()
    (tmp_path / "payloads" / digest[:2] / digest).write_bytes(b"other")
    with pytest.raises(CorruptStoreError, match="restore it from a backup"):
        scene.payloads.read(digest)


# --- an older database ----------------------------------------------------------------------------------------------


def test_a_coordinator_behind_its_gateways_offers_nothing_until_a_new_epoch(scene):
    scene.begin("heads")
    whole_round(scene, "heads", "statistics", GATEWAYS)
    seen = Mark(epoch=1, number=9)
    with pytest.raises(RefusedError, match="older than its gateways"):
        scene.ledger.registry.join("gw-1", {"product": "pcb"}, (1, 1), {"heads": seen}, 1.0)
    with pytest.raises(RefusedError, match="gw-1 was shown epoch 1, round 9"):
        scene.clerk.open_round("heads", "statistics")
    assert scene.ledger.registry.renew("heads") == Mark(epoch=2, number=9)
    assert scene.clerk.open_round("heads", "statistics").terms.number == 10


def test_a_contribution_to_a_round_that_this_database_never_held_is_refused(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    assert "restored from an older copy" in give(scene, state, "gw-1", number=4).reason


# --- forgetting -----------------------------------------------------------------------------------------------------


def test_after_forgetting_a_head_is_bit_for_bit_as_if_the_gateway_had_never_taken_part(tmp_path, scene):
    scene.begin("heads")
    whole_round(scene, "heads", "statistics", GATEWAYS)
    assert b"burr" in scene.model("heads")
    assert scene.clerk.forget("gw-4") == ["heads"]
    other = Scene(tmp_path / "other")
    other.begin("heads", gateways=GATEWAYS[:3])
    whole_round(other, "heads", "statistics", GATEWAYS[:3])
    assert scene.model("heads") == other.model("heads")
    # Nothing of it is left on the disk either.
    theirs = hashlib.sha256(statistics_payload("gw-4")).hexdigest()
    assert not list(tmp_path.glob(f"payloads/*/{theirs}"))
    assert give(scene, scene.ledger.round("heads"), "gw-4", id="new").state == "refused"
    other.close()


@pytest.mark.parametrize(("task", "kind"), [("heads", "statistics"), ("steps", "delta")])
@pytest.mark.parametrize("keep_sums_every", [1, 100])
def test_a_gateway_that_is_forgotten_while_a_round_is_open_is_not_in_its_model(tmp_path, task, kind, keep_sums_every):
    models = []
    for forgotten in (True, False):
        scene = Scene(tmp_path / str(forgotten), keep_sums_every=keep_sums_every)
        scene.begin(task)
        state = scene.clerk.open_round(task, kind)
        for gateway in GATEWAYS[: 4 if forgotten else 3]:
            give(scene, state, gateway)
        if forgotten:
            assert scene.ledger.round(task).counted == 4
            scene.clerk.forget("gw-4")
            assert scene.ledger.round(task).counted == 3
        scene.clock.advance(200)
        assert scene.clerk.tick(task).phase is Phase.PUBLISHED
        models.append(scene.model(task))
        scene.close()
    assert models[0] == models[1]


def test_a_model_that_others_learned_on_stays_and_the_one_before_is_named(scene):
    scene.begin("steps")
    whole_round(scene, "steps", "delta", ["gw-1", "gw-2"])
    before = scene.ledger.release("steps").model
    whole_round(scene, "steps", "delta", ["gw-1", "gw-3"])
    assert scene.ledger.untouched("steps", "gw-3") == before
    scene.clerk.forget("gw-3")
    assert scene.ledger.untouched("steps", "gw-3") == before
    assert scene.ledger.untouched("steps", "gw-1") is None
    assert scene.ledger.release("steps").model == scene.ledger.registry.base("steps") != before


def test_a_head_of_which_nothing_is_left_is_withdrawn_and_says_so(scene):
    scene.begin("heads", gateways=["gw-1"], minimum=1)
    whole_round(scene, "heads", "statistics", ["gw-1"])
    scene.clerk.forget("gw-1")
    assert scene.model("heads") is None
    assert scene.ledger.round("heads").reason.startswith("withdrawn")
    with pytest.raises(RefusedError, match="no gateway of this name"):
        scene.clerk.forget("gw-9")


def test_an_open_round_has_to_end_before_the_next_and_a_person_can_end_it(scene):
    scene.begin("heads")
    state = scene.clerk.open_round("heads", "statistics")
    with pytest.raises(RefusedError, match="has to end first"):
        scene.clerk.open_round("heads", "statistics")
    with pytest.raises(RefusedError, match="nothing is known of rounds of kind 'delta'"):
        scene.clerk.open_round("heads", "delta")
    ended = scene.clerk.cancel("heads", "operator: wrong product")
    assert (ended.phase, ended.reason) == (Phase.ABANDONED, "operator: wrong product")
    assert give(scene, replace(state, phase=Phase.ABANDONED), "gw-1").state == "late"
