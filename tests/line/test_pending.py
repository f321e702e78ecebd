"""Which picture is whose: every trigger ends in exactly one of picture, no picture, late, or too many."""

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.line.pending import Pending, Terms
from tests.line.parts import trigger

TERMS = Terms(delay_s=0.5, timeout_s=1.0, most=4)


def fired(*moments, terms=TERMS):
    pending = Pending(terms=terms)
    for moment in moments:
        pending, surplus = pending.added(trigger(moment, part=f"at {moment}"))
        assert surplus is None
    return pending


def part(claim):
    return claim.trigger and claim.trigger.part


def test_a_picture_counts_from_the_delay_on_until_the_timeout():
    for captured, owner in ((10.4, None), (10.5, "at 10.0"), (11.5, "at 10.0"), (11.6, None)):
        _, claim = fired(10.0).claimed(captured)
        assert part(claim) == owner


def test_a_picture_that_comes_after_its_time_is_late_for_that_part():
    pending, claim = fired(10.0, 11.0).claimed(11.6)

    assert [lost.part for lost in claim.late] == ["at 10.0"]
    assert part(claim) == "at 11.0"
    assert pending.waiting == ()


def test_two_triggers_before_one_picture_get_a_picture_each_or_none():
    pending = fired(10.0, 10.1)
    pending, first = pending.claimed(10.7)
    pending, second = pending.claimed(10.7)

    assert (part(first), part(second)) == ("at 10.0", "at 10.1")


def test_two_equal_triggers_are_two_parts():
    pending = fired(10.0, 10.0)
    pending, _ = pending.claimed(10.6)

    assert len(pending.waiting) == 1


def test_the_oldest_gives_way_when_too_many_wait():
    pending = fired(1.0, 2.0, 3.0, 4.0)
    pending, surplus = pending.added(trigger(5.0))

    assert surplus is not None
    assert surplus.mono_s == 1.0
    assert len(pending.waiting) == 4


steps = st.lists(
    st.tuples(st.sampled_from(["fire", "picture", "expire"]), st.floats(0, 2, allow_nan=False)), max_size=60
)


@settings(deadline=None)
@given(steps, st.floats(0, 1), st.floats(0.01, 2), st.integers(1, 5))
def test_every_trigger_ends_in_exactly_one_way(moves, delay_s, timeout_s, most):
    pending = Pending(terms=Terms(delay_s=delay_s, timeout_s=timeout_s, most=most))
    now, fired_ones, ends = 0.0, [], []
    for move, passed in moves:
        now += passed
        if move == "fire":
            one = trigger(now)
            fired_ones.append(one)
            pending, surplus = pending.added(one)
            ends += [surplus] if surplus else []
        elif move == "picture":
            pending, claim = pending.claimed(now)
            ends += [*claim.late, *([claim.trigger] if claim.trigger else [])]
        else:
            pending, gone = pending.expired(now)
            ends += gone
    pending, gone = pending.expired(now + delay_s + timeout_s + 1)
    ends += gone

    assert pending.waiting == ()
    assert sorted(map(id, ends)) == sorted(map(id, fired_ones))


@settings(deadline=None)
@given(steps)
def test_a_picture_never_belongs_to_a_trigger_that_came_after_it(moves):
    pending, now = Pending(terms=Terms(timeout_s=1.0)), 0.0
    for move, passed in moves:
        now += passed
        if move == "fire":
            pending, _ = pending.added(trigger(now))
        else:
            pending, claim = pending.claimed(now - 0.25)
            assert claim.trigger is None or claim.trigger.mono_s <= now - 0.25
