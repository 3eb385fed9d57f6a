"""A run as it stood at one moment: a first pass counts what there is, a second hands out one act after the other.

Both passes end at the same record, so an export of a run that is still going is a consistent prefix of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from autoscope.errors import JournalCorrupt, JournalError
from autoscope.exports.series import Series, SeriesIndex
from autoscope.journal import JournalReader, Record
from autoscope.journal.annotation import corrected
from autoscope.journal.chain import corrupt, hashed_text
from autoscope.journal.store import decode, raw_rows
from autoscope.records import Decision, FrameRef, Outcome

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Act:
    """One act with everything that was written down about it."""

    step: int
    act_id: str
    decision: Decision
    outcome: Outcome | None
    """None: nobody knows what came of it, or it was still under way."""
    decided_s: float
    """When the intent was durable, on the clock of the run."""
    decided_utc: str
    recorded_s: float | None
    """When the outcome was durable."""
    recorded_utc: str
    intent: dict[str, Any]
    """The body of the intent as written, with predicted cost and latency."""
    seqs: tuple[int, int | None]
    """Numbers of the two records in the journal."""

    @property
    def status(self) -> str:
        """Return done, refused, rejected or failed; open where nobody knows."""
        return self.outcome.status if self.outcome else "open"

    @property
    def begun_s(self) -> float | None:
        """Return when the act was sent to the instrument; None where it never was, or nobody knows."""
        return self.outcome.begun_s if self.outcome else None

    @property
    def ended_s(self) -> float | None:
        """Return when the instrument had answered."""
        return self.outcome.ended_s if self.outcome else None

    @property
    def begun_utc(self) -> str:
        """Return when the act was begun as a date; when it was decided where that is all that is known."""
        return self.decided_utc if self.begun_s is None else _later(self.decided_utc, self.begun_s - self.decided_s)

    @property
    def ended_utc(self) -> str:
        """Return when the act was over as a date; when that was recorded where that is all that is known."""
        return self.recorded_utc if self.ended_s is None else _later(self.decided_utc, self.ended_s - self.decided_s)

    @property
    def frames(self) -> tuple[FrameRef, ...]:
        """Return the references to the frames of the act."""
        return self.outcome.frames if self.outcome else ()


@dataclass
class _Count:
    """What the first pass finds."""

    last: Record | None = None
    first_utc: str = ""
    last_utc: str = ""
    started: dict[str, Any] | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[str, Any] | None = None
    acts: int = 0
    open: set[str] = field(default_factory=set)
    values: dict[tuple[str, str], None] = field(default_factory=dict)
    quality: dict[str, None] = field(default_factory=dict)
    index: SeriesIndex = field(default_factory=SeriesIndex)
    remarks: list[Record] = field(default_factory=list)

    def take(self, record: Record) -> None:
        self.first_utc = self.first_utc or record.wall
        self.last = record
        if record.kind != "annotation":  # written when the run is over; it stays as ended as it was
            self.last_utc, self.ended = record.wall, record.body if record.kind == "run_ended" else None
        match record.kind:
            case "run_started":
                self.started = self.started or record.body
            case "intent":
                self.acts += 1
                self.open.add(str(record.body.get("act_id")))
            case "outcome":
                self._conclude(record.body)
            case "run_ended":
                pass
            case "annotation":
                self.annotations.append(record.body)
                self.remarks.append(record)
            case _:
                self.remarks.append(record)

    def _conclude(self, body: dict[str, Any]) -> None:
        self.open.discard(str(body.get("act_id")))
        self.values |= {(v["name"], v["unit"]): None for v in body.get("values") or ()}
        self.quality |= dict.fromkeys(body.get("quality") or {})
        for frame in body.get("frames") or ():
            self.index.count(frame)


@dataclass(frozen=True)
class Snapshot:
    """A run up to its last record at one moment. Make it with `take`; it holds counts and names, never frames."""

    reader: JournalReader
    started: dict[str, Any]
    """Body of the record the run began with, with the corrections that people appended later."""
    tags: tuple[str, ...]
    ended: dict[str, Any] | None
    """Body of the record the run ended with; None while it goes on, or after a crash."""
    seq: int
    """Number of the last record taken in."""
    head: str
    """Hash of that record."""
    first_utc: str
    last_utc: str
    last_s: float
    acts_count: int
    values: tuple[tuple[str, str], ...]
    """Names and units of the target values in the run."""
    quality: tuple[str, ...]
    """Names of the quality metrics in the run."""
    series: tuple[Series, ...]
    remarks: tuple[Record, ...]
    """Interventions, notes, faults and whatever else concerns no act."""
    damage: str
    """Why the record ends earlier than the file does; empty where it does not."""
    _open: frozenset[str]

    @classmethod
    def take(cls, folder: Path, *, skip_damaged: bool = False) -> Self:
        """Return the run in a folder as it stands now.

        Parameters
        ----------
        folder : Path
            The run's folder.
        skip_damaged : bool
            End before the first record that does not verify, instead of refusing.

        Raises
        ------
        JournalError
            No journal there, it has no first record, or this version cannot read it.
        JournalCorrupt
            A record does not verify.
        """
        reader, found, damage = JournalReader.open(folder), _Count(), ""
        try:
            for record in reader.records():
                found.take(record)
        except JournalCorrupt as error:
            if not skip_damaged or found.started is None:
                raise
            damage = str(error)
        return cls._of(reader, found, damage)

    @classmethod
    def _of(cls, reader: JournalReader, found: _Count, damage: str) -> Self:
        started, last = found.started, found.last
        if started is None or last is None:
            raise JournalError("the run has not begun: it has no run_started record", where=str(reader))
        return cls(
            reader=reader,
            started=corrected(started, found.annotations),
            tags=tuple(dict.fromkeys(str(tag) for body in found.annotations for tag in body.get("tags") or ())),
            ended=found.ended,
            seq=last.seq,
            head=last.hash,
            first_utc=found.first_utc,
            last_utc=found.last_utc,
            last_s=last.time_s,
            acts_count=found.acts,
            values=tuple(found.values),
            quality=tuple(found.quality),
            series=found.index.series(),
            remarks=tuple(found.remarks),
            damage=damage,
            _open=frozenset(found.open),
        )

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        return self.reader.folder

    @property
    def name(self) -> str:
        """Return the name of the run's folder."""
        return self.folder.resolve().name

    @property
    def run_id(self) -> str:
        """Return the run's own id; the name of its folder where it was written without one."""
        return str(self.started.get("run_id") or self.name)

    @property
    def state(self) -> str:
        """Return whether the run had ended, in a phrase for people."""
        if self.damage:
            return f"up to record {self.seq}, the last before damage"
        if self.ended is not None:
            return str(self.ended.get("status", "ended"))
        return f"not ended: still going on, or cut off; as of record {self.seq}"

    def records(self) -> Iterator[Record]:
        """Yield the records of the snapshot, in order.

        Raises
        ------
        JournalCorrupt
            The run was altered since the snapshot was taken.
        """
        for record in self.reader.records():
            yield record
            if record.seq >= self.seq:  # the next one may be damaged, and is not asked for
                return

    def texts(self) -> Iterator[str]:
        """Yield for each record of the snapshot the text whose sha256 is its hash, in order.

        Raises
        ------
        JournalCorrupt
            The run was altered since the snapshot was taken.
        """
        for raw in raw_rows(self.folder):
            row = decode(raw, str(self.reader))
            text = hashed_text(row)
            if hashlib.sha256(text.encode()).hexdigest() != row.hash:
                raise corrupt("does not match its hash", str(self.reader), row.seq)
            yield text
            if row.seq >= self.seq:
                return

    def acts(self) -> Iterator[Act]:
        """Yield the acts in the order they were decided, one at a time, each once its outcome is known.

        Raises
        ------
        JournalCorrupt
            The run was altered since the snapshot was taken, or a body cannot be understood.
        """
        waiting: dict[str, Act] = {}
        for record in self.records():
            if record.kind == "intent":
                act = _begun(record)
                waiting[act.act_id] = act
            elif record.kind == "outcome":
                _conclude(waiting, record)
            yield from self._ready(waiting)
        yield from waiting.values()

    def _ready(self, waiting: dict[str, Act]) -> Iterator[Act]:
        while waiting:
            act_id, act = next(iter(waiting.items()))
            if act.outcome is None and act_id not in self._open:
                return
            del waiting[act_id]
            yield act


