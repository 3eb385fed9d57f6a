"""Suspenders: while the instrument reads back as unfit, the beam is blanked and nothing is done; then the run goes on.

A condition is looked at before every act, and again in the state an act ended with: what was recorded meanwhile is
rejected, so that nobody learns from it. Suspending is no act: it is written down as a ``note`` when it begins and one
when it ends, costs time and no steps. The policy sees in its view how often it happened (`View.suspensions`), so that
it can verify its place on a reference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from autoscope.conditions import READINGS, value_of
from autoscope.engine.assemble import Job
from autoscope.engine.events import Ended, RunStatus
from autoscope.errors import ConditionLost, Unsupported
from autoscope.fitness import SuspenderConfig, SuspendersConfig
from autoscope.journal import Recorder
from autoscope.records import MicroscopeState

SUSPENDED, RELEASED = "suspended", "released"
"""Events of the notes that begin and end a suspension."""


class Suspenders:
    """Holds a run while a condition on what the instrument reads back is not met.

    Parameters
    ----------
    job : Job
        Environment, clock and conditions.
    recorder : Recorder
        Where suspensions are written down.
    state : MicroscopeState
        The instrument when the run begins.

    Raises
    ------
    Unsupported
        A condition is on something that this instrument does not read back: it could never hold anything.
    """

    def __init__(self, job: Job, recorder: Recorder, state: MicroscopeState) -> None:
        self._job, self._recorder = job, recorder
        self._config = job.config.engine.suspenders
        self.count = 0
        """Suspensions so far."""
        self.pen: AbstractContextManager[Any] = nullcontext()
        """Held while a note is written."""
        for condition in self._config.conditions if self._config else ():
            if value_of(condition.reads, state) is None:
                raise Unsupported(
                    "the instrument does not read this back, so a suspender on it would never hold",
                    where="engine.suspenders",
                    value=condition.reads,
                    remedy="Remove the condition, or configure the gauge",
                )

    def hold(self, state: MicroscopeState, heed: Callable[[], None]) -> MicroscopeState:
        """Return a state in which every condition is met: the given one at once, or what is read back after waiting.

        Parameters
        ----------
        state : MicroscopeState
            Just read back.
        heed : callable
            Called at every look, so that a person can stop the run meanwhile.

        Raises
        ------
        Ended
            A person stopped the run, or waiting took longer than allowed.
        """
        why = unmet(self._config, state)
        if self._config is None or why is None:
            return state
        self.count += 1
        self._note(SUSPENDED, why, state, {})
        self._job.environment.make_safe()
        begun_s = self._job.clock.now_s()
        state = self._wait(self._config, begun_s, why, heed)
        self._note(RELEASED, why, state, {"waited_s": self._job.clock.now_s() - begun_s})
        return state

    def _note(self, event: str, why: str, state: MicroscopeState, more: dict[str, float]) -> None:
        with self.pen:
            self._recorder.append(
                "note", {"event": event, "reason": why, "state": state.model_dump(mode="json")} | more
            )

    def _wait(self, config: SuspendersConfig, begun_s: float, why: str, heed: Callable[[], None]) -> MicroscopeState:
        good_since_s: float | None = None
        while True:
            heed()
            self._job.clock.wait(config.poll_s)
            state, now_s = self._job.environment.read_state(), self._job.clock.now_s()
            still = unmet(config, state)
            if still is None:
                good_since_s = now_s if good_since_s is None else good_since_s
                if now_s - good_since_s >= config.settle_s:
                    return state
            else:
                good_since_s, why = None, still
            if now_s - begun_s > config.longest_s:
                raise Ended(RunStatus.FAILED, f"suspended for {now_s - begun_s:.0f} s, longer than allowed: {why}")


def unmet(config: SuspendersConfig | None, state: MicroscopeState) -> str | None:
    """Return which condition a state does not meet, as a phrase; None where it meets them all."""
    for condition in config.conditions if config else ():
        value = value_of(condition.reads, state)
        if value is not None and not condition.low <= value <= condition.high:
            return _phrase(condition, value)
    return None


def doubt(config: SuspendersConfig | None, state: MicroscopeState) -> ConditionLost | None:
    """Return why nothing may be learnt from an act that ended in this state; None where it may."""
    why = unmet(config, state)
    if why is None:
        return None
    return ConditionLost(
        f"the act ended while {why}",
        where="engine.suspenders",
        remedy="It is kept, and not learnt from; the run waits and goes on",
    )


def _phrase(condition: SuspenderConfig, value: float) -> str:
    unit = READINGS[condition.reads][1]
    name = condition.reads.replace("_", " ")
    limit = f"below {condition.below}" if value < condition.low else f"above {condition.above}"
    return f"{name} is {value:.3g} {unit}, {limit}"
