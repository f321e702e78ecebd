"""Fine-tuning of one model, from what stands on disk to a candidate in the hands of the gate. Blocks for hours.

    situation --decide--> BEGIN: job, order --> child trains, within budgets --> bundle --> candidate --> handed over
                          RESUME ----------------^   `--> paused, ended, failed, cancelled: told, and written down

Killed anywhere it goes on from what is on disk: the order is written once the job is whole, and taken away last.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import Clock, rfc3339
from edge_agent.errors import BadBundleError, CorruptStoreError, RefusedError, TransientError
from edge_agent.evidence.views import LearnerView
from edge_agent.models.bundle import MANIFEST_NAME, Manifest
from edge_agent.models.finetune import job
from edge_agent.models.finetune.budget import Budget, Permission, permit
from edge_agent.models.finetune.right_of_way import WAY_SOCKET
from edge_agent.models.finetune.runner import RunReport, RunState, require_torch, run
from edge_agent.models.runtime import FLOAT
from edge_agent.processes import learn_request
from edge_agent.processes.evidence_place import FOLDER
from edge_agent.processes.finetuning.candidate import Place, candidate_of
from edge_agent.processes.finetuning.due import (
    FAILURES_MAX,
    Decision,
    Order,
    Rules,
    Situation,
    Step,
    decide,
    night_of,
)
from edge_agent.processes.finetuning.jobs import Origin, Terms, write_job
from edge_agent.processes.finetuning.news import ModelNews, Result, State, Teller
from edge_agent.processes.finetuning.order import Folder, Past
from edge_agent.processes.finetuning.readings import Readings, local_time

log = logging.getLogger(__name__)

SPENT_EVERY_S = 30.0  # a kill -9 forgets so much of the CPU time of a night at most
SHOWN_S = 60.0
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What runs are made by on this gateway. `memory_bytes`: what the child may allocate."""

    place: Place
    rules: Rules
    budget: Budget
    terms: Terms
    readings: Readings
    runtime_dir: Path
    memory_bytes: int
    clock: Clock


class StoppedError(TransientError):
    """It was told to stop while it read pictures."""


class _HeedingView(LearnerView):
    """The open side of the evidence, which gives no more pictures once `stop` is set."""

    def __init__(self, root: Path, stop: threading.Event, alive: Callable[[], object]) -> None:
        super().__init__(root)
        self._stop = stop
        self._alive = alive

    def picture(self, identity: str) -> bytes:
        if self._stop.is_set():
            raise StoppedError("stopped while it read pictures")
        self._alive()
        return super().picture(identity)


