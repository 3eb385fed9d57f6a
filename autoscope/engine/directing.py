"""What becomes of an answer of the policy where somebody has sent the next measurement to a place."""

from __future__ import annotations

from autoscope.engine.asking import Answer
from autoscope.engine.desk import Desk
from autoscope.errors import AutoscopeError
from autoscope.records import Decision, Finish, Measure, View

PERSON = "person"
"""``decided_by`` of a decision that a person made."""


def settled(desk: Desk, answer: Answer, view: View) -> Decision | Finish:
    """Return what is done about an answer: a measurement where somebody sent it, if the policy passes that over.

    What the policy does on its way there, moving the stage or taking an image, is left to it.
    """
    what, wishes = answer.what, view.wishes
    passes_over = isinstance(what, Finish) or (isinstance(what.action, Measure) and what.order != wishes.sent)
    if wishes.within is None or not passes_over:
        return what
    return _directed(desk, view, what if isinstance(what, Decision) else None) or what


def _directed(desk: Desk, view: View, instead: Decision | None) -> Decision | None:
    """Return a measurement in the middle of the place where somebody sent it, or None where it cannot be done."""
    place, ordered = view.wishes.within, desk.standing.find(view.wishes.sent)
    if place is None or ordered is None:
        return None
    options = desk.job.resolved.policy.options
    dwell_s = view.wishes.dwell_s or getattr(options, "dwell_s", None)
    signals = getattr(options, "signals", ()) or tuple(s.name for s in desk.capabilities.signals)
    detectors = getattr(options, "point_detectors", ())
    if instead is not None and isinstance(instead.action, Measure):
        dwell_s, signals, detectors = instead.action.dwell_s, instead.action.signals, instead.action.detectors
    if not dwell_s or not signals:
        return None
    x_m, y_m = place.centre[0] - view.state.x_m, place.centre[1] - view.state.y_m
    action = Measure(x_m=x_m, y_m=y_m, dwell_s=dwell_s, signals=signals, detectors=detectors)
    try:
        desk.permit(action, view.state, view.budget)
    except AutoscopeError:
        return None
    return Decision(
        action=action,
        purpose="spectrum",
        reason=f"{ordered.who} sent it there: {ordered.why or 'no reason given'}.",
        target=place.words(),
        decided_by=PERSON,
        order=ordered.id,
    )
