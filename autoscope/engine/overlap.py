"""Deciding overlaps acquiring: while an act runs, the last one is written down and told, and the next one decided.

::

    caller's thread   | act 0 ................ | act 1 ................ | act 2 ...
    policy's thread   | ask 1, intent 1        | outcome 0, tell 0,     | outcome 1, tell 1,
                      |   (act 0 pending)      |   ask 2, intent 2      |   ask 3, intent 3

The caller's thread makes every call of the instrument; the policy's thread makes every call of the policy, one after
the other. Whoever writes to the journal holds the *pen*. An act decided ahead is started only if the guard permits it
again from the state read back when its turn comes.

What cannot be decided ahead is decided when the running act is done and told: a `Finish` or a `Wait` answered while
something is pending, an act the guard would refuse in the expected state, and anything once the budget is expected to
be spent.

Where a stand-in takes the place of a late policy, a clerk's thread does the writing down meanwhile.

On a simulated clock everything runs on the caller's thread, in the same order of calls: the policy's part of an act
comes just before the instrument's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from autoscope.clock import SimClock
from autoscope.engine.acting import Span, came_to, execute, take_in
from autoscope.engine.asking import Answer, as_decision
from autoscope.engine.boundary import Boundary
from autoscope.engine.consulting import consulted
from autoscope.engine.desk import Desk, Intent
from autoscope.engine.directing import settled
from autoscope.engine.events import Ended, RunStatus
from autoscope.engine.past import Past
from autoscope.engine.policy_thread import Calls, InLine, PolicyThread
from autoscope.engine.steering import Inbox
from autoscope.engine.turn import Done, Turn, before_of
from autoscope.engine.urgency import Urgency
from autoscope.errors import BusError, GuardViolation, InstrumentError, JournalError, PluginError
from autoscope.records import Budget, Decision, MicroscopeState, Observation, Result, Wait

T = TypeVar("T")


class Overlap:
    """Walks the acts of one run, one decision ahead.

    Parameters
    ----------
    desk : Desk
        Of the run.
    inbox : Inbox
        Interventions; they take effect before the next act starts.
    calls : Calls
        Where the policy's calls run.
    past : Past, optional
        What went before, of a run that is taken up again.
    """

    def __init__(
        self, desk: Desk, inbox: Inbox, calls: Calls, past: Past | None = None, urgency: Urgency | None = None
    ) -> None:
        self._desk, self._calls = desk, calls
        self._urgency = urgency or Urgency(desk.job)
        self.boundary = Boundary(
            desk, inbox, calls, before=self._keep_finished, quiet=self._fall_quiet, aborted=self._urgency.ended
        )
        past = past or Past()
        self._environment = desk.job.environment
        self._deadline_s = desk.job.config.engine.decision_deadline_s
        self._pen = desk.pen
        self._stand_ins = past.stand_ins
        self._reopened = deque(past.open)
        self._known, self._fruitless = dict(past.known), past.fruitless
        self._finished: deque[Done] = deque()
        self._untold: deque[tuple[Intent, Result]] = deque()
        self._next: Intent | None = None
        self._intents = desk.decided
        self._purpose = past.purpose
        self._late: Answer | None = None
        self._broken: BaseException | None = None
        self._ended: Ended | None = None
        self._state = MicroscopeState(time_s=0.0)
        self._over = False
        self._call: Future[Any] = InLine().submit(lambda: None)
        self._clerk: PolicyThread | None = None

    # --- the caller's thread ------------------------------------------------------------------------

    def walk(self) -> NoReturn:
        """Do one act after the other.

        Raises
        ------
        Ended
            The run is over.
        AutoscopeError
            It cannot go on.
        """
        intent = self._reopen() or self._decide_now()
        while True:
            intent = self._act(intent) or self._reopen() or self._decide_now()

    def _reopen(self) -> Intent | None:
        """Return the next act that was decided before the run was cut off."""
        if not self._reopened:
            return None
        self._next = self._reopened.popleft()
        return self._next

    def _act(self, intent: Intent) -> Intent | None:
        """Do an act and return the next one, if it could be decided meanwhile."""
        if intent.step in self._known:
            return self._follow(self._begin_turn(self._known_turn(intent)), self._recalled(intent))
        state = self._state = self._desk.fit(
            self._environment.read_state(), lambda: self.boundary.cross(intent.step, intent)
        )
        left = self._desk.left(state, intent.step)
        if (overruled := self.boundary.leave(intent, state, left)) is not None:
            self._refuse(intent, state, left, overruled)
            return None
        try:
            cost = self._desk.permit(intent.act.action, state, left)
        except (GuardViolation, InstrumentError) as error:
            self._refuse(intent, state, left, error)
            return None
        turn = self._begin_turn(Turn(intent, state, cost, self._desk.elapsed_s()))
        return self._follow(turn, self._execute(intent, state, left))

    def _refuse(self, intent: Intent, state: MicroscopeState, left: Budget, error: Exception) -> None:
        """Let an act that is decided come to nothing."""
        self._next = None
        self._finished.append(Done(intent, state, left, came_to("refused", intent.act, state, state, error)))

    def _follow(self, turn: Turn, done: Done) -> Intent | None:
        self._finished.append(done)
        if turn.asked:  # on a simulated clock, the only one that counts this, the turn is over
            self._desk.spend_decision_time(self._desk.elapsed_s() - turn.begun_s)
        return self._heed(self._await(turn))

    def _execute(self, intent: Intent, state: MicroscopeState, left: Budget) -> Done:
        clock = self._desk.job.clock
        span = Span(clock.now_s())
        try:
            try:
                with self._urgency.running(intent.act.act_id):
                    answer: Observation | Result = execute(self._desk.job, intent.act)
                span = span.until(clock.now_s())
            except (InstrumentError, BusError, PluginError) as error:
                span, why = span.until(clock.now_s()), self._urgency.overruled(intent.act.act_id) or error
                answer = came_to("failed", intent.act, state, self._environment.read_state(), why, span)
        except Exception as error:  # beyond what an act may run into: the run ends, but the act has its outcome
            failed = came_to("failed", intent.act, state, state, error, span)
            self._desk.spend(intent.act.action, failed)
            self._finished.append(Done(intent, state, left, failed))
            raise
        self._state = answer.state if isinstance(answer, Observation) else answer.outcome.state
        self._desk.spend(intent.act.action, answer)
        return Done(intent, state, left, answer, span)

    def _known_turn(self, intent: Intent) -> Turn:
        state, now_s = before_of(self._known[intent.step]), self._desk.elapsed_s()
        if isinstance(self._desk.job.clock, SimClock):  # the instrument's too: what was decided meanwhile had its time
            now_s = min(now_s, state.time_s - self._desk.start_s)
        return Turn(intent, state, intent.cost, now_s)

    def _recalled(self, intent: Intent) -> Done:
        """Return the answer of an act that the instrument remembers from before the run was cut off."""
        answer = self._known.pop(intent.step)
        self._state = answer.state if isinstance(answer, Observation) else answer.outcome.state
        left = self._desk.left_at(before_of(answer), intent.step, self._desk.elapsed_s())
        self._desk.spend(intent.act.action, answer)
        return Done(intent, before_of(answer), left, answer)

    def _begin_turn(self, turn: Turn) -> Turn:
        self._next = None
        if self._reopened:  # what follows was decided before the run was cut off
            turn.asked = True
            turn.future.set_result(self._reopen())
            return turn
        if turn.running.step == self._fruitless:  # it was asked, and nothing came of it
            turn.asked = True
            turn.future.set_result(None)
            return turn
        turn.future = self._submit(lambda: self._take_turn(turn))
        return turn

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        self._call = future = self._calls.submit(call)
        return future

    def _await(self, turn: Turn) -> Intent | None:
        """Return what is decided, waiting for it no longer than the deadline if there is a stand-in."""
        if self._deadline_s is None:
            return turn.future.result()
        try:
            return turn.future.result(self._deadline_s)
        except TimeoutError:
            decision = self._stand_ins.choose(self._purpose, self._deadline_s)
        if decision is not None:
            with self._pen:
                if not (turn.answered or turn.future.done()):
                    turn.overtaken.set()
                    intent = self._intend(decision, self._state)
                    self._clerk = self._clerk or PolicyThread("clerk")
                    self._clerk.submit(lambda: self._keep_before(intent.step))
                    return intent
        return turn.future.result()

    def _keep_before(self, step: int) -> None:
        """Write down what is over while the next act runs and the policy thinks (on the clerk's thread)."""
        with self._pen:
            if self._over:
                return
            try:
                self._keep_finished(step)
            except Exception as error:
                self._broken = self._broken or error

    def _heed(self, following: Intent | None = None) -> Intent | None:
        """Hear people, and return what was decided to follow if they leave it at that."""
        self.boundary.cross(following.step if following else self._intents, following)
        if following is not None and (overruled := self.boundary.overruled(following, self._state)) is not None:
            left = self._desk.left_at(self._state, following.step, self._desk.elapsed_s())
            self._refuse(following, self._state, left, overruled)
            return None
        return following

    def _fall_quiet(self) -> None:
        """Return when the policy has been told all that is over; an answer that is late is not used any more."""
        self._submit(self._settle).result()
        late, self._late = self._late, None
        if late is not None:
            with self._pen:
                self._desk.leave_unused(late)

    def _decide_now(self) -> Intent:
        """Return an act decided with nothing pending."""
        self._submit(self._settle).result()
        self._heed()
        state = self._environment.read_state()
        view = self._desk.view(self._intents, state, self._desk.left(state, self._intents))
        answer, view = consulted(self._desk, self.boundary, view, lambda ask: self._submit(ask).result())
        state = self._state = view.state
        self._desk.spend_decision_time()
        done = settled(self._desk, answer, view)
        with self._pen:
            if done is answer.what:
                return self._intend(answer.decision(), state, answer)
            self._desk.leave_unused(answer)
            return self._intend(as_decision(done), state)

    def wind_up(self, status: RunStatus, reason: str) -> tuple[RunStatus, str]:
        """Write down what came of every act that is over, and that an act decided ahead was never started.

        The policy is told too, where the run ended in peace and it is free to listen. Nothing is written by the
        policy's thread from now on.

        Returns
        -------
        tuple of RunStatus and str
            How the run ended, which is worse than given where this failed.
        """
        with self._pen:
            self._over = True
            try:
                self._keep_finished()
            except Exception as error:
                status, reason = _worse(status, reason, error)
            with suppress(JournalError):  # run_ended meets the same disk, and says so
                self._disown()
        if self._clerk is not None:
            self._clerk.close()
        if status is not RunStatus.FAILED and self._call.done():
            try:
                self._submit(self._tell_kept).result()
            except KeyboardInterrupt:
                return status, reason  # the run is over and recorded; a slow policy need not hear of it
            except Exception as error:
                return _worse(status, reason, error)
        return status, reason

    def _disown(self) -> None:
        waiting, self._next = [self._next, *self._reopened], None
        for intent in (one for one in waiting if one is not None):
            if intent.step in self._known:
                self._keep(self._recalled(intent))
                continue
            error = GuardViolation("the act was never started: the run ended before its turn came")
            outcome = came_to("refused", intent.act, self._state, self._state, error).outcome
            self._desk.recorder.append("outcome", outcome, step=intent.step)

    # --- the policy's thread ------------------------------------------------------------------------

    def _take_turn(self, turn: Turn) -> Intent | None:
        try:
            self._settle(before=turn.running.step)
            return self._look_ahead(turn)
        except BaseException as error:
            self._broken = error  # of a turn that was overtaken nobody asks the result
            raise

    def _settle(self, before: int | None = None) -> None:
        """Write down and tell all that is over, or only acts before a step, however soon that one itself is over."""
        if self._broken is not None:
            raise self._broken
        with self._pen:
            if not self._over:
                self._keep_finished(before)
        self._tell_kept()
        if self._ended is not None:
            raise self._ended

    def _keep_finished(self, before: int | None = None) -> None:
        """Write down all that is over; the pen is held."""
        while self._finished and (before is None or self._finished[0].intent.step < before):
            done = self._finished.popleft()
            self._untold.append((done.intent, self._keep(done)))

    def _keep(self, done: Done) -> Result:
        if isinstance(done.answer, Result):
            return self._conclude(done, done.answer)
        desk, act, seen = self._desk, done.intent.act, done.answer
        try:
            result = take_in(desk.job, desk.guard, desk.recorder, done.intent, seen, done.span)
        except Exception as error:  # the act was done: say so, with what its frames ran into, before the run ends
            with suppress(JournalError):
                self._conclude(done, came_to("failed", act, seen.state_before, seen.state, error, done.span))
            raise
        return self._conclude(done, result)

    def _conclude(self, done: Done, result: Result) -> Result:
        self._desk.recorder.append("outcome", result.outcome, step=done.intent.step)
        ended = self._desk.count(done.intent, result.outcome, done.left)  # of each act, also after the first end
        self._ended = self._ended or ended
        return result

    def _tell_kept(self) -> None:
        while self._untold:
            self._desk.tell(*self._untold.popleft())

    def _look_ahead(self, turn: Turn) -> Intent | None:
        if turn.overtaken.is_set():
            return None
        try:
            view = self._desk.view_ahead(turn.running, turn.state, turn.cost, turn.begun_s)
        except Ended:
            return None  # nothing will be left; whether that is true is seen when the act is done
        turn.asked = True
        answer = self._take_late() or self._desk.ask(view)
        decision = settled(self._desk, answer, view)
        with self._pen:
            turn.answered = True
            if decision is not answer.what and not (turn.overtaken.is_set() or self._over):
                self._desk.leave_unused(answer)
                return self._intend(as_decision(decision), view.state)
            decision = answer.what
            if not isinstance(decision, Decision) or isinstance(decision.action, Wait) or decision.consult_s:
                self._desk.leave_unused(answer)
                return None
            if turn.overtaken.is_set() or self._over:
                self._late = answer
                return None
            try:
                self._desk.permit(decision.action, view.state, view.budget)
            except (GuardViolation, InstrumentError):
                self._desk.leave_unused(answer)
                return None
            return self._intend(decision, view.state, answer)

    def _take_late(self) -> Answer | None:
        """Return the answer that came too late for its act, if nobody has decided for the same since."""
        late, self._late = self._late, None
        if late is None:
            return None
        if isinstance(late.what, Decision) and self._stand_ins.is_open(late.what.action):
            return late
        with self._pen:
            self._desk.leave_unused(late)
        return None

    def _intend(self, decision: Decision, state: MicroscopeState, answer: Answer | None = None) -> Intent:
        """Write an intent down; the pen is held."""
        intent = self._desk.intend(self._intents, decision, state, answer)
        self._next = intent
        self._intents += 1
        self._purpose = decision.purpose
        self._stand_ins.note(decision, intent.step)
        return intent


def _worse(status: RunStatus, reason: str, error: Exception) -> tuple[RunStatus, str]:
    if status is RunStatus.FAILED:
        return status, reason
    return RunStatus.FAILED, f"{type(error).__name__}: {error}"