class Night:
    """One model's fine-tuning. `cancelled` says, once `stop` is set, whether the run itself is not wanted any more."""

    def __init__(
        self,
        model: str,
        site: Site,
        teller: Teller,
        *,
        stop: threading.Event,
        cancelled: Callable[[], bool],
        alive: Callable[[], object],
    ) -> None:
        self._model = model
        self._site = site
        self._teller = teller
        self._stop = stop
        self._cancelled = cancelled
        self._alive = alive
        self._folder = Folder(site.place.state_dir, model)

    def look(self, *, asked: bool, by: str = GATEWAY) -> bool:
        """Do what is due; whether that was work. `asked`: a person wants a run now.

        Raises:
            TransientError, CorruptStoreError: the disk or the evidence cannot be used now; what is written stands.
        """
        active = self._site.place.store.active(self._model)
        manifest = None if active is None else self._site.place.store.manifest(active)
        if active is None or not isinstance(manifest, Manifest):
            return self._cannot("off", "no bundle with a head of its own is active")
        if FLOAT not in manifest.encoders:
            return self._cannot("off", f"bundle {active[:12]} has no float encoder ({FLOAT}) to start from")
        if not (self._site.place.state_dir / FOLDER).is_dir():
            return self._cannot("waiting", "no evidence yet")
        view = _HeedingView(self._site.place.state_dir / FOLDER, self._stop, self._alive)
        try:
            situation = self._situation(manifest.encoder(FLOAT).sha256, view, asked=asked)
            decision = decide(self._site.rules, situation)
            log.info("model=%s finetune=%s reason=%s", self._model, decision.step.value, decision.reason)
            return self._do(decision, situation, active, view, by)
        except StoppedError as error:
            self._stopped(str(error))
            return True
        finally:
            view.close()

    def _cannot(self, state: State, reason: str) -> bool:
        log.info("model=%s finetune=rest reason=%s", self._model, reason)
        self._tell(state, reason)
        return False

    def cancel(self, by: str) -> None:
        """A run that nobody works at now is not gone on with.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError.
        """
        if self._folder.order() is not None:
            self._end("cancelled", f"by {by}")

    def _situation(self, base: str, view: LearnerView, *, asked: bool) -> Situation:
        lessons = view.lessons(self._model)
        past, handed = self._folder.past(), self._folder.handed()
        return Situation(
            moment=local_time(self._site.clock),
            base=base,
            labels={lesson.sample.id: str(lesson.sample.truth) for lesson in lessons},
            said_utc_s={lesson.sample.id: lesson.labelled_utc_s for lesson in lessons},
            order=self._folder.order(),
            last_begun_utc_s=None if past is None else past.begun_utc_s,
            asked=asked,
            busy="" if handed is None else f"candidate {handed[:12]} waits for the gate",
        )

    def _do(self, decision: Decision, situation: Situation, active: str, view: LearnerView, by: str) -> bool:
        if decision.step in (Step.DROP, Step.BEGIN):
            self._folder.drop()
        if decision.step in (Step.DROP, Step.REST):
            self._rest(decision)
            return False
        try:
            require_torch()
        except RefusedError as error:
            log.error("model=%s finetune=impossible reason=%s", self._model, error)  # noqa: TRY400 - it says it all
            self._tell("failed", str(error))
            return False
        order = self._begin(situation, active, view, by) if decision.step is Step.BEGIN else situation.order
        if order is not None and ((self._folder.job / job.BUNDLE / MANIFEST_NAME).exists() or self._train(order)):
            self._finish(order, view)
        return True

    def _rest(self, decision: Decision) -> None:
        """Nothing to do. How a run has just ended stays to be read: a look may follow it within the second."""
        state: State = "waiting" if self._site.rules.enabled else "off"
        past, reason = self._folder.past(), decision.reason
        if past is not None and 0 <= self._site.clock.utc_s() - past.ended_utc_s < SHOWN_S:
            state, reason = past.result, "; ".join(filter(None, (past.reason, reason)))
        self._tell(state, reason, opens_utc_s=decision.opens_utc_s)

    def _begin(self, situation: Situation, active: str, view: LearnerView, by: str) -> Order | None:
        """Write the job, then the order; None where the labels or the bundle are of no use."""
        self._tell("preparing", f"{len(situation.labels)} labelled pictures")
        self._folder.root.mkdir(parents=True, exist_ok=True)
        try:
            write_job(self._folder.job, view, self._model, self._origin(active), self._site.terms)
        except (TransientError, CorruptStoreError):
            self._folder.clear_job()
            raise
        except RefusedError as error:
            self._folder.clear_job()
            # Nothing that another night would change: it is due again with other labels, or another bundle.
            self._end("failed", str(error))
            return None
        order = Order(
            model=self._model,
            base=situation.base,
            asked=situation.asked,
            by=by,
            begun_utc_s=self._site.clock.utc_s(),
            labels=situation.labels,
        )
        self._folder.keep_order(order)
        return order

    def _train(self, order: Order) -> bool:
        """Let the child train; whether its bundle is there."""
        site, tonight = self._site, night_of(self._site.rules.window, local_time(self._site.clock))
        spent_s = order.cpu_s if order.night == tonight else 0.0
        written_s, used_s = site.clock.mono_s(), spent_s
        budget = dataclasses.replace(site.budget, window=None) if order.asked else site.budget

        def allowed(cpu_s: float, paused: bool) -> Permission:
            nonlocal written_s, used_s
            used_s = spent_s + cpu_s
            if site.clock.mono_s() - written_s >= SPENT_EVERY_S:
                self._folder.keep_order(dataclasses.replace(order, night=tonight, cpu_s=used_s))
                written_s = site.clock.mono_s()
            return permit(budget, site.readings.read(used_s), paused=paused)

        report = run(
            self._folder.job,
            clock=site.clock,
            stop=self._stop,
            permit=allowed,
            tell=self._report,
            way=site.runtime_dir / WAY_SOCKET,
            memory_bytes=site.memory_bytes,
        )
        log.info("model=%s finetune=%s step=%d of %d reason=%s", self._model, report.state.value, report.step,
                 report.steps, report.reason or "-")  # fmt: skip
        order = dataclasses.replace(order, night=tonight, cpu_s=used_s)
        if report.state is RunState.FAILED:
            self._failed(order, report.reason)
        elif report.state is RunState.CANCELLED:
            self._folder.keep_order(order)
            self._stopped(report.reason)
        elif report.state is RunState.ENDED:
            self._folder.keep_order(order)
            self._report(report)
        return report.state is RunState.DONE

    def _finish(self, order: Order, view: LearnerView) -> None:
        """From the bundle to a candidate that waits for the gate."""
        self._tell("finishing", "statistics are rebuilt with the new encoder")
        try:
            bundle = self._folder.job / job.BUNDLE
            digest = candidate_of(bundle, self._model, self._version(), self._site.place, view)
        except BadBundleError as error:
            return self._failed(order, str(error))
        except RefusedError as error:
            return self._end("failed", str(error))
        if self._stop.is_set():
            return self._stopped("stopped before it was handed over")
        self._folder.hand_over(digest)
        self._folder.end(self._past(order.begun_utc_s, "done", "", digest))
        learn_request.ask(self._site.place.state_dir)
        log.info("model=%s finetune=handed-over digest=%s", self._model, digest)
        return self._tell("done", f"candidate {digest[:12]} is with the gate")

    def _stopped(self, reason: str) -> None:
        """Stopped: for good where a person cancelled it, else until the next start."""
        if self._cancelled():
            self._end("cancelled", reason)
        else:
            self._tell("waiting", "it goes on with the next start")

    def _failed(self, order: Order, reason: str) -> None:
        """Another night may do better; the third does not try."""
        log.error("model=%s finetune=failed reason=%s", self._model, reason)
        failures = order.failures + 1
        if order.asked or failures >= FAILURES_MAX:
            return self._end("failed", reason)
        moment = local_time(self._site.clock)
        night = night_of(self._site.rules.window, moment)
        self._folder.keep_order(dataclasses.replace(order, night=night, failed=True, failures=failures))
        return self._tell("failed", f"{reason}; tried again in the next window ({failures} of {FAILURES_MAX})")

    def _end(self, result: Result, reason: str) -> None:
        order = self._folder.order()
        begun_utc_s = self._site.clock.utc_s() if order is None else order.begun_utc_s
        self._folder.end(self._past(begun_utc_s, result, reason))
        self._tell(result, reason)

    def _past(self, begun_utc_s: float, result: Result, reason: str, digest: str | None = None) -> Past:
        now = self._site.clock.utc_s()
        return Past(begun_utc_s=begun_utc_s, ended_utc_s=now, result=result, reason=reason, digest=digest)

    def _report(self, report: RunReport) -> None:
        state: State = "training"
        if report.state is RunState.PAUSED:
            state = "paused"
        elif report.phase:
            state = "finishing"
        elif report.state is not RunState.RUNNING:
            state = "waiting"
        self._alive()
        self._tell(
            state,
            report.reason or report.phase,
            step=report.step,
            steps=report.steps,
            epoch=report.epoch,
            epochs=report.epochs,
            loss=report.loss,
            eta_s=report.eta_s,
        )

    def _tell(self, state: State, reason: str, **numbers: float | None) -> None:
        past = self._folder.past()
        self._teller.tell(
            ModelNews(
                model=self._model,
                state=state,
                reason=reason,
                last_result=None if past is None else past.result,
                last_ended_utc_s=None if past is None else past.ended_utc_s,
                **numbers,  # type: ignore[arg-type]  # the numbers of a report
            )
        )

    def _origin(self, active: str) -> Origin:
        store = self._site.place.store
        manifest = store.manifest(active)
        assert isinstance(manifest, Manifest)  # noqa: S101 - `look` has seen to it
        return Origin(base=store.network_bytes(active, FLOAT), manifest=manifest, version=self._version())

    def _version(self) -> str:
        stamp = rfc3339(self._site.clock.utc_s()).replace(":", "").replace("-", "").lower().replace(".", "-")
        return f"tuned-{stamp}"[:64]
