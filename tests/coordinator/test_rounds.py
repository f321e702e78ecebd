"""Laws of a round: every event is answered in every phase, nothing is counted twice, and every round ends."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.coordinator import rounds
from edge_agent.coordinator.rounds import Action, Answer, Claim, Event, Known, Phase, Round, Terms

BASE, OLDER, STRANGE = "b" * 64, "a" * 64, "f" * 64
TERMS = Terms(
    task="press",
    number=7,
    offer="OFFER7",
    kind="statistics",
    bases=(BASE,),
    minimum=2,
    maximum=4,
    minimum_samples=10,
    invited=0,
    deadline_utc_s=100.0,
    grace_s=20.0,
)
CLAIM = Claim(
    id="C1",
    sender="gw-1",
    gateway="gw-1",
    task="press",
    number=7,
    offer="OFFER7",
    kind="statistics",
    base=BASE,
    sha256="1" * 64,
    samples=40,
)
PART = Known(takes_part=True)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", Event)
def test_every_event_moves_or_leaves_the_round_in_every_phase(phase, event):
    after, action = rounds.advance(Round(terms=TERMS, phase=phase, counted=2), event, "why")
    moves = event in rounds.TABLE[phase]
    assert moves or (after.phase, after.counted, action) == (phase, 2, Action.NOTHING)
    assert after.counted == 2 + (action is Action.ADD) - (action is Action.RECOUNT)


@pytest.mark.parametrize("phase", Phase)
def test_a_round_that_has_ended_never_moves_again_and_every_other_can_end(phase):
    if phase in rounds.ENDED:
        assert not rounds.TABLE[phase]
    else:
        assert rounds.ENDED & {target for target, _ in rounds.TABLE[phase].values()}


def test_a_round_closes_at_its_maximum_or_when_all_invited_have_come():
    full = Round(terms=TERMS, phase=Phase.COLLECTING, counted=4)
    invited = Round(terms=replace(TERMS, invited=3), phase=Phase.COLLECTING, counted=3)
    assert rounds.happened(full, 0.0) is rounds.happened(invited, 0.0) is Event.FILLED
    assert rounds.happened(replace(full, counted=3), 0.0) is None


def test_fewer_than_the_minimum_do_not_close_a_round_although_all_invited_have_come():
    lonely = Round(terms=replace(TERMS, invited=1), phase=Phase.COLLECTING, counted=1)
    assert rounds.happened(lonely, 0.0) is None
    assert rounds.happened(lonely, 100.0) is Event.SHORT


def test_at_the_deadline_a_round_waits_only_for_what_can_still_help():
    state = Round(terms=TERMS, phase=Phase.COLLECTING, counted=1)
    assert rounds.happened(state, 100.0) is Event.SHORT
    state = replace(state, announced=1)
    assert rounds.happened(state, 100.0) is Event.DUE
    closing, _ = rounds.advance(state, Event.DUE)
    assert rounds.happened(closing, 119.0) is None
    assert rounds.happened(closing, 120.0) is Event.SHORT
    arrived, action = rounds.advance(closing, Event.ARRIVED)
    assert action is Action.ADD
    assert rounds.happened(replace(arrived, announced=0), 101.0) is Event.SETTLED


REFUSED = [
    ("gw-2", {"sender": "gw-2"}, PART),
    ("not registered", {}, Known(takes_part=False)),
    ("already used for other bytes", {}, Known(takes_part=True, same_id="2" * 64)),
    ("task other", {"task": "other"}, PART),
    ("round 8, the coordinator is at round 7", {"number": 8}, PART),
    ("offered as OFFER7", {"offer": "OFFER0"}, PART),
    ("kind delta", {"kind": "delta"}, PART),
    ("base is ffffffffffff, the round wants bbbbbbbbbbbb", {"base": STRANGE}, PART),
    ("9 samples, the round wants at least 10", {"samples": 9}, PART),
    ("each gateway counts once", {}, Known(takes_part=True, in_round=True)),
    ("each gateway counts once", {"number": 6, "offer": "OFFER6"}, Known(takes_part=True, in_round=True)),
]


@pytest.mark.parametrize(("words", "changes", "known"), REFUSED)
def test_what_does_not_belong_into_the_round_is_refused_with_a_reason(words, changes, known):
    ruling = rounds.judge(Round(terms=TERMS), replace(CLAIM, **changes), known, 0.0)
    assert ruling.answer is Answer.REFUSE
    assert words in ruling.reason


def test_a_repeat_is_answered_as_the_first_time_whatever_has_become_of_the_round():
    known = Known(takes_part=True, same_id=CLAIM.sha256, in_round=True)
    for phase in Phase:
        assert rounds.judge(Round(terms=TERMS, phase=phase), CLAIM, known, 500.0).answer is Answer.AGAIN


def test_the_same_delta_under_a_new_id_is_refused_but_the_same_sums_are_news_of_today():
    known = Known(takes_part=True, same_bytes_in=5)
    delta = Round(terms=replace(TERMS, kind="delta"))
    assert "counted in round 5" in rounds.judge(delta, replace(CLAIM, kind="delta"), known, 0.0).reason
    assert rounds.judge(Round(terms=TERMS), CLAIM, known, 0.0).answer is Answer.COUNT


@pytest.mark.parametrize("phase", [Phase.CLOSING, Phase.SOLVING, Phase.PUBLISHED, Phase.ABANDONED])
def test_a_straggler_waits_for_the_next_round_if_its_base_still_fits(phase):
    late = rounds.judge(Round(terms=TERMS, phase=phase), CLAIM, PART, 101.0)
    assert late.answer is Answer.LATE
    second = rounds.judge(Round(terms=TERMS, phase=phase), CLAIM, Known(takes_part=True, waiting=True), 101.0)
    assert second.answer is Answer.REFUSE
    assert "already waits" in second.reason


def test_a_late_delta_on_a_replaced_base_is_refused_and_on_one_that_still_fits_kept():
    done = Round(terms=replace(TERMS, kind="delta"), phase=Phase.PUBLISHED)
    delta = replace(CLAIM, kind="delta")
    assert "is replaced" in rounds.judge(done, delta, PART, 101.0).reason
    patient = replace(done, terms=replace(done.terms, bases=(BASE, OLDER)))
    assert rounds.judge(patient, delta, PART, 101.0).answer is Answer.LATE
    assert rounds.judge(patient, replace(delta, base=OLDER), PART, 101.0).answer is Answer.REFUSE


def test_an_older_base_within_bounds_counts_as_stale():
    terms = replace(TERMS, kind="delta", bases=(BASE, OLDER))
    assert rounds.judge(Round(terms=terms), replace(CLAIM, kind="delta", base=OLDER), PART, 0.0).staleness == 1


def test_what_was_announced_in_time_is_counted_within_the_grace_and_not_after():
    closing, known = Round(terms=TERMS, phase=Phase.CLOSING, announced=1), Known(takes_part=True, announced=True)
    assert rounds.judge(closing, CLAIM, known, 119.0).answer is Answer.COUNT
    assert rounds.judge(closing, CLAIM, known, 121.0).answer is Answer.LATE
    assert rounds.judge(closing, CLAIM, PART, 119.0).answer is Answer.LATE


class RoundsUnderAttack(RuleBasedStateMachine):
    """Honest, late, repeated, reordered and hostile contributions over rounds, with deaths of plants in between."""

    gateways = st.sampled_from(["gw-1", "gw-2", "gw-3", "gw-4", "gw-5"])

    @initialize(minimum=st.integers(1, 3), more=st.integers(0, 2), invited=st.integers(0, 5))
    def offered(self, minimum, more, invited):
        self.now = 0.0
        self.answers = {}  # id -> (claim, answer)
        self.bytes_counted = {}  # gateway, sha256 -> round
        self.counted = {}  # round -> gateways
        self.waiting = {}
        self.terms = replace(TERMS, number=1, minimum=minimum, maximum=minimum + more, invited=invited, kind="delta")
        self.next_round()

    def next_round(self):
        base = f"{self.terms.number:064x}"
        self.terms = replace(
            self.terms,
            number=self.terms.number + 1,
            offer=f"O{self.terms.number + 1}",
            bases=(base,),
            deadline_utc_s=self.now + 100,
        )
        self.state = Round(terms=self.terms)
        self.counted[self.terms.number] = []
        for claim in self.waiting.values():
            if claim.base == base:
                self.count(claim)
        self.waiting = {}

    def count(self, claim):
        self.counted[self.terms.number].append(claim.gateway)
        key = claim.gateway, claim.sha256
        assert key not in self.bytes_counted
        self.bytes_counted[key] = self.terms.number
        self.state, action = rounds.advance(self.state, Event.ARRIVED)
        assert action is Action.ADD

    def send(self, claim):
        earlier = self.answers.get(claim.id)
        known = Known(
            takes_part=claim.gateway != "gw-5",
            same_id=None if earlier is None else earlier[0].sha256,
            same_bytes_in=self.bytes_counted.get((claim.gateway, claim.sha256)),
            in_round=claim.gateway in self.counted[self.terms.number],
            waiting=claim.gateway in self.waiting,
        )
        ruling = rounds.judge(self.state, claim, known, self.now)
        assert (ruling.reason is not None) == (ruling.answer is Answer.REFUSE)
        if ruling.answer is Answer.COUNT:
            self.count(claim)
        elif ruling.answer is Answer.LATE:
            self.waiting[claim.gateway] = claim
        elif ruling.answer is Answer.AGAIN:
            assert earlier is not None
        if earlier is None and claim.sender == claim.gateway:
            self.answers[claim.id] = claim, ruling.answer

    @rule(gateway=gateways, number=st.integers(-1, 1), content=st.integers(0, 3), samples=st.sampled_from([5, 50]))
    def contribution(self, gateway, number, content, samples):
        number += self.terms.number
        self.send(
            replace(
                CLAIM,
                id=f"{gateway}/{number}/{content}",
                sender=gateway,
                gateway=gateway,
                number=number,
                kind="delta",
                offer=f"O{number}",
                base=f"{number - 1:064x}",
                sha256=f"{content:064x}",
                samples=samples,
            )
        )

    @rule(data=st.data())
    @precondition(lambda self: self.answers)
    def replay(self, data):
        claim, _ = self.answers[data.draw(st.sampled_from(sorted(self.answers)))]
        before = self.state
        self.send(claim)
        assert self.state == before

    @rule(gateway=gateways, victim=gateways)
    def impostor(self, gateway, victim):
        before = self.state
        number = self.terms.number
        if gateway != victim:
            self.send(replace(CLAIM, id="x", sender=gateway, gateway=victim, number=number, offer=f"O{number}"))
        assert self.state == before

    @rule(seconds=st.sampled_from([1.0, 30.0, 101.0, 121.0]))
    def time_passes(self, seconds):
        self.now += seconds
        self.settle()

    @rule()
    def settle(self):
        while event := rounds.happened(self.state, self.now):
            self.state, _ = rounds.advance(self.state, event)

    @rule(works=st.booleans())
    def solved(self, works):
        self.state, _ = rounds.advance(self.state, Event.SOLVED if works else Event.UNSOLVABLE)
        if self.state.phase in rounds.ENDED:
            self.next_round()

    @invariant()
    def each_gateway_counts_once_in_a_round(self):
        for gateways in self.counted.values():
            assert len(gateways) == len(set(gateways)) <= self.terms.maximum
        assert self.state.counted == len(self.counted[self.terms.number])
        assert "gw-5" not in self.counted[self.terms.number]

    def teardown(self):
        """Whatever happened: time alone brings the round to its end, or to the solver's word."""
        if not hasattr(self, "now"):
            return
        self.now += 1000.0
        self.settle()
        self.state, _ = rounds.advance(self.state, Event.SOLVED)
        assert self.state.phase in rounds.ENDED
        assert (self.state.phase is Phase.PUBLISHED) == (self.state.counted >= self.terms.minimum)


TestRoundsUnderAttack = RoundsUnderAttack.TestCase
TestRoundsUnderAttack.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
