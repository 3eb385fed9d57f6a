"""The same walk for resuming and replaying: the policy is asked and told again what it was asked and told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from autoscope.engine.acting import guarded
from autoscope.engine.asking import Asked, Evidence
from autoscope.engine.assemble import scalarizers_of
from autoscope.engine.checkpoints import Checkpoint, digest, is_due, settle
from autoscope.engine.history import History, PastAct
from autoscope.engine.retelling import retell
from autoscope.engine.stand_in import RUNNER_UP, StandIns
from autoscope.engine.standing import Standing
from autoscope.errors import PluginError
from autoscope.protocols import Policy
from autoscope.records import Decision, Finish, Outcome, Result


class Source(Protocol):
    """Where the results of past acts come from: the disk, or a simulated instrument that does them again."""

    @property
    def recorded(self) -> bool:
        """Whether targets are those that the run computed."""

    def again(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act a second time."""

    def before(self, asked: Asked) -> None:
        """Take note that the policy is about to be asked."""

    def result(self, past: PastAct, outcome: Outcome) -> Result:
        """Return what came of an act, with its frames."""

    def begin(self, checkpoint: Checkpoint) -> bool:
        """Stand where a run stood at a checkpoint, and return whether that needs none of the acts before it."""


@dataclass(frozen=True)
class Said:
    """A decision of the past, and what was answered now to the same question."""

    past: PastAct
    now: Decision | Finish
    evidence: Evidence
    """What had been told by now; agrees with ``past.asked.evidence`` where the data are the same."""


@dataclass(frozen=True)
class Retold:
    """A person had taken something back: the policy has been told everything again without it."""

    evidence: Evidence


@dataclass(frozen=True)
class Told:
    """An outcome of the past that the policy has been told again."""

    past: PastAct
    result: Result
    evidence: Evidence
    state_sha256: str = ""
    """Of the policy's state, where it took it up itself: at a checkpoint."""


def walk(
    history: History, policy: Policy, source: Source, begin: Checkpoint | None = None
) -> Iterator[Said | Told | Retold]:
    """Ask and tell a policy everything again, in the order of the run, or from a checkpoint on.

    A question is put after as many outcomes as had been told when it was put first, so a late answer, which was used
    for a later act, is asked for when it was asked for. Questions whose answers came to nothing are put too. Where
    the policy did not decide, there is nothing to ask; see `stand_ins`.

    Raises
    ------
    PluginError
        The policy raised.
    """
    items, evidence = _items(history), begin.evidence if begin else Evidence()
    capabilities, actions = history.capabilities, history.actions()
    blank = policy.state() if history.retellings else None

    def ask(asked: Asked) -> Decision | Finish:
        source.before(asked)
        view = asked.again(capabilities, actions, history.standing)
        answer = guarded("policy.ask", lambda: policy.ask(view))
        if not isinstance(answer, (Decision, Finish)):
            raise PluginError("a policy must answer Decision or Finish", where="ask", value=type(answer).__name__)
        return answer

    pairs = list(history.outcomes())
    if begin is not None:
        guarded("policy.restore", lambda: policy.restore(begin.policy))
        if not source.begin(begin):  # the instrument must do all of it again
            for told in range(evidence.told):
                for item in items.get(told, ()):
                    if not isinstance(item, Standing):
                        source.before(item[1])
                source.result(*pairs[told])
    for told in range(evidence.told, len(pairs) + 1):
        for item in items.get(told, ()):
            if isinstance(item, Standing):
                evidence = _retell(policy, blank, pairs[:told], source, item, history)
                yield Retold(evidence)
                continue
            past, asked = item
            answer = ask(asked)
            if past is not None:
                yield Said(past, answer, evidence)
        if told < len(pairs):
            past, outcome = pairs[told]
            result = source.result(past, outcome)
            evidence = evidence.with_(past.intent.decision, result.outcome)
            _tell(policy, past.intent.decision, result)
            settled = is_due(policy, evidence.told, history.checkpoint_every)
            yield Told(past, result, evidence, digest(settle(policy)) if settled else "")


def _retell(
    policy: Policy,
    blank: Any,
    told: list[tuple[PastAct, Outcome]],
    source: Source,
    standing: Standing,
    history: History,
) -> Evidence:
    scalarizers = scalarizers_of(history.config, standing.scalarizers) if source.recorded else None
    return retell(policy, blank, told, source, standing, scalarizers)


def _tell(policy: Policy, decision: Decision, result: Result) -> None:
    guarded("policy.tell", lambda: policy.tell(decision, result))


Question = tuple[PastAct | None, Asked]


def _items(history: History) -> dict[int, list[Question | Standing]]:
    """Return questions, and where all was told again, by the outcomes told before, in the order of their records."""
    found: list[tuple[int, int, Question | Standing]] = [
        (one.evidence.told, seq, (None, one)) for seq, one in history.unused
    ]
    found += [(p.asked.evidence.told, p.seq, (p, p.asked)) for p in history.acts if p.asked is not None]
    found += list(history.retellings)
    items: dict[int, list[Question | Standing]] = defaultdict(list)
    for told, _, item in sorted(found, key=lambda one: one[1]):
        items[told].append(item)
    return items


def stand_ins(history: History, deadline_s: float) -> Iterator[tuple[PastAct, Decision | None]]:
    """Yield each decision that a runner-up made, with the one that follows now from the decisions before it."""
    known, purpose = StandIns(), ""
    for past in history.acts:
        decision = past.intent.decision
        if decision.decided_by == RUNNER_UP:
            yield past, known.choose(purpose, deadline_s)
        known.note(decision, past.intent.step)
        purpose = decision.purpose
