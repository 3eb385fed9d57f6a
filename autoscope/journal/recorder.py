"""What the engine needs of a journal, and what can be asked of any journal that can be read."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ValidationError

from autoscope.errors import JournalError
from autoscope.journal.annotation import corrected
from autoscope.journal.chain import Record, RecordKind, corrupt
from autoscope.records import Decision, Frame, FrameRef, Outcome

Model = TypeVar("Model", bound=BaseModel)


class Recorder(Protocol):
    """Where the engine writes what happens; a record is durable, by the recorder's own measure, on return."""

    def append(self, kind: RecordKind, body: Mapping[str, Any] | BaseModel, *, step: int | None = None) -> int:
        """Add a record and return its sequence number.

        Raises
        ------
        JournalError
            It was not written, and why.
        """

    def write_frame(self, frame: Frame, *, step: int, index: int) -> FrameRef:
        """Keep a frame and return the reference to put into an outcome; it is durable when that outcome is.

        Raises
        ------
        JournalError
            It was not stored, and why.
        """

    def close(self) -> None:
        """End the writing; twice is fine."""


@runtime_checkable
class Keeping(Protocol):
    """A recorder that also keeps checkpoints, from which a run is resumed without telling the policy everything."""

    def keep_checkpoint(self, body: dict[str, Any], data: bytes) -> None:
        """Keep the data, where there is room, and append a ``note`` of this body that refers to them by hash.

        Raises
        ------
        JournalError
            The disk failed.
        """


@dataclass(frozen=True)
class Step:
    """One act: its decision and, if it is known, what came of it."""

    index: int
    decision: Decision
    outcome: Outcome | None
    time_s: float
    """When the intent was written."""
    ended_s: float | None
    """When the outcome was written."""
    act_id: str


class Readable(ABC):
    """Everything that follows from the records alone."""

    @abstractmethod
    def records(self, kind: RecordKind | None = None, after: int = 0) -> Iterator[Record]:
        """Yield the records with a sequence number above ``after``, in order, optionally of one kind only."""

    @abstractmethod
    def load_frame(self, ref: FrameRef) -> Frame:
        """Return a stored frame, verified against its hash."""

    def load_checkpoint(self, note: Mapping[str, Any]) -> bytes | None:
        """Return the checkpoint that a note tells of, verified; None where it is not kept."""
        return None

    def started(self) -> dict[str, Any]:
        """Return the body of the record the run began with.

        Raises
        ------
        JournalError
            The run never began.
        """
        first = next(self.records("run_started"), None)
        if first is None:
            raise JournalError("the run has not begun: it has no run_started record", where=str(self))
        return first.body

    def ended(self) -> dict[str, Any] | None:
        """Return the body of the record the run ended with; None while it goes on, or after a crash."""
        last = deque(self.records("run_ended"), maxlen=1)
        if not last or any(record.kind != "annotation" for record in self.records(after=last[0].seq)):
            return None
        return last[0].body

    def annotations(self) -> Iterator[Record]:
        """Yield what people wrote about the run afterwards, oldest first."""
        return self.records("annotation")

    def described(self) -> dict[str, Any]:
        """Return `started` with the corrections of the annotations made to it; the record itself stays as it was.

        Raises
        ------
        JournalError
            The run never began.
        """
        return corrected(self.started(), (record.body for record in self.annotations()))

    def steps(self) -> Iterator[Step]:
        """Yield the acts in the order they were decided, each as soon as it and all before it are over.

        The outcome is None where none was written; an act that nobody knows the end of holds back those after it until
        the last record is read.

        Raises
        ------
        JournalCorrupt
            An outcome belongs to no intent, or a body cannot be understood.
        """
        yielded = 0
        begun: dict[str, Step] = {}  # decided and not yielded yet, in the order decided
        for record in self.records():
            if record.kind == "intent":
                step = self._begun(record, yielded + len(begun))
                begun[step.act_id] = step
            elif record.kind == "outcome":
                outcome = self._understood(Outcome, record, record.body)
                if outcome.act_id not in begun:
                    raise corrupt(f"is the outcome of an act {outcome.act_id!r} nobody intended", str(self), record.seq)
                done = replace(begun[outcome.act_id], outcome=outcome, ended_s=record.time_s)
                begun[outcome.act_id] = done
                for act_id in list(takewhile(lambda act_id: begun[act_id].outcome is not None, begun)):
                    yielded += 1
                    yield begun.pop(act_id)
        yield from begun.values()

    def _begun(self, record: Record, count: int) -> Step:
        decision = self._understood(Decision, record, record.body.get("decision"))
        index = record.step if record.step is not None else count
        return Step(index, decision, None, record.time_s, None, str(record.body.get("act_id")))

    def _understood(self, model: type[Model], record: Record, data: object) -> Model:
        try:
            return model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            what = f"is not a {record.kind} as this version of autoscope knows it: {error}"
            raise corrupt(what, str(self), record.seq) from error
