"""A second opinion comes after the verdict, costs the line nothing, and never becomes a verdict."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import InferenceError
from edge_agent.inspect.assessors import HeadAssessor
from edge_agent.inspect.decide import Rules
from edge_agent.inspect.lane import Lane, Second
from edge_agent.inspect.loop import InspectLoop
from edge_agent.inspect.shadow import PAST_PARTS, Opinion, Shadow, look_back
from edge_agent.learn.head import LinearHead
from edge_agent.records import Assessment, Features, HoldReason, Verdict
from tests.fakes.clock import FakeClock
from tests.inspect.test_loop import Assessor, Frames, frame, judge, lane


class Line:
    """A loop with a shadow, and everything that it said: verdicts, pairs, whether a witness was told that they differ,
    and in which order."""

    def __init__(self, frames, lanes, *, waiting=lambda: False):
        self.verdicts, self.pairs, self.differing, self.order = [], [], [], []
        self.shadow = Shadow(
            prepare=lambda image, canvas: image[: canvas.px[0], : canvas.px[1]],
            waiting=waiting,
            tell=self._pair,
            clock=FakeClock(),
        )
        self.frames = frames
        self.loop = InspectLoop(
            frames=frames,
            lanes=lanes,
            prepare=lambda image, canvas: image[: canvas.px[0], : canvas.px[1]],
            sinks=(self._verdict,),
            clock=FakeClock(),
            on_fault=lambda *_: None,
            follow=self.shadow.follow,
            witness=lambda _frame, _inspection, _heat, differs: self.differing.append(differs),
        )

    def _verdict(self, inspection):
        self.verdicts.append(inspection)
        self.order.append("verdict")

    def _pair(self, pair):
        assert len(self.frames.finished) == len(self.verdicts), "the line waited for a second opinion"
        self.pairs.append(pair)
        self.order.append("pair")

    def run(self):
        while self.loop.step(0.0):
            pass
        return self


def second(mark=1.0, score=0.1, *, shares=True, fault=None, **changes):
    made = judge(mark=mark, score=score, fault=fault, **changes)
    return Second(judge=dataclasses.replace(made, digest="second"), shares_network=shares)


def tried(first, other, **more):
    lanes = {"press-3": dataclasses.replace(first, seconds={"surface": other})}
    return Line(Frames(frame(1), frame(2)), lanes, **more).run()


def test_both_verdicts_are_told_after_the_line_has_the_first_and_a_witness_hears_that_they_differ():
    line = tried(lane(score=0.9), second(score=0.1))

    assert line.order == ["verdict", "pair"] * 2
    pair = line.pairs[0]
    assert (pair.first.verdict, pair.second.verdict, pair.second.digest) == (Verdict.FAIL, Verdict.PASS, "second")
    assert pair.id == line.verdicts[0].id
    assert line.differing == [True, True]
    assert tried(lane(score=0.9), second(score=0.8)).differing == [False, False]


@settings(deadline=None, max_examples=60)
@given(scores=st.lists(st.floats(0, 1), min_size=2, max_size=2), shares=st.booleans(), breaks=st.booleans())
def test_no_verdict_is_that_of_the_second_model(scores, shares, breaks):
    fault = InferenceError("broken") if breaks else None
    other = second(mark=1.0 if shares else 2.0, score=scores[1], shares=shares, fault=fault)
    with_it, alone = (
        tried(lane(score=scores[0]), other),
        Line(Frames(frame(1), frame(2)), {"press-3": lane(score=scores[0])}),
    )
    alone.run()
    plain = [dataclasses.replace(found, id="") for found in with_it.verdicts]
    assert plain == [dataclasses.replace(found, id="") for found in alone.verdicts]


def test_a_second_model_with_a_network_of_its_own_looks_only_while_no_frame_waits():
    assert [pair.second.verdict for pair in tried(lane(), second(2.0, shares=False)).pairs] == [Verdict.PASS] * 2
    assert [pair.second for pair in tried(lane(), second(2.0, shares=False), waiting=lambda: True).pairs] == [None] * 2


def test_one_on_the_same_network_never_looks_and_is_asked_however_many_frames_wait():
    line = tried(lane(), second(1.0, fault=AssertionError("it looked")), waiting=lambda: True)
    assert [pair.second.verdict for pair in line.pairs] == [Verdict.PASS] * 2


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_second_model_that_gives_no_number_has_failed_and_the_line_hears_nothing_of_it(score):
    line = tried(lane(), second(score=score))
    assert [pair.second for pair in line.pairs] == [Opinion(digest="second", verdict=None)] * 2
    assert line.differing == [False, False]


def test_where_the_model_in_force_fails_that_is_told_as_its_failure():
    line = tried(lane(fault=InferenceError("GPU lost")), second())
    assert [(pair.first.verdict, pair.second) for pair in line.pairs] == [(None, None)] * 2
    assert all(found.reason is HoldReason.MODEL for found in line.verdicts)


def test_parts_that_good_only_learns_from_count_as_taken_for_good():
    class Learning(Assessor):
        def assess(self, features):
            return Assessment(label="ok", score=0.0, hold=HoldReason.LEARNING)

    line = tried(Lane(first=judge(assessor=Learning(1.0))), second(score=0.9))
    assert [(pair.first.verdict, pair.second.verdict) for pair in line.pairs] == [(Verdict.PASS, Verdict.FAIL)] * 2


def test_n_of_m_looks_hold_for_the_second_model_by_itself():
    rules = Rules(fails_needed=2, looks=2)
    line = tried(lane(score=0.1), second(score=0.9, rules=rules))
    assert [pair.second.verdict for pair in line.pairs] == [Verdict.HOLD, Verdict.FAIL]


# --- past parts ----------------------------------------------------------------------------------------------------


def head(gain):
    """Two classes from three features: `gain` tells how loudly the first one speaks for the defect."""
    weights = np.zeros((3, 2), np.float32)
    weights[0] = -gain, gain
    return HeadAssessor(
        LinearHead(
            classes=("ok", "scratch"),
            good_classes=frozenset({"ok"}),
            weights=weights,
            bias=np.zeros(2, np.float32),
            mean=np.zeros(3, np.float32),
            scale=np.ones(3, np.float32),
            temperature=1.0,
            threshold=0.5,
            hold_below=0.5,
        ),
        0,
        0.5,
    )


def marked(number, mark):
    return dataclasses.replace(frame(number), image=np.full((8, 8, 3), mark, np.uint8))


def looking(digest, gain):
    def look(picture):
        return Features(
            vector=np.full(3, float(picture[0, 0, 0]) - 100, np.float32), map=np.zeros((2, 2, 3), np.float32)
        )

    return judge(digest=digest, look=look, assessor=head(gain))


def test_a_new_head_says_of_past_parts_what_it_would_have_said_live():
    frames = [marked(number, 90 + 5 * number) for number in range(6)]
    before = Line(Frames(*frames), {"press-3": Lane(first=looking("old", 1.0))}).run()
    on_trial = Lane(
        first=looking("old", 1.0), seconds={"surface": Second(judge=looking("new", -1.0), shares_network=True)}
    )
    live = Line(Frames(*frames), {"press-3": on_trial}).run()

    back = look_back("surface", before.shadow.past("surface"), {"press-3": on_trial})

    assert [(p.first.verdict, p.second.verdict) for p in back] == [
        (p.first.verdict, p.second.verdict) for p in live.pairs
    ]
    assert {pair.id for pair in back} == {found.id for found in before.verdicts}
    assert any(pair.differs for pair in back)


def test_parts_that_another_head_judged_are_judged_again_by_the_one_in_force():
    frames = [marked(number, 90 + 5 * number) for number in range(6)]
    before = Line(Frames(*frames), {"press-3": Lane(first=looking("older", 1.0))}).run()
    now = Lane(first=looking("old", -1.0), seconds={"surface": Second(judge=looking("new", -1.0), shares_network=True)})

    back = look_back("surface", before.shadow.past("surface"), {"press-3": now})

    assert len(back) == 6
    assert not any(pair.differs for pair in back)
    assert {pair.first.digest for pair in back} == {"old"}


def test_past_parts_are_bounded_and_say_nothing_of_another_network():
    frames = [marked(number, 90) for number in range(PAST_PARTS + 5)]
    line = Line(Frames(*frames), {"press-3": Lane(first=looking("old", 1.0))}).run()
    past = line.shadow.past("surface")
    assert len(past) == PAST_PARTS
    other = Lane(
        first=looking("old", 1.0), seconds={"surface": Second(judge=looking("new", 1.0), shares_network=False)}
    )
    assert look_back("surface", past, {"press-3": other}) == ()
    assert look_back("surface", past, {}) == ()


def test_the_encoder_may_use_its_buffers_again():
    shared = np.zeros(3, np.float32)

    def look(picture):
        shared[:] = picture[0, 0, 0]
        return Features(vector=shared, map=np.zeros((2, 2, 3), np.float32))

    first = judge(look=look, assessor=head(1.0))
    line = Line(Frames(marked(1, 10), marked(2, 20)), {"press-3": Lane(first=first)}).run()
    assert [past.vector[0] for past in line.shadow.past("surface")] == [10, 20]
