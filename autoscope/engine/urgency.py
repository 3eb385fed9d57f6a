"""What cannot wait for a step boundary: an emergency stop, and the end of the act that is running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autoscope.clock import SimClock
from autoscope.engine.assemble import Job
from autoscope.engine.steering import Posted
from autoscope.errors import Overruled
from autoscope.interventions import Order


class Urgency:
    """Makes the instrument safe on the thread of whoever orders it; the loop writes it down at its next boundary.

    On a simulated clock nothing is done at once: no time passes there while the policy decides, and an act is over as
    soon as it has begun, so waiting for the boundary is exact and costs nothing.

    Parameters
    ----------
    job : Job
        The parts of the run.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._act = ""
        self._ended: dict[str, tuple[str, str]] = {}

    def take(self, posted: Posted) -> None:
        """Do at once what an urgent order asks for; called from any thread.

        What is not genuine, or for another run, is left to the loop to refuse.
        """
        order, act_id = posted.said, self._act
        if not isinstance(order, Order) or isinstance(self._job.clock, SimClock) or not order.genuine():
            return
        if order.command.command == "abort":
            if not act_id:
                return
            self._ended[order.id] = (act_id, f"aborted by {order.who}: {order.why or 'no reason given'}")
        self._job.environment.make_safe()

    @contextmanager
    def running(self, act_id: str) -> Iterator[None]:
        """Say which act is running."""
        self._act = act_id
        try:
            yield
        finally:
            self._act = ""

    def ended(self, order: str) -> str:
        """Return the act that an order has ended; empty where none was running."""
        return self._ended.get(order, ("", ""))[0]

    def overruled(self, act_id: str) -> Overruled | None:
        """Return the error of an act that was ended by an order, or None where no order ended it."""
        return next((Overruled(why) for ended, why in self._ended.values() if ended == act_id), None)
