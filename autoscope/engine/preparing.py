"""Before a policy is asked anything: valves open, and the sample of the run in the beam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoscope.config import RunConfig
from autoscope.errors import InstrumentError
from autoscope.exposure import predict
from autoscope.protocols import Anticipating, JsonValue, Planner, Policy
from autoscope.records import Action, Decision, Finish, LoadSample, Result, SetValves, Stage, View

PREPARATION = "preparation"
"""``acquisition`` of the decisions made here."""
TRIES = 2
"""A sample that does not load is tried once more, since grippers sometimes slip."""


def prepared(policy: Policy, config: RunConfig) -> Policy:
    """Return the policy behind one that first prepares the instrument, where the run asks for that."""
    if config.sample_slot is None and config.end is None:
        return policy
    kind = PreparedAnticipating if isinstance(policy, Anticipating) else Prepared
    return kind(policy, config.sample_slot)


def decider(policy: Policy) -> Policy:
    """Return the policy that decides, without what prepares the instrument for it."""
    return policy._policy if isinstance(policy, Prepared) else policy


class Prepared:
    """Opens the valves, loads the sample, and lets another policy decide all the rest.

    Parameters
    ----------
    policy : Policy
        Never asked before the sample is loaded, and never told of what is done here.
    slot : int, optional
        Of the carousel; None: whatever is loaded.
    """

    def __init__(self, policy: Policy, slot: int | None) -> None:
        self._policy, self._slot, self._failed = policy, slot, 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._policy, name)  # what only some policies can do

    @property
    def checkpointed(self) -> bool:
        """Whether the policy loses nothing when it takes up its own state."""
        return bool(getattr(self._policy, "checkpointed", False))

    def ask(self, view: View) -> Decision | Finish:
        """Return the next preparation, or what the policy decides.

        Raises
        ------
        InstrumentError
            The sample could not be loaded, or the valves could not be opened: the run fails, and the next can begin.
        """
        action = self._due(view)
        if action is None:
            return self._policy.ask(view)
        if self._failed >= TRIES:
            raise InstrumentError(
                "the sample could not be loaded"
                if isinstance(action, LoadSample)
                else "the valves could not be opened",
                where=f"slot {self._slot}",
                limit=f"{TRIES} tries",
                remedy="Look at the instrument; what is recorded tells what it said",
            )
        reason = "the run's own sample comes first" if isinstance(action, LoadSample) else "the valves are closed"
        return Decision(
            action=action,
            purpose=action.kind,
            reason=reason,
            target=f"slot {self._slot}" if isinstance(action, LoadSample) else "",
            acquisition=PREPARATION,
        )

    def _due(self, view: View) -> Action | None:
        if view.state.valves_open is False:
            return SetValves(valves_open=True)
        if self._slot is not None and view.state.sample_slot != self._slot:
            return LoadSample(slot=self._slot)
        return None

    def tell(self, decision: Decision, result: Result) -> None:
        """Take note of a preparation, or tell the policy."""
        if decision.acquisition == PREPARATION:
            self._failed = 0 if result.outcome.status == "done" else self._failed + 1
        else:
            self._policy.tell(decision, result)

    def plan(self, view: View) -> tuple[Stage, ...]:
        """Return the policy's plan, where it has one, after the preparation."""
        plan = self._policy.plan(view) if isinstance(self._policy, Planner) else ()
        action = self._due(view)
        if action is None or not plan:
            return plan
        cost = predict(action, view.state, view.capabilities)
        name = action.kind.replace("_", " ")
        return (Stage(name=name, acts=1, time_s=cost.time_s, dose_e=0.0, examples=(action,)), *plan)

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {"failed": self._failed, "policy": self._policy.state()}

    def restore(self, state: Mapping[str, JsonValue]) -> None:
        """Take up a state returned by `state`."""
        data: Any = state
        self._failed = int(data["failed"])
        self._policy.restore(data["policy"])


class PreparedAnticipating(Prepared):
    """The same around a policy that uses the time an act takes."""

    def prepare(self, view: View) -> None:
        """Let the policy work ahead, once it decides."""
        if self._due(view) is None and isinstance(self._policy, Anticipating):
            self._policy.prepare(view)
