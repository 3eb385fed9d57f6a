"""One pass over the records of a run that notes all that does not agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoscope.errors import JournalCorrupt
from autoscope.journal import frames, wall
from autoscope.journal.accounts import Accounts
from autoscope.journal.chain import GENESIS, KINDS, Record, Row, parse
from autoscope.journal.layout import DATABASE, FRAMES
from autoscope.journal.store import RawRow, decode
from autoscope.records import FrameRef, Intervention

Content = Callable[[str], bytes | None]
"""Returns the bytes of a frame stored in the database, None where there is none."""


@dataclass(frozen=True)
class Problem:
    """Something that does not verify: the file, the record and step if they are known, and what is wrong."""

    where: str
    seq: int | None
    step: int | None
    what: str

    def __str__(self) -> str:
        place = self.where + (f", record {self.seq}" if self.seq is not None else "")
        return f"{place + (f', step {self.step}' if self.step is not None else '')}: {self.what}"


@dataclass
class Audit:
    """What is known after the records taken so far."""

    folder: Path
    content: Content | None = None
    """None leaves frames out."""
    layout: int = 2
    """Since layout 2 jumps of the wall clock carry a marker and spending is counted again."""
    problems: list[Problem] = field(default_factory=list)
    records: int = 0
    last: Row | None = None
    broken: bool = False
    intents: dict[str, int | None] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    proven: list[tuple[int, int]] = field(default_factory=list)
    """First and last of the steps proven, range by range."""
    proven_steps: int = 0
    files: set[str] = field(default_factory=set)
    frames: int = 0
    checked: int = 0
    kind: str = ""
    """Of the last record that is no annotation."""
    end: int = 0
    """Number of that record."""
    started: dict[str, Any] | None = None
    signers: list[str] = field(default_factory=list)
    """Public keys of which a record says that its signatures follow."""

    def __post_init__(self) -> None:
        self._accounts = Accounts(lambda record, what: self.say(what, seq=record.seq, step=record.step))

    def say(self, what: str, *, where: Path | None = None, seq: int | None = None, step: int | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(str(where or self.folder / DATABASE), seq, step, what))

    def chain(self, what: str, seq: int | None, step: int | None) -> None:
        """Note a break of the chain: no step after it is proven."""
        self.broken = True
        self.say(what, seq=seq, step=step)

    def take(self, raw: RawRow) -> Record | None:
        """Check one stored row against its hash and the row before."""
        self.records += 1
        seq, step = (value if isinstance(value, int) else None for value in (raw[0], raw[2]))
        try:
            row = decode(raw, "")
        except JournalCorrupt as error:
            self.chain(error.what, seq, step)
            self.last = None
            return None
        self._follow(row)
        before, self.last = self.last, row
        try:
            record = parse(row)
        except JournalCorrupt as error:
            self.chain(error.what, row.seq, row.step)
            return None
        self._time(before, record)
        return record

    def _follow(self, row: Row) -> None:
        if self.last is None and self.records > 1:
            return  # the row before could not be read, which has been said
        seq, previous = (self.last.seq, self.last.hash) if self.last else (0, GENESIS)
        if row.seq <= seq:
            self.chain("has a number below the first", row.seq, row.step)
        elif row.seq != seq + 1:
            missing = f"record {seq + 1} is" if row.seq == seq + 2 else f"records {seq + 1} to {row.seq - 1} are"
            self.chain(f"{missing} missing before this one", row.seq, row.step)
        elif row.previous != previous:
            self.chain("does not carry the hash of the record before", row.seq, row.step)

    def _time(self, before: Row | None, record: Record) -> None:
        if before is None or self.broken:
            return
        if record.time_s < before.time_s:
            what = f"its time, {record.time_s:.6g} s, is before that of the record before, {before.time_s:.6g} s"
            self.say(what, seq=record.seq, step=record.step)
        if self.layout < 2 or record.kind in wall.UNCHECKED or record.body.get("event") == wall.EVENT:
            return
        jump_s = wall.parted_s(before, record.time_s, record.wall)
        if jump_s is not None:
            what = f"the wall clock jumped by {jump_s:.1f} s against the clock of the run, and no marker says so"
            self.say(what, seq=record.seq, step=record.step)

    def understand(self, record: Record) -> None:
        """Check what a record says against the records before and the files."""
        if record.kind != "annotation":
            self.kind, self.end = record.kind, record.seq
        if record.kind not in KINDS:
            self.say(f"unknown kind {record.kind!r}", seq=record.seq, step=record.step)
        elif record.kind == "run_started" and self.started is None:
            self.started = record.body
            self._promise(record)
        elif record.kind == "run_resumed":
            self._promise(record)
        elif record.kind == "intent":
            self._intend(record)
        elif record.kind == "outcome":
            self._end(record)
        elif record.kind == "intervention" and "order" in record.body:
            self._signed_by_a_person(record)
        if self.layout >= 2 and not self.broken:
            self._accounts.take(record)

    def _signed_by_a_person(self, record: Record) -> None:
        """Say so where what was done is not what somebody signed."""
        try:
            said = Intervention.model_validate_json(json.dumps(record.body))
        except ValidationError:
            self.say("is no intervention as this version knows it", seq=record.seq, step=record.step)
            return
        order = said.order
        if order is None or not order.genuine():
            self.say("the signature of its order is not genuine", seq=record.seq, step=record.step)
        elif said != Intervention.of(order, said.through, told=said.told, effect=said.effect):
            self.say("says something else than the order that was signed", seq=record.seq, step=record.step)
        elif order.run_id != (self.started or {}).get("run_id"):
            self.say("its order was signed for another run", seq=record.seq, step=record.step)

    def _promise(self, record: Record) -> None:
        key = record.body.get("signed_by")
        if isinstance(key, str) and key not in self.signers:
            self.signers.append(key)

    def _intend(self, record: Record) -> None:
        act_id = str(record.body.get("act_id"))
        if act_id in self.intents:
            self.say(f"act {act_id!r} was intended twice", seq=record.seq, step=record.step)
        self.intents[act_id] = record.step

    def _end(self, record: Record) -> None:
        act_id, sound = str(record.body.get("act_id")), True
        if act_id not in self.intents:
            self.say(f"outcome of act {act_id!r} without an intent before it", seq=record.seq, step=record.step)
            sound = False
        if act_id in self.done:
            self.say(f"act {act_id!r} has two outcomes", seq=record.seq, step=record.step)
            sound = False
        self.done.add(act_id)
        if self.content is not None:
            items = record.body.get("frames")
            good = [self._frame(record, item, self.content) for item in items] if isinstance(items, list) else []
            sound = sound and all(good)
        if sound and not self.broken:
            self._prove(record.step if record.step is not None else self.proven_steps)

    def _prove(self, step: int) -> None:
        self.proven_steps += 1
        if self.proven and self.proven[-1][1] == step - 1:
            self.proven[-1] = (self.proven[-1][0], step)
        else:
            self.proven.append((step, step))

    def _frame(self, record: Record, item: object, content: Content) -> bool:
        try:
            ref = FrameRef.model_validate_json(json.dumps(item))
            path = frames.locate(self.folder / FRAMES, ref)
        except (ValidationError, JournalCorrupt):
            self.say(f"refers to no proper frame: {item!r}", seq=record.seq, step=record.step)
            return False
        self.files.add(ref.file)
        self.frames += 1
        try:
            found, place = _sha256(ref, path, content)
        except JournalCorrupt as error:
            self.say(f"frame cannot be read: {error.what}", where=path, seq=record.seq, step=record.step)
            return False
        except OSError as error:
            self.say(f"frame cannot be read: {error.strerror}", where=path, seq=record.seq, step=record.step)
            return False
        if found != ref.sha256:
            self.say("frame does not match its sha256: altered or cut", where=place, seq=record.seq, step=record.step)
        self.checked += found == ref.sha256
        return found == ref.sha256

    @property
    def open_steps(self) -> int:
        """Intents without an outcome."""
        return len(self.intents.keys() - self.done)

    def config(self) -> Mapping[str, Any] | None:
        """Return the configuration of the first record, if it has one."""
        recorded = (self.started or {}).get("config")
        return recorded if isinstance(recorded, Mapping) else None


def _sha256(ref: FrameRef, path: Path, content: Content) -> tuple[str, Path]:
    """Return the hash of a stored frame and the file it lies in."""
    if not path.is_file() and (data := content(ref.file)) is not None:
        return hashlib.sha256(data).hexdigest(), path.parent.parent / DATABASE / ref.file
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path
