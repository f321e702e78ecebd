"""The clerk keeps the rounds going: answers each contribution, adds it up, closes, solves, publishes, forgets.

    claim, payload --judge--> bytes on disk --> one transaction: it counts --> sums --(deadline)--> model --> published

Killed at any point and started again, it goes on where the ledger stands and ends at the same bytes: what counts is in
the ledger, its bytes are on disk before that, and sums and models are the same however often they are made. One clerk
works on a ledger at a time, in one thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_agent.clock import Clock
from edge_agent.coordinator import rounds
from edge_agent.coordinator.aggregate.weights import weigh
from edge_agent.coordinator.ledger import Ledger
from edge_agent.coordinator.matter import Item, Maker, Matter, Running, Solved, SolveRows
from edge_agent.coordinator.payloads import Payloads, RowFile
from edge_agent.coordinator.rounds import Answer, Claim, Event, Known, Phase, Round, Ruling
from edge_agent.coordinator.tables import Answered, Counted
from edge_agent.errors import BadContributionError, RefusedError
from edge_agent.records import ulid

# After so many contributions the running sums are kept: what a restart has to decode anew, at some 50 ms each.
KEEP_SUMS_EVERY = 32
REASON_MAX_CHARS = 512

# By task and kind.
Makers = Mapping[tuple[str, str], Maker]


@dataclass(slots=True)
class _Open:
    """The sums of an open round in memory, and how many contributions the stored ones lack."""

    number: int
    running: Running
    unkept: int


class Clerk:
    """Works on one ledger and its payloads; `scratch` is a folder for what is worth nothing after a crash."""

    def __init__(
        self,
        ledger: Ledger,
        payloads: Payloads,
        makers: Makers,
        *,
        clock: Clock,
        scratch: Path,
        keep_sums_every: int = KEEP_SUMS_EVERY,
    ) -> None:
        self.ledger = ledger
        self.payloads = payloads
        self._makers = makers
        self._clock = clock
        self._scratch = scratch
        self._keep_sums_every = keep_sums_every
        self._open: dict[str, _Open] = {}

    def open_round(self, task: str, kind: str) -> Round:
        """Offer the next round; what waited for it counts at once.

        Raises:
            RefusedError: the one before has not ended, the task or its kind is not known, or the database is older
                than a gateway's memory.
            TransientError, CorruptStoreError: of every method here.
        """
        self._maker(task, kind)
        now = self._clock.utc_s()
        self.ledger.open_round(task, kind, ulid(now), now)
        self.payloads.sweep(self.ledger.spoken_of())
        return self.tick(task)

    def announce(self, claim: Claim) -> Ruling:
        """What will become of a contribution whose bytes are still to be fetched; COUNT and LATE ask for them."""
        state, known, ruling = self._judged(claim)
        if ruling.answer is Answer.COUNT and state is not None and not known.announced:
            self.ledger.announce(claim, state.terms.number, self._clock.utc_s())
        return ruling

    def receive(self, claim: Claim, payload: bytes) -> Answered:
        """Count the contribution or say why not; the same again is answered the same."""
        state, known, ruling = self._judged(claim)
        if ruling.answer is Answer.AGAIN:
            return self._answered(claim)
        if ruling.answer is Answer.REFUSE or state is None:
            return self._refuse(claim, known, ruling.reason or "")
        matter = self._matter(state)
        try:
            item = _read(matter, claim, payload)
            if ruling.answer is Answer.COUNT:
                self._count(state, matter, claim, item, payload, ruling.staleness)
            else:
                self.payloads.place(payload)
                self.ledger.set_aside(claim, "late", self._clock.utc_s())
        except RefusedError as error:
            return self._refuse(claim, known, str(error))
        return self._answered(claim)

    def tick(self, task: str) -> Round:
        """Do what time and numbers ask for: count what waited, close, solve, publish, mend.

        Raises:
            RefusedError: no round was opened yet.
        """
        state = self._newest(task)
        if state.phase in rounds.TAKING:
            state = self._take_waiting(state)
        while event := rounds.happened(state, self._clock.utc_s()):
            short = f"{state.counted} contributions until the deadline, at least {state.terms.minimum} were wanted"
            state, _ = self.ledger.move(task, event, short if event is Event.SHORT else None)
        if state.phase is Phase.SOLVING:
            state = self._publish(state)
        if state.phase in rounds.ENDED:
            self._open.pop(task, None)
        self._mend(task)
        return self._newest(task)

    def cancel(self, task: str, reason: str) -> Round:
        """End the open round without a model, by a person."""
        self._open.pop(task, None)
        state, _ = self.ledger.move(task, Event.CANCELLED, reason)
        return state

    def forget(self, gateway: str) -> list[str]:
        """Make every head and every open sum as if `gateway` had never taken part; returns the tasks concerned.

        Raises:
            RefusedError: nobody of this name ever joined.
        """
        tasks = self.ledger.forget(gateway)
        for task in tasks:
            self._open.pop(task, None)
            self.tick(task)
        self.payloads.sweep(self.ledger.spoken_of())
        return tasks

    # --- one contribution -------------------------------------------------------------------------------------------

    def _judged(self, claim: Claim) -> tuple[Round | None, Known, Ruling]:
        state = self.ledger.round(claim.task)
        if state is None:
            reason = f"task {claim.task!r}: no round was offered"
            return None, Known(takes_part=False), Ruling(answer=Answer.REFUSE, reason=reason)
        known = self.ledger.known(claim)
        return state, known, rounds.judge(state, claim, known, self._clock.utc_s())

    def _count(self, state: Round, matter: Matter, claim: Claim, item: Item, payload: bytes, staleness: int) -> None:
        gateway = self.ledger.registry.gateway(claim.gateway)
        share = 1.0 if gateway is None else gateway.share
        weight = weigh(claim.samples, staleness=staleness, equal=matter.equal_weights, share=share)
        number = state.terms.number
        held = self._sums(state, matter)
        try:
            held.running.add(item, weight)
            self.payloads.place(payload)
            self.ledger.count(claim, number, weight, self._clock.utc_s())
        except BaseException:
            # The ledger may or may not have it: look again before anything is added to these sums.
            del self._open[claim.task]
            raise
        held.unkept += 1
        if held.unkept >= self._keep_sums_every and matter.by_rows is None:
            counted = self.ledger.counted(claim.task, number)
            self.ledger.keep_sums(claim.task, number, held.running.to_bytes(), counted)
            held.unkept = 0

    def _refuse(self, claim: Claim, known: Known, reason: str) -> Answered:
        reason = reason[:REASON_MAX_CHARS]
        # What somebody else says in a gateway's name, or under an id that was answered, leaves no trace in the ledger.
        if claim.sender == claim.gateway and known.takes_part and known.same_id is None:
            self.ledger.set_aside(claim, "refused", self._clock.utc_s(), reason)
        return Answered(state="refused", sha256=claim.sha256, counted_in=None, reason=reason)

    def _answered(self, claim: Claim) -> Answered:
        answered = self.ledger.answered(claim.gateway, claim.id)
        if answered is None:
            raise RefusedError(f"contribution {claim.id} of {claim.gateway} was never answered")
        return answered

    def _take_waiting(self, state: Round) -> Round:
        for claim in self.ledger.waiting(state.terms.task):
            # As if it came now: that it was answered and waits is what brought it here.
            known = replace(self.ledger.known(claim), same_id=None, waiting=False)
            ruling = rounds.judge(state, claim, known, self._clock.utc_s())
            payload = self.payloads.read(claim.sha256)
            try:
                if ruling.answer is not Answer.COUNT:
                    raise BadContributionError(ruling.reason or f"round {state.terms.number} takes nothing more")
                matter = self._matter(state)
                self._count(state, matter, claim, _read(matter, claim, payload), payload, ruling.staleness)
            except RefusedError as error:
                self.ledger.set_aside(claim, "refused", self._clock.utc_s(), str(error)[:REASON_MAX_CHARS])
            state = self._newest(state.terms.task)
        return state

    # --- sums and models --------------------------------------------------------------------------------------------

    def _sums(self, state: Round, matter: Matter) -> _Open:
        """The sums of the open round: those in memory, else the stored ones and what they lack."""
        task, number = state.terms.task, state.terms.number
        held = self._open.get(task)
        if held is None or held.number != number:
            running = matter.begin(self.ledger.sums(task, number))
            missing = [entry for entry in self.ledger.counted(task, number) if not entry.summed]
            self._add(running, matter, missing)
            held = self._open[task] = _Open(number=number, running=running, unkept=len(missing))
        return held

    def _add(self, running: Running, matter: Matter, entries: Sequence[Counted]) -> None:
        for entry in entries:
            running.add(matter.read(self.payloads.read(entry.sha256), entry.base, entry.samples), entry.weight)

    def _publish(self, state: Round) -> Round:
        try:
            solved = self._solve(state)
        except RefusedError as error:
            state, _ = self.ledger.move(state.terms.task, Event.UNSOLVABLE, str(error)[:REASON_MAX_CHARS])
            return state
        model = self.payloads.place(solved.model)
        server_state = None if solved.state is None else self.payloads.place(solved.state)
        return self.ledger.publish(state, model, server_state)

    def _solve(self, state: Round) -> Solved:
        matter = self._matter(state)
        terms = state.terms
        population = max(terms.invited, state.counted)
        solve_rows = matter.by_rows
        if solve_rows is not None:
            return self._solve_rows(state, matter, solve_rows, population)
        running = self._sums(state, matter).running
        # They go on from here with what stands from earlier rounds, so they are no longer the sums of this one.
        del self._open[terms.task]
        if matter.standing:
            self._add(running, matter, self.ledger.standing(state))
        return matter.solve(running, population=population)

    def _solve_rows(self, state: Round, matter: Matter, solve_rows: SolveRows, population: int) -> Solved:
        terms = state.terms
        counted = self.ledger.counted(terms.task, terms.number)
        rows: RowFile | None = None
        try:
            for entry in counted:
                vector = matter.read(self.payloads.read(entry.sha256), entry.base, entry.samples)
                if rows is None:
                    rows = RowFile(self._scratch / f"{terms.task}.rows", len(vector))
                rows.append(vector)
            if rows is None:
                raise BadContributionError(f"round {terms.number} without a contribution")
            return solve_rows(rows, [entry.weight for entry in counted], population)
        finally:
            if rows is not None:
                rows.close()

    def _mend(self, task: str) -> None:
        """Solve a withdrawn head again, from what is left."""
        state = self.ledger.unreleased(task)
        if state is None:
            return
        try:
            if state.terms.bases[0] != self.ledger.registry.base(task):
                raise BadContributionError("its encoder was replaced since, so it is not made again")
            matter = self._matter(state)
            running = matter.begin()
            self._add(running, matter, self.ledger.counted(task, state.terms.number))
            self._add(running, matter, self.ledger.standing(state))
            solved = matter.solve(running, population=max(state.terms.invited, state.counted))
        except RefusedError as error:
            self.ledger.withdraw(state, f"withdrawn: {error}"[:REASON_MAX_CHARS])
            return
        self.ledger.republish(state, self.payloads.place(solved.model))

    # --- looking up -------------------------------------------------------------------------------------------------

    def _newest(self, task: str) -> Round:
        state = self.ledger.round(task)
        if state is None:
            raise RefusedError(f"task {task}: no round was opened yet")
        return state

    def _matter(self, state: Round) -> Matter:
        terms = state.terms
        make = self._maker(terms.task, terms.kind)
        if terms.kind != "delta":
            return make(None, None)
        before = self.ledger.release(terms.task, kind="delta")
        kept = None if before is None or before.state is None else self.payloads.read(before.state)
        return make(self.payloads.read(terms.bases[0]), kept)

    def _maker(self, task: str, kind: str) -> Maker:
        make = self._makers.get((task, kind))
        if make is None:
            raise RefusedError(f"task {task}: nothing is known of rounds of kind {kind!r}, only {sorted(self._makers)}")
        return make


def _read(matter: Matter, claim: Claim, payload: bytes) -> Item:
    found = hashlib.sha256(payload).hexdigest()
    if found != claim.sha256:
        raise BadContributionError(f"{len(payload)} bytes of sha256 {found[:12]}, announced was {claim.sha256[:12]}")
    return matter.read(payload, claim.base, claim.samples)
