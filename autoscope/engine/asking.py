"""What a policy was asked and had been told by then, as an intent keeps it, so that it can be asked the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from autoscope.engine.events import Ended, RunStatus
from autoscope.engine.standing import Standing
from autoscope.journal.chain import canonical
from autoscope.records import Action, Budget, Capabilities, Decision, Finish, MicroscopeState, Outcome, View
from autoscope.wishes import NO_WISHES


class Evidence:
    """How many outcomes a policy has been told, and a digest of all of them in their order.

    Two runs whose digests agree have told their policies the same actions, states, values and frames. The digest is
    made when it is first asked for: a journal that is written as it goes asks at each step, one in memory may never.

    Parameters
    ----------
    told : int
        How many outcomes.
    sha256 : str
        Digest of them; empty where there were none.
    """

    __slots__ = ("_last", "_sha256", "told")

    def __init__(self, told: int = 0, sha256: str = "") -> None:
        self.told, self._sha256 = told, sha256
        self._last: tuple[Self, Decision, Outcome] | None = None
        """What came before and what came last, as long as there is no digest of it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evidence) and (self.told, self.sha256) == (other.told, other.sha256)

    def __hash__(self) -> int:
        return hash((self.told, self.sha256))

    def __repr__(self) -> str:
        return f"Evidence(told={self.told}, sha256={self.sha256!r})"

    def with_(self, decision: Decision, outcome: Outcome) -> Self:
        """Return the evidence after one more outcome."""
        after = type(self)(self.told + 1)
        after._last = (self, decision, outcome)
        return after

    @property
    def sha256(self) -> str:
        """Digest of all outcomes in their order."""
        undigested, at = [self], self
        while (last := at._last) is not None:
            at = last[0]
            undigested.append(at)
        for one in reversed(undigested):
            if (last := one._last) is not None:  # another thread may just have done it
                one._sha256 = _digest(last[0]._sha256, last[1], last[2])
                one._last = None
        return self._sha256


def _digest(before: str, decision: Decision, outcome: Outcome) -> str:
    why = decision.model_dump(mode="json", include={"action", "purpose", "target"})
    what = outcome.model_dump(mode="json", include={"status", "state_before", "state", "values", "fault"})
    frames = [frame.sha256 for frame in outcome.frames]
    text = canonical([before, why, what, frames], is_plain=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Asked:
    """A question to a policy: what it saw, except what the run's first record tells, and what it had been told."""

    view: dict[str, Any]
    evidence: Evidence

    @classmethod
    def of(cls, view: View, evidence: Evidence, act_id: Callable[[int], str]) -> Asked:
        """Return a question as it is written down; a pending act is named by its id."""
        pending = [act_id(view.step - len(view.pending) + k) for k in range(len(view.pending))]
        seen = {
            "step": view.step,
            "time_s": view.time_s,
            "budget": view.budget.model_dump(mode="json", exclude_none=True),
            "state": view.state.model_dump(mode="json", exclude_defaults=True),
        }
        seen |= {"suspensions": view.suspensions} if view.suspensions else {}
        wishes = {"heeded": view.wishes.heeded, "sent": view.wishes.sent}
        seen |= {name: value for name, value in wishes.items() if value}
        seen |= {"silence_s": view.silence_s} if view.silence_s is not None else {}
        return cls(seen | ({"pending": pending} if pending else {}), evidence)

    def plain(self) -> dict[str, Any]:
        """Return the question as plain data."""
        return {"told": self.evidence.told, "evidence_sha256": self.evidence.sha256, "view": self.view}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Asked:
        """Return a question that was written down.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is none.
        """
        return cls(dict(plain["view"]), Evidence(int(plain["told"]), str(plain["evidence_sha256"])))

    def again(
        self, capabilities: Capabilities, actions: Mapping[str, Action], standing: Standing | None = None
    ) -> View:
        """Return what the policy saw, with the actions of pending acts by their ids, and what people had ordered."""
        heeded = int(self.view.get("heeded", 0))
        wishes = (standing or Standing()).first(heeded).sent(str(self.view.get("sent", ""))) if heeded else NO_WISHES
        return View(
            step=self.view["step"],
            time_s=self.view["time_s"],
            budget=Budget.model_validate(self.view["budget"]),
            state=MicroscopeState.model_validate(self.view["state"]),
            capabilities=capabilities,
            pending=tuple(actions[act_id] for act_id in self.view.get("pending", ())),
            suspensions=int(self.view.get("suspensions", 0)),
            wishes=wishes,
            silence_s=self.view.get("silence_s"),
        )


@dataclass(frozen=True)
class Answer:
    """What a policy answered, how long it took in real time, and to which question."""

    what: Decision | Finish
    latency_s: float
    asked: Callable[[], Asked]
    """Makes the question as it is written down."""

    def decision(self) -> Decision:
        """Return the decision.

        Raises
        ------
        Ended
            The policy sees nothing worth doing.
        """
        return as_decision(self.what)


def as_decision(what: Decision | Finish) -> Decision:
    """Return a decision as it is.

    Raises
    ------
    Ended
        It is the word that nothing worth doing is left.
    """
    if isinstance(what, Finish):
        raise Ended(RunStatus.COMPLETED, what.reason)
    return what
