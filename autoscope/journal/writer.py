"""The durable journal: what `append` has returned survives a killed process and a cut of power."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel

from autoscope.errors import JournalError, JournalFull
from autoscope.journal import wall
from autoscope.journal.beginning import is_blank, is_vacant
from autoscope.journal.chain import RecordKind, Row, link, pack, plain
from autoscope.journal.checkpoints import Checkpoints
from autoscope.journal.disk import Disk, LocalDisk, Statement, is_full, write_durably
from autoscope.journal.layout import (
    ADDITIONS,
    APPLICATION_ID,
    CHECKPOINTS,
    CONFIG,
    DATABASE,
    FRAMES,
    INSERT,
    LOCK,
    LOG_BYTES,
    RECORDS,
    RESERVE,
    VERSION,
)
from autoscope.journal.lock import WriterLock
from autoscope.journal.recorder import Recorder
from autoscope.journal.reserve import Reserve
from autoscope.journal.salvage import Salvaged, recover
from autoscope.journal.shelf import Shelf
from autoscope.journal.signing import Signer, Signing
from autoscope.protocols import Clock
from autoscope.records import Frame, FrameRef

LAST_WORDS: frozenset[str] = frozenset({"outcome", "intervention", "fault", "run_ended"})
"""Kinds of record that are still taken, from the reserve, when the disk is full."""

MARGIN_BYTES = 1 << 16
"""Space an intent must leave besides twice the bytes its act is predicted to record."""

State = Literal["open", "full", "poisoned", "ended", "closed"]


class Journal(Recorder):
    """The record of one run, in its folder. Make it with `create` or `reopen`; use it in a ``with`` block.

    May be used from several threads. After an error of the disk nothing more is taken: a journal does not guess what
    reached the disk; `reopen` reads it back.
    """

    def __init__(
        self, folder: Path, clock: Clock, disk: Disk, lock: WriterLock, connection: sqlite3.Connection,
        signer: Signer | None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._shelf, self._signing = Shelf(folder, disk, connection), Signing(signer)
        self._checkpoints = Checkpoints(folder, disk)
        self._clock, self._disk, self._lock, self._connection = clock, disk, lock, connection
        self._reserve: Reserve | None = None
        self._head: Row | None = None
        self._offset_s = 0.0
        self._state: State = "open"
        self._cause = ""
        self._mutex = threading.RLock()

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        clock: Clock,
        config: str | None = None,
        disk: Disk | None = None,
        signer: Signer | None = None,
    ) -> Self:
        """Begin the journal of a new run.

        Parameters
        ----------
        folder : Path
            Is made, with its parents; must not exist, be empty, or hold what a run killed before its
            configuration was written has left.
        clock : Clock
            Stamps the records.
        config : str, optional
            Text of ``config.yaml``, the resolved configuration.
        disk : Disk, optional
            Where bytes become durable; the local file system by default.
        signer : Signer, optional
            Signs the first record, the last, and one now and then, e.g. `autoscope.identity.load_or_make()`.

        Raises
        ------
        JournalError
            The folder holds something already, or cannot be made.
        JournalFull
            No space.
        """
        if not is_vacant(folder):
            remedy = "Choose another folder; a run is never overwritten"
            raise JournalError("there is something in this place already", where=str(folder), remedy=remedy)
        with _translated(f"{folder}: the run folder cannot be made"):
            (folder / FRAMES).mkdir(parents=True, exist_ok=True)
        return cls._opened(folder, clock, disk or LocalDisk(), signer, config=config, fresh=True)

    @classmethod
    def is_blank(cls, folder: Path) -> bool:
        """Return whether a run folder holds no record yet, because its process was killed before the first."""
        return is_blank(folder)

    @classmethod
    def begin_again(cls, folder: Path, *, clock: Clock, disk: Disk | None = None, signer: Signer | None = None) -> Self:
        """Begin the journal of a run that was killed before its first record, in its folder.

        Raises
        ------
        JournalError
            There are records already, or another process is writing.
        """
        if not cls.is_blank(folder):
            raise JournalError("there are records already", where=str(folder / DATABASE), remedy="Resume the run")
        return cls._opened(folder, clock, disk or LocalDisk(), signer, config=None, fresh=True)

    @classmethod
    def reopen(cls, folder: Path, *, clock: Clock, disk: Disk | None = None, signer: Signer | None = None) -> Self:
        """Go on with the journal of a run that stopped, after proving that its chain is whole.

        Times go on from the last record if the given clock is behind it. An end that is damaged is set aside, whole,
        in the folder ``damaged``, and a ``fault`` says which records are lost.

        Raises
        ------
        JournalError
            No journal there, or another process is writing to it.
        JournalCorrupt
            The chain is damaged before its end; nothing was changed.
        """
        if not (folder / DATABASE).is_file():
            raise JournalError("no journal here", where=str(folder / DATABASE), remedy="Give the folder of a run")
        return cls._opened(folder, clock, disk or LocalDisk(), signer, config=None, fresh=False)

    @classmethod
    def _opened(
        cls, folder: Path, clock: Clock, disk: Disk, signer: Signer | None, *, config: str | None, fresh: bool
    ) -> Self:
        with _translated(f"{folder}: the journal cannot be opened"):
            lock = WriterLock(folder / LOCK)
            try:
                head, salvaged = (None, None) if fresh else recover(folder, disk)
                journal = cls(folder, clock, disk, lock, _connect(folder / DATABASE), signer)
            except BaseException:
                lock.release()
                raise
            try:
                journal._prepare(head, config, salvaged)
            except BaseException:
                journal._state = "poisoned"
                journal.close()
                raise
        return journal

    def _prepare(self, head: Row | None, config: str | None, salvaged: Salvaged) -> None:
        if config is not None:  # first, so that a run killed before its first record can still be begun
            write_durably(self._disk, self.folder / CONFIG, config.encode("utf-8"))
        for place in (FRAMES, CHECKPOINTS):
            for unfinished in (self.folder / place).glob(".*.partial"):
                self._disk.remove(unfinished)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "fullfsync = ON"):
            self._disk.execute(self._connection, f"PRAGMA {pragma}", ())
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            self._disk.commit(self._connection, _layout(fresh=version == 0))
        self._head = head
        self._extend_log()
        self.follow_clock()
        self._reserve = Reserve(self.folder / RESERVE, self._disk)
        self._disk.fsync_folder(self.folder)
        self._disk.fsync_folder(self.folder.parent)
        if salvaged:
            self.append("fault", salvaged)

    def follow_clock(self) -> None:
        """Reckon times from the clock as it stands now: behind the last record, they go on from there.

        To be called again when a clock has been brought to the end of the record.
        """
        self._offset_s = max(0.0, self._head.time_s - self._clock.now_s()) if self._head else 0.0

    def _extend_log(self) -> None:
        """Let SQLite's log have its size from the start: flushing a file that does not grow is much faster."""
        log = self.folder / f"{DATABASE}-wal"
        if log.is_file():
            self._disk.extend(log, LOG_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def head(self) -> str:
        """Hash of the last record; written down elsewhere it proves later that nothing was cut off."""
        return self._head.hash if self._head else ""

    def append(self, kind: RecordKind, body: Mapping[str, Any] | BaseModel, *, step: int | None = None) -> int:
        """Write a record durably and return its sequence number.

        An intent is refused while there is no space for twice what its act is predicted to record, so that a full
        disk is met before the act and not after it.

        Raises
        ------
        JournalFull
            No space. Only outcomes, interventions, faults and the end of the run are taken from now on.
        JournalError
            The disk failed (nothing is taken from now on), the journal is closed or over, or the body is not plain.
        """
        with self._mutex:
            self._refuse_unless_taken(kind)
            data = self._signing.promised(kind, plain(body))
            rows = self._linked(kind, data, step)
            with self._failing(f"record {rows[-1].seq} ({kind})"):
                if kind == "intent":
                    self._make_sure_of_space(data)
                self._store(rows, data)
            self._head = rows[-1]
            if kind == "run_ended":
                self._state = "ended"
            return rows[-1].seq

    def _linked(self, kind: RecordKind, data: dict[str, Any], step: int | None) -> list[Row]:
        """Return the next record, after a marker if the wall clock jumped since the last."""
        time_s, now = self._clock.now_s() + self._offset_s, self._clock.wall()
        before, rows = self._head, list[Row]()
        if before is not None and kind not in wall.UNCHECKED:
            jump_s = wall.parted_s(before, time_s, now)
            if jump_s is not None:
                note = wall.marker(before, jump_s, now)
                rows.append(link(before, "note", note, step=step, time_s=time_s, wall=now))
        return [
            *rows,
            link(rows[-1] if rows else before, kind, data, step=step, time_s=time_s, wall=now, is_plain=True),
        ]

    def _store(self, rows: list[Row], data: dict[str, Any]) -> None:
        """Make records, and the small frames they refer to, durable in one transaction."""
        inserts: list[Statement] = [(INSERT, (*row[:5], pack(row.body), *row[6:])) for row in rows]
        frames, signatures = self._shelf.statements(rows[-1].kind, data), self._signing.statements(rows[-1])
        files = self._shelf.refers_to_new_files(data)
        try:
            self._commit([*inserts, *frames, *signatures], files=files)
        except (OSError, sqlite3.Error) as error:
            last_word = is_full(error) and rows[-1].kind in LAST_WORDS
            if not (last_word and self._reserve and self._reserve.release()):
                raise
            self._commit([*inserts, *frames, *signatures], files=files)  # nothing came of the first try; space is new
        self._shelf.stored(frames)
        if signatures:
            self._signing.signed()

    def _commit(self, statements: list[Statement], *, files: bool) -> None:
        if files:
            self._shelf.sync_names()
        self._disk.commit(self._connection, statements)

    def write_frame(self, frame: Frame, *, step: int, index: int) -> FrameRef:
        """Keep a frame and return the reference to put into an outcome; it is durable when that outcome is.

        Raises
        ------
        JournalFull
            No space; the unfinished file is removed.
        JournalError
            The disk failed, the journal is closed or over, or the frame holds other things than numbers.
        """
        with self._mutex:
            self._refuse_unless_taken("frame")
            with self._failing(f"frame {index} of step {step}"):
                return self._shelf.take(frame, step, index)

    def keep_checkpoint(self, body: dict[str, Any], data: bytes) -> None:
        """Keep a checkpoint beside the chain, where there is room, and append the note that refers to it by hash.

        Raises
        ------
        JournalFull
            No space for the note.
        JournalError
            The disk failed, or the journal is closed or over.
        """
        with self._mutex:
            self._refuse_unless_taken("note")
            with self._failing(f"checkpoint after {body['told']} outcomes"):
                kept = self._checkpoints.store(int(body["told"]), data)
            self.append("note", body | kept)
            self._checkpoints.tidy()

    def close(self) -> None:
        """Release the run. Never raises: all that was promised is on the disk already."""
        with self._mutex:
            if self._state == "closed":
                return
            healthy, self._state = self._state != "poisoned", "closed"
            if healthy:
                self._sign_head()
            with suppress(sqlite3.Error, OSError):
                if self._reserve:
                    self._reserve.release()
            with suppress(sqlite3.Error):
                if healthy:  # one plain file that any tool opens; refused while somebody reads, which does no harm
                    self._connection.execute("PRAGMA busy_timeout = 0")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            with suppress(sqlite3.Error):
                self._connection.close()
            self._lock.release()

    def _sign_head(self) -> None:
        if self._head is not None and self._signing.due:
            with suppress(sqlite3.Error, OSError):
                self._disk.commit(self._connection, self._signing.statements(self._head, now=True))

    def _make_sure_of_space(self, body: dict[str, Any]) -> None:
        predicted = int((body.get("cost") or {}).get("bytes", 0))
        needed, free = 2 * predicted + MARGIN_BYTES, self._disk.free_bytes(self.folder)
        if free < needed:
            self._state, self._cause = "full", f"{free} bytes are free, {needed} are needed for the next act"
            raise self._refusal()

    def _refuse_unless_taken(self, kind: str) -> None:
        taken = {"open": True, "full": kind in LAST_WORDS, "ended": kind == "annotation"}
        if not taken.get(self._state, False):
            raise self._refusal()

    def _refusal(self) -> JournalError:
        where, next_seq = str(self.folder / DATABASE), self._head.seq + 1 if self._head else 1
        where = f"{where}: record {next_seq}"
        match self._state:
            case "full":
                remedy = "End the run, free space and resume it"
                return JournalFull(f"the disk is full: {self._cause}", where=where, remedy=remedy)
            case "poisoned":
                remedy = "Blank the beam, end the run, check the disk, then reopen the journal"
                return JournalError(f"the disk failed earlier: {self._cause}", where=where, remedy=remedy)
            case "ended":
                return JournalError("the run has ended; only annotations can follow its last record", where=where)
            case _:
                return JournalError("the journal is closed", where=where, remedy="Reopen it to go on")

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            self._state = "full" if is_full(error) else "poisoned"
            self._cause = f"{what} was not written: {error}"
            raise self._refusal() from error


def _layout(*, fresh: bool) -> list[Statement]:
    """Return what makes an empty database a journal, or one of layout 1 a journal of today's."""
    pragmas = (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION}")
    return [(statement, ()) for statement in (*((RECORDS,) if fresh else ()), *ADDITIONS, *pragmas)]


def _connect(path: Path) -> sqlite3.Connection:
    # autocommit, so that every statement is a transaction of its own; threads are kept apart by the journal's mutex
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        kind = JournalFull if is_full(error) else JournalError
        raise kind(f"{what}: {error}", remedy="Check the path, its rights and the space on the disk") from error
