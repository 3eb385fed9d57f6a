"""Proving a run: the chain, the frames, the order of acts, the budget counted again, the clocks, the signed heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from autoscope.errors import JournalCorrupt
from autoscope.journal import wal
from autoscope.journal.audit import Audit, Problem
from autoscope.journal.chain import Record, Row, corrupt
from autoscope.journal.layout import CONFIG, DATABASE, FRAMES, LOCK
from autoscope.journal.lock import is_held
from autoscope.journal.signatures import SignedHeads
from autoscope.journal.store import BEFORE_ALL, UNREADABLE, FrameTable, connect, raw_rows


@dataclass(frozen=True)
class Verification:
    """What could be proven about a run."""

    folder: Path
    records: int
    frames: int
    """Frames referred to by outcomes."""
    frames_checked: int
    """Frames whose bytes match their hash."""
    problems: tuple[Problem, ...]
    proven_steps: int
    """Steps whose intent, outcome and frames all verify and precede any break of the chain."""
    proven: tuple[tuple[int, int], ...]
    """Which steps those are: first and last of each unbroken range."""
    open_steps: int
    """Intents without an outcome: the run goes on, or was cut off there."""
    orphans: tuple[str, ...]
    """Frames that no record refers to, as a crash between frame and outcome leaves them."""
    ended: bool
    head: str
    """Hash of the last record."""
    signed_by: tuple[str, ...] = ()
    """Public keys of those who signed heads of this chain."""
    signed_records: int = 0
    """Records up to and with the last signed head."""

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
            self._signed(),
        ]
        if not self.ok and self.proven:
            lines.append(f"steps that remain proven: {', '.join(_range(*steps) for steps in self.proven[:20])}")
        if self.open_steps:
            lines.append(f"{self.open_steps} intents without an outcome")
        if self.orphans:
            lines.append(f"{len(self.orphans)} frame files no record refers to: {', '.join(self.orphans[:5])}")
        return "\n".join(lines + [f"- {problem}" for problem in self.problems])

    def _signed(self) -> str:
        if not self.signed_by:
            return "NOT SIGNED: who can write to the folder could have written all of it anew"
        upto = "" if self.signed_records == self.records else f", up to record {self.signed_records} of {self.records}"
        return f"signed by {', '.join(self.signed_by)}{upto}"

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data for other programs."""
        problems = [asdict(problem) | {"text": str(problem)} for problem in self.problems]
        return asdict(self) | {"folder": str(self.folder), "problems": problems, "ok": self.ok}


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def verify(folder: Path, *, head: str | None = None, public_key: str | None = None) -> Verification:
    """Return what can be proven about the run in a folder; reads only, also while the run goes on.

    Parameters
    ----------
    folder : Path
        The run's folder.
    head : str, optional
        Hash of the last record, as it was noted somewhere else: without it, records cut off the end of a run that
        did not end cannot be told from a crash.
    public_key : str, optional
        64 hexadecimal digits: whose signed heads the run must have. Without it any signer is reported and believed.

    Raises
    ------
    JournalError
        No journal there, or of a layout this version does not know.
    """
    audit = Audit(folder, layout=_layout(folder))
    _check_pages(audit)
    _check_log(audit)
    signed = SignedHeads.read(folder)
    present = _with_frames(audit, signed)
    _check_config(audit)
    found = audit.last.hash if audit.last else ""
    if head is not None and head != found:
        audit.say(f"the last record is {found or 'absent'}, not the one noted elsewhere ({head}): the end was cut off")
    ended = audit.kind == "run_ended" and not audit.broken
    for what, seq in signed.problems(audit.last, audit.end, public_key, ended=ended, promised=audit.signers):
        audit.say(what, seq=seq)
    return Verification(
        folder=folder,
        records=audit.records,
        frames=audit.frames,
        frames_checked=audit.checked,
        problems=tuple(audit.problems),
        proven_steps=audit.proven_steps,
        proven=tuple(audit.proven),
        open_steps=audit.open_steps,
        orphans=tuple(sorted(present - audit.files)),
        ended=ended,
        head=found,
        signed_by=signed.keys,
        signed_records=signed.records,
    )


def intact_head(folder: Path) -> Row | None:
    """Return the last row of a journal whose chain is whole (None: no records yet); frames are not looked at.

    Raises
    ------
    JournalCorrupt
        The chain is broken; the message names the first record that does not verify.
    """
    audit = Audit(folder)
    _check_pages(audit)
    for _ in _taken(audit):
        pass
    broken = next((p for p in audit.problems if audit.broken), None)
    if broken:
        raise corrupt(broken.what, broken.where, broken.seq)
    return audit.last


def _with_frames(audit: Audit, signed: SignedHeads) -> set[str]:
    """Take all records and their frames; return the names of all frames there are."""
    folder = audit.folder / FRAMES
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    try:
        with FrameTable(audit.folder) as table:
            audit.content = table.content
            _understand(audit, signed)
            present.update(table.names())
    except JournalCorrupt as error:
        audit.chain(error.what, None, None)
    return present


def _understand(audit: Audit, signed: SignedHeads) -> None:
    for record in _taken(audit):
        signed.compare(record.seq, record.hash)
        audit.understand(record)


def _taken(audit: Audit) -> Iterator[Record]:
    try:
        for raw in raw_rows(audit.folder, BEFORE_ALL):
            record = audit.take(raw)
            if record is not None:
                yield record
    except JournalCorrupt as error:
        audit.chain(error.what, None, None)


def _layout(folder: Path) -> int:
    try:
        with closing(connect(folder)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except (JournalCorrupt, *UNREADABLE):
        return 0  # said when the pages are checked


def _check_pages(audit: Audit) -> None:
    try:
        with closing(connect(audit.folder)) as connection:
            found = [row[0].decode("utf-8", "replace") for row in connection.execute("PRAGMA integrity_check(5)")]
    except (JournalCorrupt, *UNREADABLE) as error:
        audit.chain(error.what if isinstance(error, JournalCorrupt) else f"SQLite cannot read it: {error}", None, None)
        return
    if found != ["ok"]:
        audit.chain(f"the SQLite file is damaged: {'; '.join(found)}", None, None)


def _check_log(audit: Audit) -> None:
    """Look for damage in SQLite's log, which SQLite passes over in silence; not while somebody writes to it."""
    if is_held(audit.folder / LOCK):
        return
    path = audit.folder / f"{DATABASE}-wal"
    found = wal.damage(path)
    if found is not None:
        audit.say(str(found), where=path)


def _check_config(audit: Audit) -> None:
    """Compare ``config.yaml`` with the configuration in the first record, where both are there."""
    path, recorded = audit.folder / CONFIG, audit.config()
    if recorded is None or not path.is_file():
        return
    try:
        same = yaml.safe_load(path.read_bytes()) == recorded
    except yaml.YAMLError:
        same = False
    if not same:
        audit.say("differs from the configuration in the run's first record", where=path)
