"""The loop, written once; each step goes straight through.

::

    inbox -> policy.ask -> guard.permit -> journal: intent -> environment.step -> guard.check
          -> journal: frames, outcome -> policy.tell

With ``lookahead: 1`` the same things happen in another order, see `autoscope.engine.overlap`. Whatever happens, the
instrument is made safe and the journal gets exactly one ``run_ended``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NoReturn

from autoscope.clock import SimClock
from autoscope.config import config_hash
from autoscope.engine.acting import Span, came_to, execute, guarded, take_in
from autoscope.engine.asking import Answer, as_decision
from autoscope.engine.assemble import Job
from autoscope.engine.boundary import Boundary
from autoscope.engine.checkpoints import Checkpoint
from autoscope.engine.closing import closing_actions, do_all, returning_actions
from autoscope.engine.consulting import consulted
from autoscope.engine.desk import Desk, Intent
from autoscope.engine.directing import settled
from autoscope.engine.events import Ended, Listener, RunEnd, RunStatus, Silence
from autoscope.engine.history import History
from autoscope.engine.overlap import Overlap
from autoscope.engine.past import Past
from autoscope.engine.policy_thread import Calls, InLine, PolicyThread
from autoscope.engine.resuming import TakenUp, Walked, take_up
from autoscope.engine.steering import Attended, Inbox, Unattended
from autoscope.engine.urgency import Urgency
from autoscope.engine.watching import watch
from autoscope.errors import AutoscopeError, BusError, DataError, GuardViolation, InstrumentError, PluginError
from autoscope.exposure import Cost
from autoscope.journal import Readable, Recorder
from autoscope.protocols import Anticipating
from autoscope.provenance import provenance
from autoscope.records import Action, Budget, Decision, MicroscopeState, Observation, Result, View


class Engine:
    """Runs one job to its end.

    All calls of the instrument are made on the thread that calls `run`.

    Parameters
    ----------
    job : Job
        The assembled parts.
    recorder : Recorder
        Where everything is written before and after it happens.
    run_id : str, optional
        Begins the id of every act; must be unique over all runs of an installation where the instrument outlives the
        run. The configuration's name by default, so that runs in memory repeat to the bit.
    inbox : Inbox, optional
        Interventions of people; absent: nobody attends the run.
    listener : Listener, optional
        Told about each step, on the policy's thread; a `Watcher` also of how far acquisitions are.
    stopwatch : callable, optional
        Real seconds, for the latency of decisions only; never decides anything.
    """

    def __init__(
        self,
        job: Job,
        recorder: Recorder,
        *,
        run_id: str = "",
        inbox: Inbox | None = None,
        listener: Listener | None = None,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._job, self._recorder = job, recorder
        self._run_id = run_id or job.config.name
        self._inbox: Inbox = inbox or Unattended()
        self._listener: Listener = listener or Silence()
        watch(job.environment, self._listener)
        self._stopwatch = stopwatch
        self._anticipating = job.policy if isinstance(job.policy, Anticipating) else None
        self._desk: Desk | None = None
        self._overlap: Overlap | None = None
        self._opened = self._beamless = False
        self._boundary: Boundary | None = None
        self._urgency = Urgency(job)
        if isinstance(self._inbox, Attended):
            self._inbox.on_urgent(self._urgency.take)
        self._start_s = job.clock.now_s()
        self._calls: Calls = InLine()
        self._taken: TakenUp | None = None

    def run(self) -> RunEnd:
        """Run until the policy finishes, a budget is spent, a person stops it, or it cannot go on.

        Returns
        -------
        RunEnd
            The one terminal state, also written to the journal.
        """
        return self._to_the_end(self._open)

    def take_up(
        self, history: History, journal: Readable, walked: Walked | None = None, begin: Checkpoint | None = None
    ) -> TakenUp:
        """Prepare to go on with a run that was cut off or ended; writes nothing.

        Parameters
        ----------
        history : History
            What its journal tells.
        journal : Readable
            Its journal, for the frames.
        walked : callable, optional
            Told about each decision that is made again and each outcome that is told again.
        begin : Checkpoint, optional
            Where the policy begins; absent: it is told everything again.

        Returns
        -------
        TakenUp
            What was found; `go_on` goes on from there.

        Raises
        ------
        AutoscopeError
            The run cannot be taken up. The instrument has been let go of, the record is as it was.
        """
        try:
            self._job.environment.reset(seed=self._job.config.seed, options={"bare": True})
            self._opened = True
            self._desk = Desk(self._job, self._recorder, self._listener, self._stopwatch, self._run_id)
            self._taken = take_up(self._desk, history, journal, walked, begin)
        except BaseException:
            self._job.environment.close()
            raise
        self._start_s = self._desk.start_s
        return self._taken

    def go_on(self, changed: Mapping[str, object] | None = None) -> RunEnd:
        """Go on with a run that was taken up, to its end; see `run`.

        Parameters
        ----------
        changed : mapping, optional
            The plain configuration, where it was changed.
        """
        taken, desk = self._taken, self._desk
        if taken is None or desk is None:
            raise AutoscopeError("the run has not been taken up", where="Engine.go_on", remedy="Call take_up first")

        def opened() -> Desk:
            again: dict[str, object] = {"config": changed, "config_sha256": config_hash(changed)} if changed else {}
            made = {"version": _version(), "made_by": provenance(self._job.plugins())}
            self._return(desk, taken)
            self._recorder.append("run_resumed", taken.plain() | made | again | desk.deadline_changed())
            return desk

        return self._to_the_end(opened, taken.past)

    def _to_the_end(self, opening: Callable[[], Desk], past: Past | None = None) -> RunEnd:
        try:
            self._walk(opening(), past or Past())
        except Ended as end:
            return self._close(end.status, end.reason)
        except KeyboardInterrupt:
            return self._close(RunStatus.STOPPED, "interrupted twice: stopped without finishing the step")
        except AutoscopeError as error:
            return self._close(RunStatus.FAILED, f"{type(error).__name__}: {error}")
        except BaseException as error:
            self._close(RunStatus.FAILED, f"{type(error).__name__}: {error}")
            raise

    # --- opening and closing ---

    def _open(self) -> Desk:
        try:
            self._job.environment.reset(seed=self._job.config.seed, options={"bare": True})
        except DataError:
            self._beamless = True  # stored data that cannot be read
            raise
        self._opened = True
        self._start_s = self._job.clock.now_s()
        desk = self._desk = Desk(self._job, self._recorder, self._listener, self._stopwatch, self._run_id)
        header = self._header(self._job.resolved.plain())
        seen = {"capabilities": desk.capabilities.model_dump(mode="json"), "state": desk.start.model_dump(mode="json")}
        self._recorder.append("run_started", header | seen | desk.set_deadline())
        return desk

    def _header(self, plain: dict[str, object]) -> dict[str, object]:
        config = self._job.config
        return {
            "run_id": self._run_id,
            "name": config.name,
            "operator": config.operator,
            "sample": config.sample,
            "config": plain,
            "config_sha256": config_hash(plain),
            "version": _version(),
            "made_by": provenance(self._job.plugins()),
            "scalarizers": {name: s.identity for name, s in self._job.scalarizers.items()},
        }

    def _close(self, status: RunStatus, reason: str) -> RunEnd:
        environment = self._job.environment
        environment.make_safe()
        if self._overlap is not None:
            status, reason = self._overlap.wind_up(status, reason)
        reason += self._leave()
        safe, dose_e = self._beamless, 0.0  # nothing is known of an instrument that was never reached
        if self._opened:
            try:
                state = environment.read_state()
                safe, dose_e = state.blanked, self._desk.dose_e(state) if self._desk else 0.0
            except AutoscopeError as error:
                safe, dose_e = False, self._desk.last_dose_e if self._desk else 0.0
                reason += f"; the instrument could not be read back: {error}"
        end = RunEnd(
            status=status,
            reason=reason,
            steps=self._desk.steps if self._desk else 0,
            time_s=self._job.clock.now_s() - self._start_s,
            dose_e=dose_e,
            faults=self._desk.faults if self._desk else 0,
            safe=safe,
            bytes=self._desk.data_bytes if self._desk else 0,
            best=self._desk.best if self._desk else (),
        )
        try:
            self._recorder.append("run_ended", end)
            boundary = self._overlap.boundary if self._overlap is not None else self._boundary
            if boundary is not None:
                boundary.close(f"the run is over: {reason}")
        finally:
            self._recorder.close()
            environment.close()
            self._calls.close()  # last: a policy that is slow to return holds nothing up
        return end

    def _leave(self) -> str:
        """Leave the instrument as the run asks, whatever its end; return what went wrong, for its reason."""
        end, desk = self._job.config.end, self._desk
        if end is None or desk is None:
            return ""
        actions = closing_actions(end, desk.capabilities)
        troubles = do_all("closing", actions, self._job, desk.guard, self._recorder, self._run_id)
        return "".join(f"; at the end {trouble}" for trouble in troubles)

    def _return(self, desk: Desk, taken: TakenUp) -> None:
        """Bring an instrument that outlived the run back to where the run had left it.

        Raises
        ------
        InstrumentError
            It does not get there; nothing was measured.
        """
        if taken.rebuilt or not taken.left:
            return
        actions = returning_actions(taken.last, taken.state)
        troubles = do_all("returning", actions, self._job, desk.guard, self._recorder, self._run_id)
        if troubles:
            remedy = "Look at the instrument, then resume again"
            raise InstrumentError(f"the instrument could not be brought back: {'; '.join(troubles)}", remedy=remedy)

    # --- walking ---

    def _walk(self, desk: Desk, past: Past) -> NoReturn:
        if past.ended is not None:
            raise past.ended
        ahead = self._job.config.engine.lookahead > 0
        alongside = ahead or self._anticipating is not None
        if alongside and not isinstance(self._job.clock, SimClock):
            self._calls = PolicyThread()
        if ahead:
            self._overlap = Overlap(desk, self._inbox, self._calls, past, self._urgency)
            self._overlap.walk()
        for intent in past.open:
            self._resolve(desk, intent, past)
        while True:
            self._one_step(desk)

    def _one_step(self, desk: Desk) -> None:
        boundary = self._people(desk)
        boundary.cross(desk.steps)
        state = desk.fit(self._job.environment.read_state(), lambda: boundary.cross(desk.steps))
        left = desk.left(state, desk.steps)
        decision, answer, view = self._decide(desk, desk.view(desk.steps, state, left))
        intent = desk.intend(desk.steps, decision, view.state, answer)
        self._do(desk, intent, view.state, view.budget)

    def _do(self, desk: Desk, intent: Intent, state: MicroscopeState, left: Budget) -> None:
        """Do an act that is written down, if people let it be done."""
        try:
            overruled = self._people(desk).leave(intent, state, left)
        except Ended:
            error = GuardViolation("the act was never started: the run ended before its turn came")
            never = came_to("refused", intent.act, state, state, error).outcome
            self._recorder.append("outcome", never, step=intent.step)
            raise
        if overruled is not None:
            self._conclude(desk, intent, left, came_to("refused", intent.act, state, state, overruled), None)
            return
        self._conclude(desk, intent, left, *self._act(desk, intent, state, left))

    def _people(self, desk: Desk) -> Boundary:
        if self._boundary is None:
            self._boundary = Boundary(desk, self._inbox, self._calls, aborted=self._urgency.ended)
        return self._boundary

    def _resolve(self, desk: Desk, intent: Intent, past: Past) -> None:
        """Bring the act at which the run was cut off to its outcome: recalled, or begun now if it never was."""
        known, view = past.known.get(intent.step), past.views.get(intent.step)
        state = view.state if view else self._job.environment.read_state()
        left = view.budget if view else desk.left_at(state, intent.step, desk.elapsed_s())
        if known is None:
            self._do(desk, intent, state, left)
            return
        if isinstance(known, Observation):
            known = take_in(self._job, desk.guard, self._recorder, intent, known)
        self._conclude(desk, intent, left, known, None)

    def _conclude(
        self, desk: Desk, intent: Intent, left: Budget, result: Result, preparing: Future[None] | None
    ) -> None:
        desk.spend(intent.act.action, result)
        self._recorder.append("outcome", result.outcome, step=intent.step)
        if preparing is not None:
            preparing.result()
        self._calls.call(lambda: desk.tell(intent, result))
        if (ended := desk.count(intent, result.outcome, left)) is not None:
            raise ended

    def _decide(self, desk: Desk, view: View) -> tuple[Decision, Answer | None, View]:
        answer, view = consulted(desk, self._people(desk), view, self._calls.call)
        desk.spend_decision_time()
        done = settled(desk, answer, view)
        if done is answer.what:
            return answer.decision(), answer, view
        desk.leave_unused(answer)
        return as_decision(done), None, view

    def _act(
        self, desk: Desk, intent: Intent, state: MicroscopeState, left: Budget
    ) -> tuple[Result, Future[None] | None]:
        act = intent.act
        try:
            cost = desk.permit(act.action, state, left)
        except (GuardViolation, InstrumentError) as error:
            return came_to("refused", act, state, state, error), None
        preparing = self._prepare(desk, intent, state, cost)
        span = Span(self._job.clock.now_s())
        try:
            with self._urgency.running(act.act_id):
                observation = execute(self._job, act)
        except (InstrumentError, BusError, PluginError) as error:
            span, why = span.until(self._job.clock.now_s()), self._urgency.overruled(act.act_id) or error
            return came_to("failed", act, state, self._job.environment.read_state(), why, span), preparing
        span = span.until(self._job.clock.now_s())
        return take_in(self._job, desk.guard, self._recorder, intent, observation, span), preparing

    def _prepare(self, desk: Desk, running: Intent, state: MicroscopeState, cost: Cost) -> Future[None] | None:
        policy = self._anticipating
        if policy is None:
            return None
        try:
            view = desk.view_ahead(running, state, cost, desk.elapsed_s())
        except Ended:
            return None  # nothing will be decided after this act
        return self._calls.submit(lambda: guarded("policy.prepare", lambda: policy.prepare(view)))


def _version() -> str:
    from autoscope import __version__

    return __version__


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
