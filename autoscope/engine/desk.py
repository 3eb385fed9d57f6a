"""The desk of a run: what is asked, written down, told and counted, in whatever order the acts are walked."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autoscope.clock import SimClock
from autoscope.config import BudgetConfig
from autoscope.deadline import instant_of, seconds_until
from autoscope.engine import checkpoints
from autoscope.engine.acting import guarded
from autoscope.engine.asking import Answer, Asked, Evidence
from autoscope.engine.assemble import Job, blank_state, scalarizers_of
from autoscope.engine.events import Ended, Listener, RunStatus, StepEvent
from autoscope.engine.foresight import expected_state
from autoscope.engine.incumbent import Best, Incumbents
from autoscope.engine.intent import Intent as Intent
from autoscope.engine.standing import Standing
from autoscope.engine.suspenders import Suspenders
from autoscope.errors import LimitExceeded, PluginError
from autoscope.exposure import Cost
from autoscope.guard import AreaDose, Guard, Spending
from autoscope.journal import Later, Recorder
from autoscope.records import (
    Act,
    Action,
    Budget,
    Decision,
    Finish,
    FrameRef,
    Intervention,
    Measure,
    MicroscopeState,
    Observation,
    Outcome,
    Result,
    View,
)

OVERRULED_THAT_END = 200
"""Acts in a row that people did not want, before it counts as settled that the policy has nothing else to offer."""
REFUSALS_THAT_END = 2
"""Acts in a row that do not fit the budget before it counts as spent: the first tells the policy to ask for less."""


class Desk:
    """Keeps the count of one run, from the moment its instrument is open.

    Parameters
    ----------
    job : Job
        The assembled parts; the environment has been reset.
    recorder : Recorder
        Where intents and outcomes go.
    listener : Listener
        Told about each step.
    stopwatch : callable
        Real seconds, for the latency of decisions only.
    run_id : str
        Begins the id of every act.
    """

    def __init__(
        self, job: Job, recorder: Recorder, listener: Listener, stopwatch: Callable[[], float], run_id: str
    ) -> None:
        self.job, self.recorder, self.run_id = job, recorder, run_id
        self.listener, self._stopwatch = listener, stopwatch
        config = job.config
        self.start_s = job.clock.now_s()
        self.start = job.environment.read_state()
        self._start_dose_e = self.start.dose_e
        self.evidence = Evidence()
        self.capabilities = job.environment.describe()
        self.guard = Guard(config.limits, self.capabilities, saturated_fraction=config.engine.saturated_fraction)
        self.capabilities = self.capabilities.replace(ranges=self.guard.ranges)  # what this run may do
        self.suspenders = Suspenders(job, recorder, self.start)
        self._spending = Spending(config.budget)
        self._area = _area_dose(config.budget)
        self._incumbents = Incumbents()
        self._new_deadline: dict[str, Any] = {}
        self._deadline_s = math.inf
        self.data_bytes = 0
        self.standing = Standing()
        self.pen = self.suspenders.pen = threading.RLock()
        self.blank: Any = blank_state(job.policy)
        """The policy's state before it was told anything."""
        self.steps = self.decided = self.faults = self._in_a_row = self._unfit = self._overruled = 0
        self.last_dose_e = 0.0

    def dose_e(self, state: MicroscopeState) -> float:
        """Return the electrons this run has put on the sample by a state."""
        self.last_dose_e = state.dose_e - self._start_dose_e
        return self.last_dose_e

    def elapsed_s(self) -> float:
        """Return the time since the run began."""
        return self.job.clock.now_s() - self.start_s

    @property
    def best(self) -> tuple[Best, ...]:
        """The highest value of every target so far."""
        return self._incumbents.best

    def set_deadline(self) -> dict[str, Any]:
        """Fix the instant by which a run that begins now has to be over; return what its first record says of it."""
        deadline = self.job.config.budget.finish_by
        if deadline is None:
            return {}
        wall, simulated = self.job.clock.wall(), isinstance(self.job.clock, SimClock)
        instant = instant_of(deadline, wall, local=not simulated)
        after_s = self.elapsed_s() + seconds_until(instant, wall)
        self._spend_until(after_s)
        return {"finish_by": {"deadline": deadline, "instant": instant, "after_s": after_s}}

    def restore_deadline(self, recorded: Mapping[str, Any]) -> None:
        """Take up the deadline of a run that was cut off: the same instant, unless the configuration names another."""
        known = recorded.get("finish_by") or {}
        if known.get("deadline") != self.job.config.budget.finish_by:
            self._new_deadline = self.set_deadline()
            return
        if known:
            simulated = isinstance(self.job.clock, SimClock)
            left_s = 0.0 if simulated else seconds_until(known["instant"], self.job.clock.wall())
            after_s = float(known["after_s"]) if simulated else self.elapsed_s() + left_s
            self._spend_until(after_s)

    def _spend_until(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._spending = Spending(self.budget(self.standing), deadline_s=deadline_s)

    def deadline_changed(self) -> dict[str, Any]:
        """Return what the record of taking up says of a new deadline; nothing where it is the old one."""
        return self._new_deadline

    def take_up(self, evidence: Evidence, *, begun_s: float, start_dose_e: float, decided: int) -> None:
        """Go on counting a run that was cut off.

        Parameters
        ----------
        evidence : Evidence
            What the policy has been told again.
        begun_s : float
            When the run began, on its clock.
        start_dose_e : float
            What the instrument's counter would have read then.
        decided : int
            Acts that have an intent.
        """
        self.start_s, self._start_dose_e, self.evidence, self.decided = begun_s, start_dose_e, evidence, decided

    def forgive(self) -> None:
        """Count acts in a row from here: whoever takes a run up again after its end has mended what made it end."""
        self._in_a_row = self._unfit = 0

    # --- before an act ------------------------------------------------------------------------------

    def heed(self, intervention: Intervention, step: int) -> int:
        """Write down what a person orders, have it hold from now on, and return the number of its record."""
        with self.pen:
            record = self.recorder.append("intervention", intervention, step=step)
            self.standing = self.standing.with_(intervention)
        self._spend_until(self._deadline_s)
        return record

    def adopt(self, standing: Standing) -> None:
        """Go on with what people had ordered before the run was cut off."""
        self.standing = standing
        self._spend_until(self._deadline_s)
        if standing.scalarizers:
            self.use_scalarizers()

    def budget(self, standing: Standing) -> BudgetConfig:
        """Return what the run may spend, as it was configured and as people changed it."""
        return self.job.config.budget.replace(**standing.budget)

    def use_scalarizers(self) -> None:
        """Compute targets as they were configured, and as people changed that, from now on."""
        self.job.scalarizers.update(scalarizers_of(self.job.resolved.plain(), self.standing.scalarizers))

    def fit(self, state: MicroscopeState, heed: Callable[[], None]) -> MicroscopeState:
        """Return a state from which acts may be done: the given one, or one after waiting; see `Suspenders.hold`.

        Raises
        ------
        Ended
            The run was stopped meanwhile, or waited too long.
        """
        before = self.suspenders.count
        state = self.suspenders.hold(state, heed)
        if self.suspenders.count > before:
            self.forgive()
        return state

    def left(self, state: MicroscopeState, step: int, *, time_s: float | None = None, pending_bytes: int = 0) -> Budget:
        """Return what is left to spend before a step, by a state, now or at a given time of the run.

        ``pending_bytes`` is what the act that still runs is expected to record.

        Raises
        ------
        Ended
            Nothing.
        """
        if time_s is None:
            spent = (self.elapsed_s(), self.dose_e(state), step, self.data_bytes)
        else:
            spent = (time_s, state.dose_e - self._start_dose_e, step, self.data_bytes + pending_bytes)
        left = self._spending.left(*spent)
        if reason := self._spending.over(left, spent[0]):
            raise Ended(RunStatus.COMPLETED, reason)
        return self._with_area(left, state)

    def _with_area(self, left: Budget, state: MicroscopeState) -> Budget:
        return left if self._area is None else left.replace(area=self._area.left(state))

    def left_at(self, state: MicroscopeState, step: int, time_s: float) -> Budget:
        """Return what was left to spend before a step, by a state at a given time of the run, even if it is nothing."""
        left = self._spending.left(time_s, state.dose_e - self._start_dose_e, step, self.data_bytes)
        return self._with_area(left, state)

    def view(self, step: int, state: MicroscopeState, left: Budget) -> View:
        """Return what a policy sees now, with nothing pending."""
        return View(
            step=step,
            time_s=self.elapsed_s(),
            budget=left,
            state=state,
            capabilities=self.capabilities,
            suspensions=self.suspenders.count,
            wishes=self.standing.wishes,
        )

    def view_ahead(self, running: Intent, state: MicroscopeState, cost: Cost, begun_s: float) -> View:
        """Return what a policy sees while an act runs: that act pending, state and budget as expected after it.

        Parameters
        ----------
        running : Intent
            The act.
        state : MicroscopeState
            The instrument when the act began.
        cost : Cost
            What the guard expects the act to cost.
        begun_s : float
            When it began, on the clock of the run.

        Raises
        ------
        Ended
            Nothing is expected to be left.
        """
        step, action = running.step + 1, running.act.action
        after = expected_state(action, state, cost)
        time_s = begun_s + cost.time_s
        left = self.left(after, step, time_s=time_s, pending_bytes=cost.bytes)
        return View(
            step=step,
            time_s=time_s,
            budget=left,
            state=after,
            capabilities=self.capabilities,
            pending=(action,),
            suspensions=self.suspenders.count,
            wishes=self.standing.wishes,
        )

    def act_id(self, step: int) -> str:
        """Return the id of the act of a step."""
        return f"{self.run_id}-{step:06d}"

    def ask(self, view: View) -> Answer:
        """Return the policy's answer, with what it was asked and the real time it took.

        Raises
        ------
        PluginError
            The policy raised, or answered something else.
        """
        started = self._stopwatch()
        answer = guarded("policy.ask", lambda: self.job.policy.ask(view))
        latency_s = self._stopwatch() - started
        if not isinstance(answer, (Decision, Finish)):
            raise PluginError("needs Decision or Finish as an answer", where="policy.ask", value=type(answer).__name__)
        return Answer(answer, latency_s, functools.partial(Asked.of, view, self.evidence, self.act_id))

    def permit(self, action: Action, state: MicroscopeState, left: Budget) -> Cost:
        """Return what an action will cost, if guard and people permit it.

        Raises
        ------
        GuardViolation, InstrumentError
            See `Guard.permit`; or the place is one that people excluded.
        """
        if isinstance(action, Measure) and self.standing.bars(action, state):
            remedy = "Undo the exclusion, or measure elsewhere"
            raise LimitExceeded("a person excluded this place", where=action.kind, remedy=remedy)
        return self.guard.permit(action, state, left, self._area)

    def leave_unused(self, answer: Answer) -> None:
        """Write down that a policy was asked and nothing came of its answer."""
        self.recorder.append("question", (asked := answer.asked()).plain(), step=asked.view["step"])

    def spend_decision_time(self, passed_s: float = 0.0) -> None:
        """Let the simulated clock pass what deciding is declared to cost, less what has passed meanwhile."""
        if isinstance(self.job.clock, SimClock):
            self.job.clock.wait(max(0.0, self.job.config.engine.decision_time_s - passed_s))

    def intend(self, step: int, decision: Decision, state: MicroscopeState, answer: Answer | None = None) -> Intent:
        """Write an intent down, durably, and return it; ``answer`` is absent where it was not the policy's."""
        act = Act(act_id=self.act_id(step), action=decision.action)
        cost = self.guard.cost(decision.action, state)
        latency_s = answer.latency_s if answer else 0.0
        body: dict[str, Any] = {"act_id": act.act_id, "decision": decision, "cost": cost}
        body["latency_s"] = round(latency_s, 6)
        if answer is not None:
            body["asked"] = Later(lambda: answer.asked().plain())
        self.recorder.append("intent", body, step=step)
        self.decided = step + 1
        if decision.order:
            self.standing = self.standing.with_reached(decision.order)
        return Intent(step, act, decision, cost, latency_s)

    # --- after an act -------------------------------------------------------------------------------

    def spend(self, action: Action, answer: Observation | Result) -> None:
        """Count the frames of an act, and where its electrons fell; once for every act, as soon as it is over."""
        if isinstance(answer, Observation):
            self.data_bytes += sum(frame.data.nbytes for frame in answer.frames)
            before, after, dose_e = answer.state_before, answer.state, answer.dose_e
        else:
            outcome = answer.outcome
            self.data_bytes += sum(bytes_of(ref) for ref in outcome.frames)
            before, after, dose_e = outcome.state_before, outcome.state, outcome.dose_e
        if self._area is not None:
            self._area.charge(action, before, after, dose_e)

    def tell(self, intent: Intent, result: Result) -> None:
        """Tell the policy, and whoever watches, what came of an act that is written down."""
        self.evidence = self.evidence.with_(intent.decision, result.outcome)
        guarded("policy.tell", lambda: self.job.policy.tell(intent.decision, result))
        if checkpoints.is_due(self.job.policy, self.evidence.told, self.job.config.engine.checkpoint_every):
            checkpoints.make(self.job, self.recorder, self.evidence)
        spent = Budget(
            time_s=self.elapsed_s(),
            dose_e=self.dose_e(result.outcome.state),
            steps=intent.step + 1,
            bytes=self.data_bytes,
        )
        self.listener.on_step(StepEvent(intent.step, intent.decision, result.outcome, spent, intent.latency_s))

    def count(self, intent: Intent, outcome: Outcome, left: Budget) -> Ended | None:
        """Count an act, with what was left before it.

        Returns
        -------
        Ended or None
            The end of the run, where too many acts in a row came to nothing or did not fit the budget.
        """
        self.steps += 1
        self._overruled = self._overruled + 1 if outcome.overruled else 0
        if self._overruled:
            what = f"{self._overruled} acts in a row were overruled: the policy decides nothing else"
            return Ended(RunStatus.STOPPED, what) if self._overruled >= OVERRULED_THAT_END else None
        self._incumbents.take(intent.step, intent.decision, outcome)
        if outcome.status == "done":
            self._in_a_row = self._unfit = 0
            return None
        last = outcome.fault.message if outcome.fault else outcome.status
        if outcome.status == "refused" and _too_much(intent.cost, left):
            self._unfit += 1
            spent = self._unfit >= REFUSALS_THAT_END
            return Ended(RunStatus.COMPLETED, f"budget spent: {last}") if spent else None
        self.faults += 1
        self._in_a_row += 1
        if self._in_a_row < self.job.config.engine.max_consecutive_faults:
            return None
        return Ended(RunStatus.FAILED, f"{self._in_a_row} acts in a row came to nothing; the last: {last}")


def _too_much(cost: Cost, left: Budget) -> bool:
    over_time = left.time_s is not None and cost.time_s > left.time_s
    over_data = left.bytes is not None and cost.bytes > left.bytes
    return over_time or over_data or (left.dose_e is not None and cost.dose_e > left.dose_e)


def _area_dose(budget: BudgetConfig) -> AreaDose | None:
    limit = budget.area_dose_e_per_m2
    return None if limit is None else AreaDose(limit, budget.area_cell_m)


def bytes_of(ref: FrameRef) -> int:
    """Return the bytes of a frame's array."""
    return math.prod(ref.shape) * np.dtype(ref.dtype).itemsize
