"""What cannot wait for a step boundary: an emergency stop, and the end of the act that is running."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType

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

    def running(self, act_id: str) -> AbstractContextManager[None]:
        """Say which act is running, as long as the context lasts."""
        return _Running(self, act_id)

    def ended(self, order: str) -> str:
        """Return the act that an order has ended; empty where none was running."""
        return self._ended.get(order, ("", ""))[0]

    def overruled(self, act_id: str) -> Overruled | None:
        """Return the error of an act that was ended by an order, or None where no order ended it."""
        return next((Overruled(why) for ended, why in self._ended.values() if ended == act_id), None)


class _Running(AbstractContextManager[None]):
    """Holds the name of the act; a class, because a generator at every act costs more than what it does."""

    __slots__ = ("_act_id", "_urgency")

    def __init__(self, urgency: Urgency, act_id: str) -> None:
        self._urgency, self._act_id = urgency, act_id

    def __enter__(self) -> None:
        self._urgency._act = self._act_id

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._urgency._act = ""
