"""A run as its journal tells it, ready to be walked again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoscope.engine.asking import Asked
from autoscope.engine.checkpoints import Noted
from autoscope.engine.desk import Intent
from autoscope.engine.incumbent import Best, Incumbents
from autoscope.engine.standing import Standing
from autoscope.engine.suspenders import SUSPENDED
from autoscope.errors import JournalCorrupt, JournalError
from autoscope.exposure import Cost
from autoscope.journal import Readable, Record, RecordKind
from autoscope.journal.checkpoints import EVENT
from autoscope.records import Act, Action, Budget, Capabilities, Decision, Intervention, MicroscopeState, Outcome

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class PastAct:
    """One act of the past: its intent, the question behind it, and what came of it if that is known."""

    intent: Intent
    asked: Asked | None
    """None where the policy did not decide."""
    seq: int
    """Of its intent."""
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Interruption:
    """Where a run ended, or was taken up again; ``spent`` is known where it was taken up."""

    after: int
    """Acts whose outcome was known."""
    time_s: float
    ended: str | None
    """How it ended; None where it was taken up."""
    state: MicroscopeState | None = None
    spent: Budget | None = None
    seq: int = 0
    """Of the record."""
    safe: bool = False
    """Whether it was made safe in the middle, because a person paused it or was waited for."""


@dataclass
class History:
    """What a journal tells of a run.

    Attributes
    ----------
    started : dict
        Body of its first record.
    config : dict
        Its configuration, with what was changed when it was resumed.
    acts : list of PastAct
        In the order of their intents.
    told : list of int
        Indices of acts in the order of their outcomes, which is the order in which they were done and told.
    """

    started: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    acts: list[PastAct] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    unused: list[tuple[int, Asked]] = field(default_factory=list)
    """Questions whose answers came to nothing, with the numbers of their records."""
    interruptions: list[Interruption] = field(default_factory=list)
    new_deadline: dict[str, Any] = field(default_factory=dict)
    """Set where the run was taken up with another deadline."""
    suspensions: int = 0
    """How often the run was held because the instrument read back as unfit."""
    checkpoints: list[Noted] = field(default_factory=list)
    standing: Standing = field(default_factory=Standing)
    """What people ordered."""
    retellings: list[tuple[int, int, Standing]] = field(default_factory=list)
    """Where the policy was told everything again: outcomes told by then, number of the record, how things stood."""
    ended: dict[str, Any] | None = None
    """Body of the last record, if it is the end of the run."""
    begun_s: float = 0.0
    last_s: float = 0.0
    records: int = 0
    left: bool = False
    """Whether it did closing actions after its last act."""

    @property
    def begun(self) -> bool:
        """Whether the run has its first record."""
        return bool(self.started)

    @property
    def run_id(self) -> str:
        """Return what begins the ids of its acts."""
        return str(self.started.get("run_id") or self.started.get("name", ""))

    @property
    def capabilities(self) -> Capabilities:
        """Return what the instrument could do."""
        return _model(Capabilities, self.started.get("capabilities"), "run_started")

    @property
    def first_state(self) -> MicroscopeState:
        """Return how the instrument stood when the run began."""
        return _model(MicroscopeState, self.started.get("state"), "run_started")

    @property
    def checkpoint_every(self) -> int:
        """Return after how many outcomes the policy took up its own state; 0 where it never did."""
        return int((self.config.get("engine") or {}).get("checkpoint_every", 0))

    @property
    def open(self) -> list[PastAct]:
        """Return the acts of which nobody wrote down what came of them."""
        return [act for act in self.acts if act.outcome is None]

    def outcomes(self) -> Iterator[tuple[PastAct, Outcome]]:
        """Yield acts with known outcomes in the order in which they were done."""
        for index in self.told:
            act = self.acts[index]
            if act.outcome is not None:
                yield act, act.outcome

    def actions(self) -> dict[str, Action]:
        """Return every action that was intended, by the id of its act."""
        return {act.intent.act.act_id: act.intent.act.action for act in self.acts}

    def deadline(self) -> dict[str, Any]:
        """Return what the record says of the instant by which the run has to be over, as changed last."""
        return {"finish_by": self.started.get("finish_by")} | self.new_deadline

    def last_state(self) -> MicroscopeState:
        """Return the last state of the instrument that was written down."""
        if self.told:
            outcome = self.acts[self.told[-1]].outcome
            if outcome is not None:
                return outcome.state
        return self.first_state


def incumbents_of(history: History) -> tuple[Best, ...]:
    """Return the best that a run has found, by its record alone, whether it has ended or not."""
    found = Incumbents()
    for past, outcome in history.outcomes():
        found.take(past.intent.step, past.intent.decision, outcome)
    return found.best


def read_history(journal: Readable) -> History:
    """Return the history of a run.

    Raises
    ------
    JournalCorrupt
        A record does not verify, or tells what this version cannot understand.
    JournalError
        It was recorded by a version that did not keep the questions behind decisions.
    """
    history, index = History(), {}
    made_by: dict[str, Any] = {}
    for record in journal.records():
        history.records = record.seq
        if record.kind == "annotation":
            continue  # by people, when the run was over: no part of what happened
        history.last_s, history.ended = record.time_s, None
        made_by = record.body.get("made_by") or made_by
        match record.kind:
            case "run_started" if not history.begun:
                history.started, history.begun_s = record.body, record.time_s
                history.config = record.body.get("config") or {}
            case "intent":
                act = _intended(record)
                index[act.intent.act.act_id] = len(history.acts)
                history.acts.append(act)
                history.standing = history.standing.with_reached(act.intent.decision.order)
            case "outcome":
                _conclude(history, index, record)
            case "intervention":
                _intervene(history, record)
            case "note" if record.body.get("event") == "awaiting":
                _made_safe(history, record)
            case "question":
                history.unused.append((record.seq, _asked(record.body, f"record {record.seq}")))
            case "note" if record.body.get("event") == SUSPENDED:
                history.suspensions += 1
                history.interruptions.append(Interruption(len(history.told), record.time_s, SUSPENDED))
            case "run_ended":
                history.ended = record.body
                how = str(record.body.get("status", ""))
                history.interruptions.append(Interruption(len(history.told), record.time_s, how, seq=record.seq))
            case "closing":
                history.left = True
            case "run_resumed":
                history.left = False
                _take_up(history, record)
                if "finish_by" in record.body:
                    history.new_deadline = {"finish_by": record.body["finish_by"]}
            case "note" if record.body.get("event") == EVENT:
                history.checkpoints.append(Noted(record.seq, record.body, made_by))
            case _:
                pass
    return history


def read_interventions(journal: Readable) -> Standing:
    """Return what people have ordered in a run, read from its interventions and the few records that bear on them.

    Raises
    ------
    JournalCorrupt
        A record does not verify, or tells what this version cannot understand.
    """
    history = History()
    history.config = journal.started().get("config") or {}
    kinds: tuple[RecordKind, ...] = ("intervention", "run_resumed", "intent")
    for record in sorted((r for kind in kinds for r in journal.records(kind)), key=lambda r: r.seq):
        if record.kind == "intervention":
            _intervene(history, record)
        elif record.kind == "run_resumed":
            _take_up(history, record)
        else:
            order = (record.body.get("decision") or {}).get("order", "")
            history.standing = history.standing.with_reached(str(order))
    return history.standing


def _intended(record: Record) -> PastAct:
    where, body = f"record {record.seq}", record.body
    decision = _model(Decision, body.get("decision"), where)
    if "asked" not in body and decision.decided_by == "policy":
        raise JournalError(
            "this run was recorded by a version that did not keep the questions behind decisions",
            where=where,
            remedy="It can be read, verified and reported, but neither resumed nor replayed",
        )
    asked = _asked(body["asked"], where) if "asked" in body else None
    act = Act(act_id=str(body.get("act_id")), action=decision.action)
    cost, step = _model(Cost, body.get("cost"), where), record.step or 0
    intent = Intent(step, act, decision, cost, float(body.get("latency_s", 0.0)))
    return PastAct(intent, asked, record.seq)


def _asked(plain: dict[str, Any], where: str) -> Asked:
    try:
        return Asked.read(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise _strange("a question to the policy", where, str(error)) from error


def _conclude(history: History, index: dict[str, int], record: Record) -> None:
    outcome = _model(Outcome, record.body, f"record {record.seq}")
    number = index.get(outcome.act_id)
    if number is None:
        raise _strange("the outcome of an intended act", f"record {record.seq}", outcome.act_id)
    history.acts[number] = replace(history.acts[number], outcome=outcome)
    history.told.append(number)


def _intervene(history: History, record: Record) -> None:
    said = _model(Intervention, record.body, f"record {record.seq}")
    try:
        command = said.parsed()
    except ValidationError as error:
        raise _strange("a command", f"record {record.seq}", error.errors()[0]["msg"]) from error
    retells = history.standing.retells(command)
    history.standing = history.standing.with_(said)
    if retells and said.told is not None:
        history.retellings.append((said.told, record.seq, history.standing))
    if said.command in ("pause", "emergency_stop"):
        _made_safe(history, record)


def _made_safe(history: History, record: Record) -> None:
    history.interruptions.append(Interruption(len(history.told), record.time_s, None, safe=True, seq=record.seq))


def _take_up(history: History, record: Record) -> None:
    body, where = record.body, f"record {record.seq}"
    config = body.get("config") or history.config
    history.standing = history.standing.taken_up(other_budget=config.get("budget") != history.config.get("budget"))
    history.config = config
    state, spent = _model(MicroscopeState, body.get("state"), where), _model(Budget, body.get("spent"), where)
    history.interruptions.append(Interruption(len(history.told), record.time_s, None, state, spent, record.seq))


def _model(model: type[Model], data: object, where: str) -> Model:
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise _strange(f"a {model.__name__}", where, error.errors()[0]["msg"]) from error


def _strange(what: str, where: str, why: str) -> JournalCorrupt:
    return JournalCorrupt(
        f"is not {what} as this version of autoscope knows it: {why}",
        where=where,
        remedy="Read it with the version that wrote it",
    )
