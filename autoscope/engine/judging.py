"""Whether an order is taken: genuine, new, in time, permitted, and meaningful as things stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from autoscope.engine.assemble import make_scalarizer
from autoscope.engine.desk import Desk, Intent
from autoscope.engine.standing import Standing, site
from autoscope.errors import AutoscopeError, OrderRefused
from autoscope.guard.ranges import EVERYTHING, require
from autoscope.interventions import (
    FREE,
    UNDOABLE,
    Abort,
    Approve,
    Command,
    Dequeue,
    Enqueue,
    GiveWheel,
    Mark,
    Order,
    Pin,
    Prefer,
    Resume,
    Retract,
    SendTo,
    SetAcquisition,
    SetBudget,
    SetDwell,
    SetScalarizer,
    TakeWheel,
    Undo,
    Veto,
)
from autoscope.protocols import Steerable
from autoscope.records import Intervention, Measure, MoveStage
from autoscope.wishes import Disc, Marked, Wishes

Effect = dict[str, Any]


@dataclass(frozen=True)
class Situation:
    """What an order meets.

    Attributes
    ----------
    desk : Desk
        Of the run.
    proposal : Intent or None
        The act that is decided and not begun.
    wall : str
        People's time, ISO 8601 UTC.
    aborted : str
        The act that was ended at once by this order; empty where none was running.
    is_done : callable
        Whether an act has come to values that can be taken back.
    """

    desk: Desk
    proposal: Intent | None
    wall: str
    is_done: Callable[[str], bool]
    aborted: str = ""

    @property
    def standing(self) -> Standing:
        """What people have ordered."""
        return self.desk.standing


def judge(order: Order, now: Situation) -> Effect:
    """Return what an order means now.

    Raises
    ------
    OrderRefused
        It is not taken, and why.
    """
    _genuine(order, now)
    _fresh(order, now)
    _permitted(order, now)
    try:
        return _meaning(order.command, order, now)
    except OrderRefused:
        raise
    except AutoscopeError as error:
        raise _refused(order, str(error)) from error


def _refused(order: Order, what: str, remedy: str = "") -> OrderRefused:
    return OrderRefused(what, where=order.command.command, remedy=remedy)


def _genuine(order: Order, now: Situation) -> None:
    if not order.genuine():
        raise _refused(order, "its signature is not genuine: it was altered on its way, or is somebody else's")
    if order.run_id != now.desk.run_id:
        raise _refused(order, f"it is for the run {order.run_id}, this is {now.desk.run_id}")


def _fresh(order: Order, now: Situation) -> None:
    if now.standing.find(order.id) is not None:
        raise _refused(order, "it was taken already: the same order, a second time")
    if order.seq <= now.standing.last_seqs.get((order.public_key, order.seat), 0):
        raise _refused(order, f"a later order of this seat was taken already (number {order.seq})")
    if order.seen_step > now.desk.decided:
        raise _refused(order, f"it claims to have seen step {order.seen_step}, the run is at {now.desk.decided}")
    try:
        late = datetime.fromisoformat(now.wall) > datetime.fromisoformat(order.expires)
    except (ValueError, TypeError):
        raise _refused(order, "it does not say until when it holds") from None
    if late:
        raise _refused(order, f"it is stale: it held until {order.expires}", "Look again, and order again")


def _permitted(order: Order, now: Situation) -> None:
    holder = now.standing.wheel
    if holder is None or order.command.command in FREE or _has(order, holder):
        return
    raise _refused(order, f"{holder.who} has the wheel", "Take it over first: take_wheel, over, with a reason")


def _has(order: Order, holder: Intervention) -> bool:
    taken = holder.order
    return taken is not None and (taken.who, taken.public_key) == (order.who, order.public_key)


def _meaning(command: Command, order: Order, now: Situation) -> Effect:
    match command:
        case Resume() if now.standing.paused is None:
            raise _refused(order, "the run is not paused")
        case Abort():
            if not now.aborted:
                raise _refused(order, "no act was running that could be aborted")
            return {"act_id": now.aborted}
        case Approve() | Veto():
            return _proposed(command, order, now)
        case TakeWheel():
            return _taken_over(command, order, now)
        case GiveWheel() if now.standing.wheel is None:
            raise _refused(order, "nobody has the wheel")
        case SendTo() | Enqueue():
            return _sent(command, order, now)
        case Dequeue():
            return _dequeued(command, order, now)
        case Pin() | Mark() | SetAcquisition() | SetDwell():
            _followed(command, order, now)
        case Prefer():
            _preferred(command, order, now)
        case SetScalarizer():
            _scalarized(command, order, now)
        case SetBudget():
            return _budget(order, now)
        case Retract():
            _retracted(command, order, now)
        case Undo():
            return _undone(command, order, now)
        case _:
            pass
    return {}


def _proposed(command: Approve | Veto, order: Order, now: Situation) -> Effect:
    if now.proposal is None or now.proposal.act.act_id != command.act_id:
        what = f"act {command.act_id} does not wait any more: it was begun, is over, or never was"
        raise _refused(order, what, "Abort ends an act that is running")
    if isinstance(command, Approve) and now.proposal.decision.consult_s is None:
        return {}
    action, state = now.proposal.decision.action, now.desk.job.environment.read_state()
    if isinstance(action, Measure):
        x_m, y_m = site(action, state)
    elif isinstance(action, MoveStage) and action.x_m is not None and action.y_m is not None:
        x_m, y_m = action.x_m, action.y_m
    else:
        return {}
    radius_m = command.radius_m if isinstance(command, Veto) else 0.0
    return {"site": Disc(x_m=x_m, y_m=y_m, radius_m=radius_m).model_dump(mode="json")}


def _taken_over(command: TakeWheel, order: Order, now: Situation) -> Effect:
    holder = now.standing.wheel
    if holder is None:
        return {}
    if _has(order, holder):
        raise _refused(order, "you have it already")
    if not command.over:
        raise _refused(order, f"{holder.who} has the wheel", "Say that you take it over, and why")
    if not order.why.strip():
        raise _refused(order, f"whoever takes the wheel from {holder.who} says why")
    return {"from": holder.who}


def _steerable(wish: str, order: Order, now: Situation) -> Steerable:
    policy = now.desk.job.policy
    if isinstance(policy, Steerable) and wish in policy.follows:
        return policy
    name = now.desk.job.resolved.policy.name
    raise _refused(order, f"the policy {name} does not follow it ({wish})")


def _sent(command: SendTo | Enqueue, order: Order, now: Situation) -> Effect:
    _steerable("within", order, now)
    if isinstance(command, Enqueue) and command.before and command.before not in {q.order for q in now.standing.queue}:
        raise _refused(order, f"no order {command.before} is in the queue")
    x_m, y_m = map(np.asarray, command.place.centre)
    if isinstance(command.place, Disc) and command.place.radius_m == 0.0 and bool(now.standing.wishes.bars(x_m, y_m)):
        raise _refused(order, "the place is excluded", "Undo the exclusion first")
    return {}


def _dequeued(command: Dequeue, order: Order, now: Situation) -> Effect:
    waiting = [one.order for one in now.standing.queue]
    if not waiting:
        raise _refused(order, "the queue is empty")
    if command.order is not None and command.order not in waiting:
        raise _refused(order, f"no order {command.order} is in the queue")
    return {}


def _followed(command: Pin | Mark | SetAcquisition | SetDwell, order: Order, now: Situation) -> None:
    match command:
        case Pin():
            _steerable("pinned", order, now)
        case Mark():
            marked = Marked(place=command.place, interesting=command.interesting)
            _steerable("marked", order, now).check_wishes(Wishes(marked=(marked,)))
        case SetAcquisition():
            wished = now.standing.wishes.acquisition
            changes = (wished.changes() if wished else {}) | command.wish.changes()
            policy = _steerable("acquisition", order, now)
            policy.check_wishes(Wishes(acquisition=command.wish.replace(**changes)))
        case SetDwell():
            policy = _steerable("dwell_s", order, now)
            interval = now.desk.guard.ranges.get("dwell_s", EVERYTHING)
            require("set_dwell", "dwell_s", command.dwell_s, interval, "Choose a dwell inside the range")
            policy.check_wishes(Wishes(dwell_s=command.dwell_s))


def _scalarized(command: SetScalarizer, order: Order, now: Situation) -> None:
    known = now.desk.job.scalarizers
    if command.target not in known:
        raise _refused(order, f"no target is called {command.target!r}; there are {', '.join(known) or 'none'}")
    make_scalarizer(command.name, command.options)
    _retellable(order, now)


def _preferred(command: Prefer, order: Order, now: Situation) -> None:
    _steerable("preferences", order, now)
    for act_id in (command.better, command.worse):
        if act_id in now.standing.retracted or not now.is_done(act_id):
            raise _refused(order, f"no act {act_id} has brought a measurement", "See 'autoscope status'")


def _budget(order: Order, now: Situation) -> Effect:
    intended = now.standing.with_(Intervention.of(order, ""))
    return {"budget": now.desk.budget(intended).model_dump(mode="json")}


def _retracted(command: Retract, order: Order, now: Situation) -> None:
    if command.act_id in now.standing.retracted:
        raise _refused(order, f"the measurement of act {command.act_id} is retracted already")
    if not now.is_done(command.act_id):
        raise _refused(order, f"no act {command.act_id} has brought a measurement", "See 'autoscope status'")
    _retellable(order, now)


def _retellable(order: Order, now: Situation) -> None:
    if now.desk.blank is None:
        name = now.desk.job.resolved.policy.name
        raise _refused(order, f"the policy {name} cannot be told everything again")


def _undone(command: Undo, order: Order, now: Situation) -> Effect:
    before = now.standing.find(command.order)
    if before is None:
        raise _refused(order, f"no order {command.order} was taken")
    if command.order in now.standing.undone:
        raise _refused(order, f"{before.command} was taken back already")
    if before.command not in UNDOABLE:
        raise _refused(order, f"{before.command} cannot be taken back: what was done is done")
    if before.command in ("send_to", "enqueue") and command.order in now.standing.reached:
        raise _refused(order, "the place is measured already, or being measured")
    if now.standing.retells(command):
        _retellable(order, now)
    return _budget(order, now) if before.command == "set_budget" else {}
