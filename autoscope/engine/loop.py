"""The loop, written once; each step goes straight through.

::

    inbox -> policy.ask -> guard.permit -> journal: intent -> environment.step -> guard.check
          -> journal: frames, outcome -> policy.tell

Whatever happens, the instrument is made safe and the journal gets exactly one ``run_ended``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from autoscope.clock import SimClock
from autoscope.config import config_hash
from autoscope.engine.assemble import Job
from autoscope.engine.events import Listener, RunEnd, RunStatus, Silence, StepEvent
from autoscope.engine.steering import Inbox, QueueInbox
from autoscope.errors import (
    AutoscopeError,
    BusError,
    FrameRejected,
    GuardViolation,
    InstrumentError,
    PluginError,
)
from autoscope.exposure import Cost, predict
from autoscope.guard import Guard, Spending
from autoscope.journal import Recorder
from autoscope.records import (
    Act,
    Action,
    Budget,
    Decision,
    Fault,
    Finish,
    Frame,
    Intervention,
    MicroscopeState,
    Observation,
    Outcome,
    Result,
    Scalar,
    View,
)

T = TypeVar("T")
REFUSALS_THAT_END = 2
"""Acts in a row that do not fit the budget before it counts as spent: the first tells the policy to ask for less."""


class _Ended(Exception):
    def __init__(self, status: RunStatus, reason: str) -> None:
        self.status, self.reason = status, reason


class Engine:
    """Runs one job to its end.

    Parameters
    ----------
    job : Job
        The assembled parts.
    recorder : Recorder
        Where everything is written before and after it happens.
    inbox : Inbox, optional
        Interventions of people.
    listener : Listener, optional
        Told about each step.
    stopwatch : callable, optional
        Real seconds, for the latency of decisions only; never decides anything.
    """

    def __init__(
        self,
        job: Job,
        recorder: Recorder,
        *,
        inbox: Inbox | None = None,
        listener: Listener | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._job, self._recorder = job, recorder
        self._inbox: Inbox = inbox or QueueInbox()
        self._listener: Listener = listener or Silence()
        self._stopwatch = stopwatch
        self._step = self._faults = self._in_a_row = self._unfit = 0
        self._last_dose_e = self._start_dose_e = 0.0
        self._opened = False
        self._start_s = job.clock.now_s()

    def run(self) -> RunEnd:
        """Run until the policy finishes, a budget is spent, a person stops it, or it cannot go on.

        Returns
        -------
        RunEnd
            The one terminal state, also written to the journal.
        """
        try:
            self._open()
            while True:
                self._one_step()
        except _Ended as end:
            return self._close(end.status, end.reason)
        except KeyboardInterrupt:
            return self._close(RunStatus.STOPPED, "interrupted twice: stopped without finishing the step")
        except AutoscopeError as error:
            return self._close(RunStatus.FAILED, f"{type(error).__name__}: {error}")
        except BaseException as error:
            self._close(RunStatus.FAILED, f"{type(error).__name__}: {error}")
            raise

    # --- opening and closing ---

    def _open(self) -> None:
        config = self._job.config
        self._job.environment.reset(seed=config.seed, options={"bare": True})
        self._opened = True
        self._start_s = self._job.clock.now_s()
        self._start_dose_e = self._job.environment.read_state().dose_e
        capabilities = self._job.environment.describe()
        self._guard = Guard(config.limits, capabilities, saturated_fraction=config.engine.saturated_fraction)
        self._spending = Spending(config.budget)
        plain = self._job.resolved.plain()
        self._recorder.append(
            "run_started", self._header(plain) | {"capabilities": capabilities.model_dump(mode="json")}
        )

    def _header(self, plain: dict[str, object]) -> dict[str, object]:
        from autoscope import __version__

        config = self._job.config
        return {
            "name": config.name,
            "operator": config.operator,
            "sample": config.sample,
            "config": plain,
            "config_sha256": config_hash(plain),
            "version": __version__,
            "scalarizers": {name: s.identity for name, s in self._job.scalarizers.items()},
        }

    def _close(self, status: RunStatus, reason: str) -> RunEnd:
        environment = self._job.environment
        environment.make_safe()
        safe, dose_e = True, 0.0  # where the instrument was never opened there was no beam
        if self._opened:
            try:
                state = environment.read_state()
                safe, dose_e = state.blanked, self._dose_e(state)
            except AutoscopeError as error:
                safe, dose_e = False, self._last_dose_e
                reason += f"; the instrument could not be read back: {error}"
        end = RunEnd(
            status=status,
            reason=reason,
            steps=self._step,
            time_s=self._job.clock.now_s() - self._start_s,
            dose_e=dose_e,
            faults=self._faults,
            safe=safe,
        )
        try:
            self._recorder.append("run_ended", end)
        finally:
            self._recorder.close()
            environment.close()
        return end

    def _dose_e(self, state: MicroscopeState) -> float:
        self._last_dose_e = state.dose_e - self._start_dose_e
        return self._last_dose_e

    # --- one step ---

    def _one_step(self) -> None:
        for intervention in self._inbox.take():
            self._heed(intervention)
        state = self._job.environment.read_state()
        left = self._left(state)
        decision, latency_s = self._decide(state, left)
        act = Act(act_id=f"{self._job.config.name}-{self._step:06d}", action=decision.action)
        cost = predict(decision.action, state, self._job.environment.describe())
        body = {"act_id": act.act_id, "decision": decision, "cost": cost, "latency_s": round(latency_s, 6)}
        self._recorder.append("intent", _plain(body), step=self._step)
        result = self._act(act, state, left)
        self._recorder.append("outcome", result.outcome, step=self._step)
        self._tell(decision, result)
        self._listener.on_step(StepEvent(self._step, decision, result.outcome, self._spent(result), latency_s))
        self._step += 1
        self._count(result.outcome, cost, left)

    def _heed(self, intervention: Intervention) -> None:
        self._recorder.append("intervention", intervention, step=self._step)
        if intervention.command == "stop":
            raise _Ended(RunStatus.STOPPED, f"stopped by {intervention.who} ({intervention.why})")

    def _left(self, state: MicroscopeState) -> Budget:
        spent = (self._job.clock.now_s() - self._start_s, self._dose_e(state), self._step)
        reason = self._spending.exhausted(*spent)
        if reason:
            raise _Ended(RunStatus.COMPLETED, reason)
        return self._spending.left(*spent)

    def _decide(self, state: MicroscopeState, left: Budget) -> tuple[Decision, float]:
        clock = self._job.clock
        view = View(
            step=self._step,
            time_s=clock.now_s() - self._start_s,
            budget=left,
            state=state,
            capabilities=self._job.environment.describe(),
        )
        started = self._stopwatch()
        answer = _guarded("policy.ask", lambda: self._job.policy.ask(view))
        latency_s = self._stopwatch() - started
        if isinstance(clock, SimClock):
            clock.wait(self._job.config.engine.decision_time_s)
        if isinstance(answer, Finish):
            raise _Ended(RunStatus.COMPLETED, answer.reason)
        if not isinstance(answer, Decision):
            raise PluginError(
                "a policy must answer Decision or Finish", where="policy.ask", value=type(answer).__name__
            )
        return answer, latency_s

    def _tell(self, decision: Decision, result: Result) -> None:
        _guarded("policy.tell", lambda: self._job.policy.tell(decision, result))

    def _spent(self, result: Result) -> Budget:
        time_s = self._job.clock.now_s() - self._start_s
        return Budget(time_s=time_s, dose_e=self._dose_e(result.outcome.state), steps=self._step + 1)

    def _count(self, outcome: Outcome, cost: Cost, left: Budget) -> None:
        if outcome.status == "done":
            self._in_a_row = self._unfit = 0
            return
        if outcome.status == "refused" and _too_much(cost, left):
            self._unfit += 1
            if self._unfit >= REFUSALS_THAT_END:
                raise _Ended(RunStatus.COMPLETED, f"budget spent: {outcome.fault.message if outcome.fault else ''}")
            return
        self._faults += 1
        self._in_a_row += 1
        if self._in_a_row >= self._job.config.engine.max_consecutive_faults:
            last = outcome.fault.message if outcome.fault else outcome.status
            raise _Ended(RunStatus.FAILED, f"{self._in_a_row} acts in a row came to nothing; the last: {last}")

    # --- acting ---

    def _act(self, act: Act, state: MicroscopeState, left: Budget) -> Result:
        try:
            self._guard.permit(act.action, state, left)
        except (GuardViolation, InstrumentError) as error:
            return self._came_to("refused", act, state, state, error)
        try:
            observation = self._execute(act)
        except (InstrumentError, BusError, PluginError) as error:
            return self._came_to("failed", act, state, self._job.environment.read_state(), error)
        return self._take_in(act, observation)

    def _execute(self, act: Act) -> Observation:
        *_, info = _guarded("environment.step", lambda: self._job.environment.step(act))
        observation = info.get("observation")
        if not isinstance(observation, Observation):
            raise PluginError("an environment must put the Observation into info", where="environment.step")
        return observation

    def _take_in(self, act: Act, observation: Observation) -> Result:
        frames, refs, fault = observation.frames, [], None
        quality: dict[str, float] = {}
        for index, frame in enumerate(frames):
            try:
                metrics = self._guard.check(frame, act.action)
                quality |= {f"{frame.meta.signal}.{name}": value for name, value in metrics.items()}
            except FrameRejected as error:
                fault = _fault(error)
            refs.append(self._recorder.write_frame(frame, step=self._step, index=index))
        values: tuple[Scalar, ...] = ()
        if fault is None:
            values, fault = self._scalarize(frames)
        outcome = Outcome(
            act_id=act.act_id,
            status="done" if fault is None else "rejected",
            state_before=observation.state_before,
            state=observation.state,
            dose_e=observation.dose_e,
            frames=tuple(refs),
            values=values,
            quality=quality,
            fault=fault,
        )
        return Result(outcome, frames)

    def _scalarize(self, frames: tuple[Frame, ...]) -> tuple[tuple[Scalar, ...], Fault | None]:
        values: list[Scalar] = []
        for frame in frames:
            for name, scalarizer in self._job.scalarizers.items():
                if scalarizer.fits(frame):
                    try:
                        values.append(scalarizer.scalarize(frame, name))
                    except FrameRejected as error:
                        return (), _fault(error)
        return tuple(values), None

    def _came_to(
        self, status: str, act: Act, before: MicroscopeState, state: MicroscopeState, error: AutoscopeError
    ) -> Result:
        dose_e = max(0.0, state.dose_e - before.dose_e)
        outcome = Outcome.model_validate(
            {"act_id": act.act_id, "status": status, "state_before": before, "state": state}
            | {"dose_e": dose_e, "fault": _fault(error)}
        )
        return Result(outcome)


def _too_much(cost: Cost, left: Budget) -> bool:
    over_time = left.time_s is not None and cost.time_s > left.time_s
    return over_time or (left.dose_e is not None and cost.dose_e > left.dose_e)


def _fault(error: AutoscopeError) -> Fault:
    return Fault(error=type(error).__name__, message=str(error))


def _plain(body: dict[str, object]) -> dict[str, object]:
    return {k: v.model_dump(mode="json") if isinstance(v, (Decision, Cost)) else v for k, v in body.items()}


def _guarded(where: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except AutoscopeError:
        raise
    except Exception as error:  # a plug-in's bug must end in a safe, recorded stop, not in a traceback with the beam on
        raise PluginError(f"the plug-in raised {type(error).__name__}: {error}", where=where) from error


def describe_action(action: Action) -> str:
    """Return an action as a phrase for people.

    Examples
    --------
    >>> from autoscope.records import Wait
    >>> describe_action(Wait(duration_s=2.0))
    'wait (duration_s 2)'
    """
    fields = action.model_dump(exclude={"kind"}, exclude_none=True, exclude_defaults=True)
    shown = ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n} {v}" for n, v in fields.items())
    return f"{action.kind.replace('_', ' ')} ({shown})" if shown else action.kind.replace("_", " ")
