"""Telling a policy everything again, without what was retracted and with targets computed otherwise.

A policy is a fold over what it was told, so this is all that taking a measurement back needs; its frames and its
record stay. Nothing is asked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from autoscope.engine.acting import about, guarded, scalarize
from autoscope.engine.asking import Evidence
from autoscope.engine.history import PastAct
from autoscope.engine.standing import Standing
from autoscope.errors import PluginError
from autoscope.protocols import Policy, Scalarizer
from autoscope.records import Fault, Outcome, Result

RETRACTED = "Retracted"
"""``error`` of the fault of a measurement that a person took back."""


class Again(Protocol):
    """Where the results of past acts come from a second time."""

    def again(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act, with its frames."""


def retell(
    policy: Policy,
    blank: Any,
    told: Iterable[tuple[PastAct, Outcome]],
    source: Again,
    standing: Standing,
    scalarizers: Mapping[str, Scalarizer] | None,
) -> Evidence:
    """Have a policy forget everything and tell it all again as things stand; return the evidence it has now.

    Parameters
    ----------
    policy : Policy
        Is set back first.
    blank : Any
        Its state before it was told anything.
    told : iterable of PastAct and Outcome
        What it had been told, in that order.
    source : Again
        The results.
    standing : Standing
        What was retracted.
    scalarizers : mapping of str to Scalarizer, optional
        Compute the targets anew; absent: the recorded values.

    Raises
    ------
    PluginError
        The policy cannot be set back, or raised.
    JournalCorrupt
        A frame is absent or does not match its hash.
    """
    if blank is None:
        raise PluginError("this policy cannot tell its state, so it cannot be told everything again", where="state")
    guarded("policy.restore", lambda: policy.restore(blank))
    evidence = Evidence()
    for past, outcome in told:
        decision, result = (
            past.intent.decision,
            amended(source.again(past, outcome), standing, scalarizers, about(past.intent.decision)),
        )
        evidence = evidence.with_(decision, result.outcome)
        _tell(policy, past, result)
    return evidence


def _tell(policy: Policy, past: PastAct, result: Result) -> None:
    guarded("policy.tell", lambda: policy.tell(past.intent.decision, result))


def amended(
    result: Result, standing: Standing, scalarizers: Mapping[str, Scalarizer] | None, purpose: str = ""
) -> Result:
    """Return a result as it is to be learnt from: retracted, or with its targets computed anew."""
    outcome = result.outcome
    if outcome.status != "done":
        return result
    retracted = standing.retracted.get(outcome.act_id)
    if retracted is not None:
        fault = Fault(error=RETRACTED, message=f"taken back by {retracted.who}: {retracted.why or 'no reason given'}")
        return Result(outcome.replace(status="rejected", values=(), fault=fault), result.frames)
    if not scalarizers or not result.frames:
        return result
    values, wrong = scalarize(scalarizers, result.frames, purpose)
    return Result(
        outcome.replace(status="done" if wrong is None else "rejected", values=values, fault=wrong), result.frames
    )