def _begun(record: Record) -> Act:
    return Act(
        step=record.step if record.step is not None else record.seq,
        act_id=str(record.body.get("act_id")),
        decision=_understood(Decision, record, record.body.get("decision")),
        outcome=None,
        decided_s=record.time_s,
        decided_utc=record.wall,
        recorded_s=None,
        recorded_utc="",
        intent=record.body,
        seqs=(record.seq, None),
    )


def _conclude(waiting: dict[str, Act], record: Record) -> None:
    outcome = _understood(Outcome, record, record.body)
    begun = waiting.get(outcome.act_id)
    if begun is None:
        raise JournalCorrupt(
            f"is the outcome of an act {outcome.act_id!r} that nobody intended or that is over",
            where=f"record {record.seq}",
            remedy="Run 'autoscope verify' to see which steps are intact",
        )
    seqs = (begun.seqs[0], record.seq)
    waiting[outcome.act_id] = replace(
        begun, outcome=outcome, recorded_s=record.time_s, recorded_utc=record.wall, seqs=seqs
    )


def _later(utc: str, passed_s: float) -> str:
    return (datetime.fromisoformat(utc) + timedelta(seconds=passed_s)).isoformat(timespec="milliseconds")


def _understood(model: type[Model], record: Record, data: object) -> Model:
    try:
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise JournalCorrupt(
            f"is not a {record.kind} as this version of autoscope knows it: {error.errors()[0]['msg']}",
            where=f"record {record.seq}",
            remedy="Read it with the version that wrote it",
        ) from error
