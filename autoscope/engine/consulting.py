"""A policy that wants people to choose is asked again with what they said, or with how long they were silent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from autoscope.clock import SimClock
from autoscope.engine.asking import Answer
from autoscope.engine.boundary import Boundary
from autoscope.engine.desk import Desk, Intent
from autoscope.engine.directing import settled
from autoscope.exposure import predict
from autoscope.records import Act, Decision, View


def consulted(
    desk: Desk, people: Boundary, view: View, call: Callable[[Callable[[], Answer]], Answer]
) -> tuple[Answer, View]:
    """Return what the policy decides, and the view it decided by, once people were heard where it wants that.

    Each suggestion is kept as a question that came to nothing. The policy is asked again as soon as somebody orders
    something, and after its patience with `View.silence_s`; what it answers to silence holds.

    Raises
    ------
    Ended
        People want the run to end, or its budget was spent while they thought.
    """
    answer = call(partial(desk.ask, view))
    while isinstance(suggestion := answer.what, Decision) and suggestion.consult_s and view.silence_s is None:
        if settled(desk, answer, view) is not suggestion:
            break  # somebody has chosen already, a place that the policy passes over
        with desk.pen:
            desk.leave_unused(answer)
        patience_s = suggestion.consult_s
        if view.budget.time_s is not None and not isinstance(desk.job.clock, SimClock):
            patience_s = min(patience_s, view.budget.time_s)  # people's time is the run's time then
        silence_s = people.hear_out(_proposal(desk, view, suggestion), patience_s)
        state = desk.job.environment.read_state()
        view = desk.view(view.step, state, desk.left(state, view.step)).replace(silence_s=silence_s)
        answer = call(partial(desk.ask, view))
    return answer, view


def _proposal(desk: Desk, view: View, suggestion: Decision) -> Intent:
    act = Act(act_id=desk.act_id(view.step), action=suggestion.action)
    return Intent(view.step, act, suggestion, predict(act.action, view.state, desk.capabilities), 0.0)
