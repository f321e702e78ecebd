"""Candidates on their way into force: followed, ruled on, switched between two frames, taken back. Main thread only.

    pointer on disk --> second model beside the first --lanes--> inspect thread --pairs--> tally --rule--> settle
                                  `--parts that are past, at once-->                       pointer, models, alarms

All that must survive is in the pointer's file (models/pointer.py). What is held here can be had again from it.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from edge_agent.clock import Clock
from edge_agent.errors import BadBundleError, BadCommandError, EdgeAgentError, TransientError
from edge_agent.inspect.lane import Lane
from edge_agent.inspect.shadow import Pair, Shadow, look_back
from edge_agent.learn.release import Case, Event, Policy, Stage, after, rule
from edge_agent.models import journal, loading
from edge_agent.models.journal import GATEWAY, Figure, operator
from edge_agent.models.pointer import Pointer
from edge_agent.models.trial import Trial
from edge_agent.models.trials import Trials
from edge_agent.processes.models_in_use import ModelsInUse
from edge_agent.processes.seconds import SecondModels
from edge_agent.processes.trial_count import TrialCount, Truths, line_of
from edge_agent.storage import append_line
from edge_agent.sync.alarms import Condition
from edge_agent.sync.payloads import TrialState

log = logging.getLogger(__name__)

SAVE_S = 10.0  # counts on disk are at most so old, and news of a trial that goes on
HEAR_S = 5.0
# Some 20,000 differing parts, twice.
DIFFERING_BYTES = 8 * 1024 * 1024
DIFFERING, DIFFERING_OLDER = "differing.jsonl", "differing.1.jsonl"

ALARMS: Mapping[Stage, str] = {Stage.DISMISSED: "candidate-dismissed", Stage.ROLLED_BACK: "model-rolled-back"}
WAITING = "candidate-waiting"
STAGES: Mapping[Stage, Literal["shadow", "waiting", "probation"]] = {
    Stage.SHADOW: "shadow",
    Stage.WAITING: "waiting",
    Stage.PROBATION: "probation",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """What trials are followed with. `root` is that of the model store; `pairs` come from the inspect thread; `said`
    tells which samples people have spoken of, and whether each is a defect by these good classes.
    """

    root: Path
    trials: Trials
    models: ModelsInUse
    seconds: SecondModels
    shadow: Shadow
    pairs: queue.SimpleQueue[Pair]
    said: Callable[[Iterable[str], Collection[str]], dict[str, bool]]
    note: Callable[[Condition], None]
    clock: Clock


class ReleaseDesk:
    """The trials of the models in use. `policy` gives that of a model as the configuration stands."""

    def __init__(self, instruments: Instruments, policy: Callable[[str], Policy]) -> None:
        self._in = instruments
        self._policy = policy
        self._counts: dict[str, TrialCount] = {}
        self._reasons: dict[str, tuple[str, ...]] = {}
        self._differing: list[bytes] = []
        self._save_mono_s = self._hear_mono_s = 0.0
        self._news = False

    def begin(self, names: Iterable[str]) -> None:
        """Before models are loaded: a probation that nobody ended has seen a crash, and one too many takes it back."""
        for name in names:
            try:
                self._count_crash(name)
            except EdgeAgentError as error:  # noqa: PERF203 - one model's disk trouble is no other's
                log.warning("model=%s trial=uncounted reason=%s", name, error)

    def _count_crash(self, name: str) -> None:
        trial = self._in.trials.of(name)
        if trial is None or trial.stage is not Stage.PROBATION or not trial.in_use:
            return
        trial = replace(trial, crashes=trial.crashes + 1)
        self._in.trials.keep(name, trial)
        log.warning("model=%s digest=%s event=crashed times=%d", name, trial.candidate[:12], trial.crashes)
        ruling = rule(_case(trial, 0.0, shares_network=False), self._policy(name))
        if ruling.event is Event.WORSE:
            self._counts[name] = TrialCount(trial=trial, saved=trial)
            self._settle(name, ruling.event, ruling.reasons)

    def step(self, names: tuple[str, ...], lanes: Mapping[str, Lane]) -> bool:
        """Follow what has happened; True when lanes must be built anew."""
        self._read_pairs()
        changed = self._in.seconds.poll()
        for name in names:
            try:
                changed |= self._follow(name, lanes)
            except EdgeAgentError as error:  # noqa: PERF203 - the disk: it is tried again at the next step
                log.warning("model=%s trial=stuck reason=%s", name, error)
        now_s = self._in.clock.mono_s()
        if now_s >= self._hear_mono_s:
            self._hear_mono_s = now_s + HEAR_S
            for name, count in self._counts.items():
                count.hear(self._truths(name))
        if now_s >= self._save_mono_s:
            self._save_mono_s = now_s + SAVE_S
            self._save()
        self._write_differing()
        return changed

    def take_news(self) -> bool:
        """Whether `state` says something else than when it was last asked."""
        news, self._news = self._news, False
        return news

    def close(self, *, clean: bool) -> None:
        """Keep the counts; a clean end is no crash of what is on probation."""
        self._read_pairs()
        for name, count in self._counts.items():
            try:
                self._in.trials.keep(name, replace(count.trial, in_use=count.trial.in_use and not clean))
            except EdgeAgentError as error:  # noqa: PERF203 - one model's disk trouble is no other's
                log.warning("model=%s trial=unsaved reason=%s", name, error)
        self._write_differing()

    def decide(self, name: str, *, confirm: bool, by: str) -> None:
        """A person confirms or dismisses the candidate.

        Raises:
            BadCommandError: there is none.
            StorageFullError, StorageReadOnlyError, TransientError: nothing changed.
        """
        self._read_pairs()
        trial = self._in.trials.of(name)
        if trial is None or not trial.stage.open:
            raise BadCommandError(f"no candidate of model {name!r} is on trial")
        count = self._counts.get(name) or self._adopt(name, trial)
        event, word = (Event.CONFIRMED, "confirmed") if confirm else (Event.REFUSED, "dismissed")
        self._settle(name, event, (f"{word} by {by} after {count.trial.tally.parts} parts",), by=operator(by))

    def state(self, name: str) -> TrialState | None:
        """What `model/is` says of a trial that goes on."""
        count = self._counts.get(name)
        if count is None or not count.trial.stage.open:
            return None
        policy, trial = self._policy(name), count.trial
        on_probation = trial.stage is Stage.PROBATION
        return TrialState(
            stage=STAGES[trial.stage],
            candidate=trial.candidate,
            reference=trial.reference,
            parts=trial.tally.parts,
            wanted=policy.probation_parts if on_probation else policy.shadow_parts,
            differing=trial.tally.differing,
            errors=trial.tally.candidate_errors,
            reason="; ".join(self._reasons.get(name, ())) or None,
        )

    def _read_pairs(self) -> None:
        while True:
            try:
                pair = self._in.pairs.get_nowait()
            except queue.Empty:
                return
            count = self._counts.get(pair.model)
            # What came before the second model was told to begin is among the parts that are looked back at.
            if count is not None and count.began_mono_s is not None and pair.id not in count.past:
                self._add(count, pair)

    def _add(self, count: TrialCount, pair: Pair) -> None:
        if count.add(pair, self._policy(pair.model).latency_ms):
            self._differing.append(line_of(pair, count.trial.stage))

    def _follow(self, name: str, lanes: Mapping[str, Lane]) -> bool:
        trial = self._in.trials.of(name)
        count = self._counts.get(name)
        if trial is None or not trial.stage.open:
            return count is not None and self._over(name)
        if count is None or (count.trial.candidate, count.trial.stage) != (trial.candidate, trial.stage):
            count = self._adopt(name, trial)
        model = self._in.models.models.get(name)
        if trial.stage is Stage.PROBATION and (model is None or model.digest != trial.candidate):
            failure = self._in.models.failure(name, trial.candidate)
            return failure is not None and self._settle(name, Event.WORSE, (f"does not load: {failure}",))
        if model is None or model.digest == count.second:
            return False
        self._in.seconds.want(name, count.second, model)
        fault = self._in.seconds.fault(name, count.second)
        if trial.stage is not Stage.PROBATION:
            if fault is not None:
                return self._settle(name, Event.WORSE, (f"does not load: {fault}",))
            second = self._in.seconds.models.get(name)
            if second is None or second.digest != count.second:
                return False
            if count.began_mono_s is None and not self._begin_shadow(name, count, lanes):
                return True
        return self._rule(name, count)

    def _rule(self, name: str, count: TrialCount) -> bool:
        began_s = count.began_mono_s if count.began_mono_s is not None else self._in.clock.mono_s()
        second, model = self._in.seconds.models.get(name), self._in.models.models.get(name)
        shares = second is not None and loading.shares_network(second.manifest, second.flavour, model)
        case = _case(count.trial, self._in.clock.mono_s() - began_s, shares_network=shares)
        ruling = rule(case, self._policy(name))
        self._reasons[name] = ruling.reasons
        return ruling.event is not None and self._settle(name, ruling.event, ruling.reasons)

    def _adopt(self, name: str, trial: Trial) -> TrialCount:
        count = self._counts[name] = TrialCount(trial=trial, saved=trial)
        self._in.shadow.forget(name)
        self._in.shadow.watch(name, on=trial.stage is Stage.PROBATION)
        self._reasons.pop(name, None)
        self._news = True
        if trial.stage is Stage.PROBATION:
            count.began_mono_s = self._in.clock.mono_s()
            if not trial.in_use:
                count.trial = count.saved = self._put_in_use(name, trial)
        return count

    def _put_in_use(self, name: str, trial: Trial) -> Trial:
        """On disk before the first part: whoever finds it there at a start knows that nobody ended it."""
        self._in.trials.tell(name, journal.Event.PROBATION, trial)
        trial = replace(trial, in_use=True)
        self._in.trials.keep(name, trial)
        return trial

    def _begin_shadow(self, name: str, count: TrialCount, lanes: Mapping[str, Lane]) -> bool:
        """Begin once the inspect thread has the second model: parts that are past first; False while it has not."""
        found = [lane.seconds[name] for lane in lanes.values() if name in lane.seconds]
        if not any(second.judge.digest == count.second for second in found):
            return False
        if count.trial.shadow.asked == 0:
            self._in.trials.tell(name, journal.Event.SHADOW, count.trial)
        count.began_mono_s = self._in.clock.mono_s()
        if count.trial.stage is Stage.SHADOW and count.trial.shadow.asked == 0:
            pairs = look_back(name, self._in.shadow.past(name), lanes)
            count.past = frozenset(pair.id for pair in pairs)
            for pair in pairs:
                self._add(count, pair)
            count.hear(self._truths(name))
        return True

    def _settle(self, name: str, event: Event, reasons: tuple[str, ...], *, by: str = GATEWAY) -> bool:
        """Carry a ruling out: on disk first, then in memory."""
        count = self._counts[name]
        trial = count.trial
        self._in.trials.keep(name, trial)
        try:
            pointer = self._in.trials.settle(
                name, trial.candidate, event, by=by, reasons=reasons, figures=_figures(trial)
            )
        except BadBundleError as error:  # somebody chose another model meanwhile
            log.info("model=%s trial=gone reason=%s", name, error)
            return self._over(name)
        stage = after(trial.stage, event)
        words = "; ".join(reasons)
        log.info("model=%s digest=%s trial=%s reason=%s", name, trial.candidate[:12], stage and stage.value, words)
        self._tell(name, trial, stage, words)
        self._counts.pop(name, None)
        if stage is Stage.PROBATION and pointer.trial is not None:
            self._put_in_use(name, pointer.trial)
        self._exchange(name, pointer)
        if pointer.open_trial is None:
            self._over(name)
        self._news = True
        return True

    def _exchange(self, name: str, pointer: Pointer) -> None:
        """Put the model that is active now in force, where it is at hand; the one before judges beside it."""
        present = self._in.models.models.get(name)
        if present is not None and present.digest == pointer.active:
            return
        coming = self._in.seconds.take(name, pointer.active)
        if coming is None:
            return  # it is loaded because the pointer moved
        self._in.models.put(name, coming)
        trial = pointer.open_trial
        if present is not None and trial is not None and present.digest == trial.reference:
            self._in.seconds.put(name, present)

    def _over(self, name: str) -> bool:
        """Nothing is on trial any more."""
        self._counts.pop(name, None)
        self._reasons.pop(name, None)
        self._in.shadow.watch(name, on=False)
        self._in.shadow.forget(name)
        self._in.seconds.drop(name)
        self._in.note(Condition(code=WAITING, subject=name, active=False, text="nothing waits for a person"))
        self._news = True
        return True

    def _tell(self, name: str, trial: Trial, stage: Stage | None, words: str) -> None:
        waiting = stage is Stage.WAITING
        text = f"candidate {trial.candidate[:12]}: {words}"
        self._in.note(Condition(code=WAITING, subject=name, active=waiting, text=text))
        code = None if stage is None else ALARMS.get(stage)
        if code is not None:
            back = f"; {trial.reference[:12]} judges again" if stage is Stage.ROLLED_BACK else ""
            self._in.note(Condition(code=code, subject=name, active=True, text=f"{text}{back}"))

    def _truths(self, name: str) -> Truths:
        model = self._in.models.models.get(name)
        good = () if model is None else model.manifest.good_classes
        return lambda identities: self._in.said(identities, good)

    def _save(self) -> None:
        for name, count in self._counts.items():
            if count.trial == count.saved:
                continue
            try:
                self._in.trials.keep(name, count.trial)
            except TransientError as error:
                log.warning("model=%s trial=unsaved reason=%s", name, error)
                continue
            count.saved = count.trial
            self._news = True

    def _write_differing(self) -> None:
        if not self._differing:
            return
        lines, self._differing = b"".join(self._differing), []
        place = self._in.root / DIFFERING
        try:
            append_line(place, lines, older=self._in.root / DIFFERING_OLDER, limit_bytes=DIFFERING_BYTES)
        except TransientError as error:
            log.warning("differing=unwritten file=%s reason=%s", place, error)


def _case(trial: Trial, waited_s: float, *, shares_network: bool) -> Case:
    return Case(
        stage=trial.stage,
        shadow=trial.shadow,
        probation=trial.probation,
        shares_network=shares_network,
        waited_s=waited_s,
        won=trial.won,
        sealed=trial.sealed,
        crashes=trial.crashes,
    )


def _figures(trial: Trial) -> dict[str, Figure]:
    tally = trial.tally
    parts = max(1, tally.parts)
    return {
        "parts": tally.parts,
        "differing": tally.differing,
        "candidate_right": sum(tally.cleared),
        "reference_right": tally.blamed,
        "candidate_errors": tally.candidate_errors,
        "passed_over": tally.alone,
        "slow": tally.slow,
        "reference_ms": round(tally.reference_ms / parts, 3),
        "candidate_ms": round(tally.candidate_ms / parts, 3),
        "crashes": trial.crashes,
    }
