"""Making every decision of a record again, and telling where and why one differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoscope.engine.acting import about, scalarize
from autoscope.engine.asking import Asked
from autoscope.engine.comparing import Difference, cause, compare
from autoscope.engine.history import History, PastAct
from autoscope.engine.rebuilding import Stored
from autoscope.engine.walking import Retold, Said, Told, stand_ins, walk
from autoscope.protocols import Policy, Scalarizer
from autoscope.records import Decision, Finish, Outcome, Result

KEPT = 20
"""So many differing decisions are told of; all are counted."""


@dataclass(frozen=True)
class Divergence:
    """A decision that is not made again as it was recorded."""

    step: int
    recorded: Decision
    now: Decision | Finish | None
    differences: tuple[Difference, ...]
    cause: str

    def __str__(self) -> str:
        lines = [f"step {self.step}: {self.cause}", *(f"  {difference}" for difference in self.differences)]
        return "\n".join(lines)


@dataclass
class Replayed:
    """What came of a replay."""

    decisions: int = 0
    identical: int = 0
    """Within the tolerance that was asked for."""
    same_action: int = 0
    stand_ins: int = 0
    """Of the decisions, those that runners-up made; they follow from the decisions before them."""
    values_changed: int = 0
    """Targets that other scalarizers compute otherwise."""
    checkpoints: int = 0
    """Points of the run at which the policy's whole state is known by its hash."""
    same_state: int = 0
    """Of those, where the state is the same to the bit."""
    largest: float = 0.0
    """Largest relative difference of a number among decisions that count as identical."""
    divergences: list[Divergence] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every decision was made again as recorded."""
        return self.identical == self.decisions

    @property
    def summary(self) -> str:
        """The result in one line."""
        text = f"{self.identical} of {self.decisions} decisions identical"
        if self.identical < self.decisions:
            text += f", {self.same_action} with the same action"
        if self.checkpoints:
            text += f", {self.same_state} of {self.checkpoints} states of the policy"
        return text + (f" (numbers within {self.largest:.2g})" if self.largest else "")


def replay(
    history: History,
    policy: Policy,
    source: Stored,
    *,
    tolerance: float = 0.0,
    made_differently: list[str] | None = None,
    others: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Replayed:
    """Ask a policy every question of a run again, tell it every outcome, and compare its decisions.

    Parameters
    ----------
    history : History
        The run.
    policy : Policy
        A fresh one: that of the run, or another to be asked what it would have chosen on the same evidence.
    source : Stored
        The results, perhaps under other scalarizers (`Rescored`).
    tolerance : float
        Relative difference of numbers that still counts as the same.
    made_differently : list of str, optional
        How versions differ from those that made the run.
    others : bool
        Another policy or other scalarizers are tried: only actions are compared, and stand-ins are left out.
    progress : callable
        Called for each outcome that is told.

    Raises
    ------
    PluginError
        The policy raised, as another one may that cannot follow what it did not decide.
    JournalCorrupt
        A frame is not the one recorded.
    """
    found, states = Replayed(), {note.told: note.body.get("policy_sha256") for note in history.checkpoints}
    for event in walk(history, policy, source):
        if isinstance(event, Told):
            progress()
            if event.state_sha256 and event.evidence.told in states and not others:
                found.checkpoints += 1
                found.same_state += event.state_sha256 == states[event.evidence.told]
            continue
        if isinstance(event, Retold):
            continue
        _judge(found, event, tolerance, made_differently or [], others=others)
    if not others:
        _judge_stand_ins(found, history)
    if isinstance(source, Rescored):
        found.values_changed = source.changed
    return found


def _judge(found: Replayed, said: Said, tolerance: float, made_differently: list[str], *, others: bool) -> None:
    recorded, step = said.past.intent.decision, said.past.intent.step
    differences = compare(recorded, said.now, tolerance)
    same_action = isinstance(said.now, Decision) and not any(d.field.startswith("action") for d in differences)
    same_action = same_action or (isinstance(said.now, Decision) and said.now.action == recorded.action)
    found.decisions += 1
    found.same_action += same_action
    if others:
        differences = () if same_action else differences
    if not differences:
        found.identical += 1
        exact = () if others or not tolerance else compare(recorded, said.now)
        found.largest = max([found.largest, *(d.relative or 0.0 for d in exact)])
        return
    if len(found.divergences) < KEPT:
        same = said.past.asked is None or said.past.asked.evidence == said.evidence
        why = cause(differences, same_evidence=same or others, made_differently=[] if others else made_differently)
        found.divergences.append(Divergence(step, recorded, said.now, differences, why))


def _judge_stand_ins(found: Replayed, history: History) -> None:
    deadline_s = float((history.config.get("engine") or {}).get("decision_deadline_s") or _deadline_s(history.config))
    for past, now in stand_ins(history, deadline_s):
        found.stand_ins += 1
        found.decisions += 1
        same = now is not None and now == past.intent.decision
        found.identical += same
        found.same_action += now is not None and now.action == past.intent.decision.action
        if not same and len(found.divergences) < KEPT:
            differences = compare(past.intent.decision, now) if now else ()
            why = "the runner-up does not follow from the decisions before it: the record has changed"
            found.divergences.append(Divergence(past.intent.step, past.intent.decision, now, differences, why))


def _deadline_s(config: Mapping[str, Any]) -> float:
    from autoscope.config import EngineConfig
    from autoscope.quantities import FROM_FILE

    return EngineConfig.model_validate(config.get("engine") or {}, context=FROM_FILE).decision_deadline_s or 0.0


class Rescored(Stored):
    """Results whose targets are computed anew from the stored frames, by other scalarizers.

    An act that was rejected or failed stays so; one whose frames these scalarizers refuse is rejected.

    Parameters
    ----------
    source : Stored
        The recorded results.
    scalarizers : mapping of str to Scalarizer
        Target name to scalarizer.
    """

    recorded = False

    def __init__(self, source: Stored, scalarizers: Mapping[str, Scalarizer]) -> None:
        self._source, self._scalarizers = source, scalarizers
        self._seen: set[str] = set()
        self.changed = 0

    def before(self, asked: Asked) -> None:
        """Do nothing."""

    def result(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act, with the values that these scalarizers compute."""
        recorded = self._source.result(past, outcome)
        if outcome.status != "done":
            return recorded
        values, fault = scalarize(self._scalarizers, recorded.frames, about(past.intent.decision))
        before = {v.name: v.value for v in outcome.values}
        after = {v.name: v.value for v in values}
        if outcome.act_id not in self._seen:
            self.changed += sum(before.get(name) != after.get(name) for name in {*before, *after})
        self._seen.add(outcome.act_id)
        status = "done" if fault is None else "rejected"
        return Result(outcome.replace(values=values, fault=fault, status=status), recorded.frames)
