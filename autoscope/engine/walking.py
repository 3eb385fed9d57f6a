"""The same walk for resuming and replaying: the policy is asked and told again what it was asked and told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from autoscope.engine.acting import guarded
from autoscope.engine.asking import Asked, Evidence
from autoscope.engine.checkpoints import Checkpoint, digest, is_due, settle
from autoscope.engine.history import History, PastAct
from autoscope.engine.stand_in import RUNNER_UP, StandIns
from autoscope.errors import PluginError
from autoscope.protocols import Policy
from autoscope.records import Decision, Finish, Outcome, Result


class Source(Protocol):
    """Where the results of past acts come from: the disk, or a simulated instrument that does them again."""

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
class Told:
    """An outcome of the past that the policy has been told again."""

    past: PastAct
    result: Result
    evidence: Evidence
    state_sha256: str = ""
    """Of the policy's state, where it took it up itself: at a checkpoint."""


def walk(history: History, policy: Policy, source: Source, begin: Checkpoint | None = None) -> Iterator[Said | Told]:
    """Ask and tell a policy everything again, in the order of the run, or from a checkpoint on.

    A question is put after as many outcomes as had been told when it was put first, so a late answer, which was used
    for a later act, is asked for when it was asked for. Questions whose answers came to nothing are put too. Where
    the policy did not decide, there is nothing to ask; see `stand_ins`.

    Raises
    ------
    PluginError
        The policy raised.
    """
    questions, evidence = _questions(history), begin.evidence if begin else Evidence()
    capabilities, actions = history.capabilities, history.actions()

    def ask(asked: Asked) -> Decision | Finish:
        source.before(asked)
        view = asked.again(capabilities, actions)
        answer = guarded("policy.ask", lambda: policy.ask(view))
        if not isinstance(answer, (Decision, Finish)):
            raise PluginError("a policy must answer Decision or Finish", where="ask", value=type(answer).__name__)
        return answer

    pairs = list(history.outcomes())
    if begin is not None:
        guarded("policy.restore", lambda: policy.restore(begin.policy))
        if not source.begin(begin):  # the instrument must do all of it again
            for told in range(evidence.told):
                for _, asked in questions.get(told, ()):
                    source.before(asked)
                source.result(*pairs[told])
    for told in range(evidence.told, len(pairs) + 1):
        for past, asked in questions.get(told, ()):
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


def _tell(policy: Policy, decision: Decision, result: Result) -> None:
    guarded("policy.tell", lambda: policy.tell(decision, result))


def _questions(history: History) -> dict[int, list[tuple[PastAct | None, Asked]]]:
    """Return questions by the number of outcomes told before, each time in the order of their records."""
    asked: list[tuple[int, PastAct | None, Asked]] = [(seq, None, one) for seq, one in history.unused]
    asked += [(past.seq, past, past.asked) for past in history.acts if past.asked is not None]
    found: dict[int, list[tuple[PastAct | None, Asked]]] = defaultdict(list)
    for _, past, one in sorted(asked, key=lambda item: item[0]):
        found[one.evidence.told].append((past, one))
    return found


def stand_ins(history: History, deadline_s: float) -> Iterator[tuple[PastAct, Decision | None]]:
    """Yield each decision that a runner-up made, with the one that follows now from the decisions before it."""
    known, purpose = StandIns(), ""
    for past in history.acts:
        decision = past.intent.decision
        if decision.decided_by == RUNNER_UP:
            yield past, known.choose(purpose, deadline_s)
        known.note(decision, past.intent.step)
        purpose = decision.purpose
