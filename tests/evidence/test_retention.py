"""Who goes first, who stays for ever, and how much has to go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.evidence.retention import Bounds, Dispensable, Surplus, Usefulness, choose, surplus_bytes, usefulness
from edge_agent.records import KeepReason, Standing
from tests.evidence.samples import sample


@pytest.mark.parametrize(
    ("expected", "facts"),
    [
        (Usefulness.ORDINARY, {"kept": (KeepReason.RANDOM,)}),
        (Usefulness.UNCERTAIN, {"kept": (KeepReason.NEAR_THRESHOLD,)}),
        (Usefulness.UNCERTAIN, {"kept": (KeepReason.UNLIKE, KeepReason.RANDOM)}),
        (Usefulness.SUSPECT, {"kept": (KeepReason.HOLD, KeepReason.NEAR_THRESHOLD)}),
        (Usefulness.SUSPECT, {"kept": (KeepReason.FAIL,)}),
        (Usefulness.SUSPECT, {"kept": (KeepReason.REQUEST,)}),
        (Usefulness.SPOKEN_OF, {"standing": Standing.WAITING}),
        (Usefulness.SPOKEN_OF, {"standing": Standing.DISPUTED}),
        (Usefulness.LABELLED, {"standing": Standing.LABELLED, "truth": "ok"}),
        (Usefulness.SUSPECT, {"sealed": True}),
        (Usefulness.PROTECTED, {"sealed": True, "standing": Standing.LABELLED, "truth": "ok"}),
        (Usefulness.PROTECTED, {"sealed": True, "standing": Standing.DISPUTED}),
        (Usefulness.PROTECTED, {"legal_hold": True, "kept": (KeepReason.RANDOM,)}),
        (Usefulness.PROTECTED, {"label": "crack"}),
        (Usefulness.PROTECTED, {"standing": Standing.LABELLED, "truth": "crack"}),
        (Usefulness.LABELLED, {"standing": Standing.LABELLED, "truth": "ok", "label": "crack"}),
    ],
)
def test_every_sample_has_a_class(expected, facts):
    assert usefulness(sample(**facts), {"crack"}) is expected


def test_nothing_goes_while_there_is_room_and_a_full_store_gains_air():
    bounds = Bounds(limit_bytes=1000, floor_bytes=0)

    assert surplus_bytes(900, 100, 10**9, bounds) == Surplus(must=0, wanted=0)
    assert surplus_bytes(901, 100, 10**9, bounds) == Surplus(must=1, wanted=51)


def test_the_floor_of_free_disk_counts_whoever_fills_it():
    assert surplus_bytes(10, 100, 1099, Bounds(limit_bytes=10**9, floor_bytes=1000)) == Surplus(must=1, wanted=1)


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6)
)
def test_when_the_surplus_has_gone_both_bounds_hold(kept, coming, free, limit, floor):
    bounds = Bounds(limit_bytes=limit, floor_bytes=floor)
    surplus = surplus_bytes(kept, coming, free, bounds)

    assert kept + coming - surplus.must <= limit
    assert free - coming + surplus.must >= floor
    assert surplus.wanted >= surplus.must
    assert (surplus.wanted > 0) == (surplus.must > 0)


@given(st.lists(st.integers(1, 100), max_size=30), st.integers(0, 2000))
def test_as_few_as_possible_go_in_order(sizes, surplus):
    rows = [Dispensable(str(number), size) for number, size in enumerate(sizes)]
    chosen, gained = choose(rows, surplus)

    assert chosen == rows[: len(chosen)]
    assert gained == sum(row.size_bytes for row in chosen)
    assert not chosen or gained - chosen[-1].size_bytes < surplus
    assert gained >= surplus or len(chosen) == len(rows)
