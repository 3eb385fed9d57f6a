"""Proving a run: every record against the chain, every frame against its hash, every outcome against its intent."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from autoscope.errors import JournalCorrupt
from autoscope.journal import frames
from autoscope.journal.chain import GENESIS, KINDS, Record, Row, corrupt, parse
from autoscope.journal.layout import CONFIG, DATABASE, FRAMES
from autoscope.journal.store import BEFORE_ALL, connect, decode, raw_rows
from autoscope.records import FrameRef


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


@dataclass(frozen=True)
class Verification:
    """What could be proven about a run."""

    folder: Path
    records: int
    frames: int
    """Frames referred to by outcomes."""
    frames_checked: int
    """Frames whose file matches its hash."""
    problems: tuple[Problem, ...]
    proven_steps: int
    """Steps whose intent, outcome and frames all verify and precede any break of the chain."""
    open_steps: int
    """Intents without an outcome: the run goes on, or was cut off there."""
    orphans: tuple[str, ...]
    """Files in ``frames`` that no record refers to, as a crash between frame and outcome leaves them."""
    ended: bool
    head: str
    """Hash of the last record."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    @property
    def summary(self) -> str:
        """The result in a few lines for people."""
        verdict = "verified" if self.ok else "DOES NOT VERIFY"
        lines = [
            f"{self.folder}: {verdict}: {self.records} records, {self.frames_checked} of {self.frames} frames, "
            f"{self.proven_steps} steps proven{'' if self.ended else ', run not ended'}",
            f"head {self.head}",
        ]
        if self.open_steps:
            lines.append(f"{self.open_steps} intents without an outcome")
        if self.orphans:
            lines.append(f"{len(self.orphans)} frame files no record refers to: {', '.join(self.orphans[:5])}")
        return "\n".join(lines + [f"- {problem}" for problem in self.problems])


@dataclass
class _Audit:
    folder: Path
    problems: list[Problem] = field(default_factory=list)
    records: int = 0
    last: Row | None = None
    broken: bool = False
    intents: dict[str, int | None] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    proven: int = 0
    files: set[str] = field(default_factory=set)
    frames: int = 0
    checked: int = 0
    kind: str = ""
    started: dict[str, Any] | None = None

    def say(self, what: str, *, where: Path | None = None, seq: int | None = None, step: int | None = None) -> None:
        self.problems.append(Problem(str(where or self.folder / DATABASE), seq, step, what))

    def chain(self, what: str, seq: int | None, step: int | None) -> None:
        self.broken = True
        self.say(what, seq=seq, step=step)

    def take(self, raw: tuple[object, ...]) -> Record | None:
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
        self.last = row
        try:
            return parse(row)
        except JournalCorrupt as error:
            self.chain(error.what, row.seq, row.step)
            return None

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

    def understand(self, record: Record, *, check_frames: bool) -> None:
        """Check what a record says against the records before and the files."""
        self.kind = record.kind
        if record.kind not in KINDS:
            self.say(f"unknown kind {record.kind!r}", seq=record.seq, step=record.step)
        elif record.kind == "run_started" and self.started is None:
            self.started = record.body
        elif record.kind == "intent":
            self._intend(record)
        elif record.kind == "outcome":
            self._end(record, check_frames=check_frames)

    def _intend(self, record: Record) -> None:
        act_id = str(record.body.get("act_id"))
        if act_id in self.intents:
            self.say(f"act {act_id!r} was intended twice", seq=record.seq, step=record.step)
        self.intents[act_id] = record.step

    def _end(self, record: Record, *, check_frames: bool) -> None:
        act_id, sound = str(record.body.get("act_id")), True
        if act_id not in self.intents:
            self.say(f"outcome of act {act_id!r} without an intent before it", seq=record.seq, step=record.step)
            sound = False
        if act_id in self.done:
            self.say(f"act {act_id!r} has two outcomes", seq=record.seq, step=record.step)
            sound = False
        self.done.add(act_id)
        if check_frames:
            items = record.body.get("frames")
            good = [self._frame(record, item) for item in items] if isinstance(items, list) else []
            sound = sound and all(good)
        if sound and not self.broken:
            self.proven += 1

    def _frame(self, record: Record, item: object) -> bool:
        try:
            ref = FrameRef.model_validate_json(json.dumps(item))
            path = frames.locate(self.folder / FRAMES, ref)
        except (ValidationError, JournalCorrupt):
            self.say(f"refers to no proper frame: {item!r}", seq=record.seq, step=record.step)
            return False
        self.files.add(ref.file)
        self.frames += 1
        try:
            with path.open("rb") as file:
                matches = hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256
        except OSError as error:
            self.say(f"frame cannot be read: {error.strerror}", where=path, seq=record.seq, step=record.step)
            return False
        if not matches:
            self.say("frame does not match its sha256: altered or cut", where=path, seq=record.seq, step=record.step)
        self.checked += matches
        return matches


