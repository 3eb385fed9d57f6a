"""What went before, as the loop needs it to go on with a run that was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoscope.engine.desk import Intent
from autoscope.engine.events import Ended
from autoscope.engine.stand_in import StandIns
from autoscope.records import Observation, Result, View


@dataclass(frozen=True)
class Past:
    """The past of a run.

    Attributes
    ----------
    open : tuple of Intent
        Acts of which nobody wrote down what came of them, in their order.
    known : mapping of int to Observation or Result
        Of those, by step, what the instrument remembers, or that nobody knows; absent where it was never begun.
    views : mapping of int to View
        Of those, by step, what the policy saw, where an instrument made anew stands as it stood then.
    fruitless : int, optional
        Step of the open act during which the policy was asked, and nothing came of its answer.
    stand_ins : StandIns
        Has taken note of every decision.
    purpose : str
        Of the last decision.
    ended : Ended, optional
        Why the run was about to end when it was cut off.
    """

    open: tuple[Intent, ...] = ()
    known: Mapping[int, Observation | Result] = field(default_factory=dict)
    views: Mapping[int, View] = field(default_factory=dict)
    fruitless: int | None = None
    stand_ins: StandIns = field(default_factory=StandIns)
    purpose: str = ""
    ended: Ended | None = None