def verify(folder: Path, *, head: str | None = None) -> Verification:
    """Return what can be proven about the run in a folder; reads only, also while the run goes on.

    Parameters
    ----------
    folder : Path
        The run's folder.
    head : str, optional
        Hash of the last record, as it was noted somewhere else: without it, records cut off the end of a run that
        did not end cannot be told from a crash.

    Raises
    ------
    JournalError
        No journal there, or of a layout this version does not know.
    """
    audit = _Audit(folder)
    _check_pages(audit)
    for record in _taken(audit):
        audit.understand(record, check_frames=True)
    _check_config(audit)
    found = audit.last.hash if audit.last else ""
    if head is not None and head != found:
        audit.say(f"the last record is {found or 'absent'}, not the one noted elsewhere ({head}): the end was cut off")
    present = {path.name for path in (folder / FRAMES).iterdir()} if (folder / FRAMES).is_dir() else set()
    return Verification(
        folder=folder,
        records=audit.records,
        frames=audit.frames,
        frames_checked=audit.checked,
        problems=tuple(audit.problems),
        proven_steps=audit.proven,
        open_steps=len(audit.intents.keys() - audit.done),
        orphans=tuple(sorted(present - audit.files)),
        ended=audit.kind == "run_ended" and not audit.broken,
        head=found,
    )


def intact_head(folder: Path) -> Row | None:
    """Return the last row of a journal whose chain is whole (None: no records yet); frames are not looked at.

    Raises
    ------
    JournalCorrupt
        The chain is broken; the message names the first record that does not verify.
    """
    audit = _Audit(folder)
    _check_pages(audit)
    for record in _taken(audit):
        audit.understand(record, check_frames=False)
    if audit.problems:
        first = audit.problems[0]
        raise corrupt(first.what, first.where, first.seq)
    return audit.last


def _taken(audit: _Audit) -> Iterator[Record]:
    try:
        for raw in raw_rows(audit.folder, BEFORE_ALL):
            record = audit.take(raw)
            if record is not None:
                yield record
    except JournalCorrupt as error:
        audit.chain(error.what, None, None)


def _check_pages(audit: _Audit) -> None:
    try:
        with closing(connect(audit.folder)) as connection:
            found = [row[0].decode("utf-8", "replace") for row in connection.execute("PRAGMA integrity_check(5)")]
    except (JournalCorrupt, sqlite3.Error) as error:
        audit.chain(error.what if isinstance(error, JournalCorrupt) else f"SQLite cannot read it: {error}", None, None)
        return
    if found != ["ok"]:
        audit.chain(f"the SQLite file is damaged: {'; '.join(found)}", None, None)


def _check_config(audit: _Audit) -> None:
    """Compare ``config.yaml`` with the configuration in the first record, where both are there."""
    path, recorded = audit.folder / CONFIG, (audit.started or {}).get("config")
    if not isinstance(recorded, dict) or not path.is_file():
        return
    try:
        same = yaml.safe_load(path.read_bytes()) == recorded
    except yaml.YAMLError:
        same = False
    if not same:
        audit.say("differs from the configuration in the run's first record", where=path)
