"""The queue as it survives restarts: one SQLite file, every change durable before it is acknowledged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoscope.engine.events import RunEnd
from autoscope.errors import QueueError
from autoscope.protocols import Clock
from autoscope.queue.entry import OPEN, Entry, EntryStatus

LAYOUT = 1
_SCHEMA = """
CREATE TABLE experiments (number INTEGER PRIMARY KEY AUTOINCREMENT, place REAL NOT NULL, name TEXT NOT NULL,
    source TEXT NOT NULL, text TEXT NOT NULL, overrides TEXT NOT NULL, status TEXT NOT NULL, folder TEXT NOT NULL,
    reason TEXT NOT NULL, attempts INTEGER NOT NULL, added TEXT NOT NULL, begun TEXT NOT NULL, ended TEXT NOT NULL,
    outcome TEXT);
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = "number, name, source, text, overrides, status, folder, reason, attempts, added, begun, ended, outcome"


class QueueStore:
    """Experiments in the order in which they will be done. Any process may change it, also while it is being run.

    Parameters
    ----------
    path : Path
        Made where absent.
    clock : Clock
        For wall-clock times that people read.

    Raises
    ------
    QueueError
        The file cannot be used, or is of another layout.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.path, self._clock = path, clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._open()
        except (OSError, sqlite3.Error) as error:
            remedy = "Give another file with --queue, or look at this one"
            raise QueueError(f"the queue cannot be opened: {error}", where=str(path), remedy=remedy) from error

    def _open(self) -> None:
        with self._transaction():
            layout = self._db.execute("PRAGMA user_version").fetchone()[0]
            if layout == 0:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {LAYOUT}")
            elif layout != LAYOUT:
                raise QueueError("the queue is of another version", where=str(self.path), value=layout, limit=LAYOUT)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # --- reading ----------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return all experiments: what is over first, in the order of its end, then what is still to be done."""
        rows = self._rows("ORDER BY place, number")
        over = [e for e in rows if e.status not in OPEN and e.status is not EntryStatus.REMOVED]
        still = [e for status in OPEN for e in rows if e.status is status]
        return [*sorted(over, key=lambda e: (e.ended, e.number)), *still]

    def get(self, number: int) -> Entry:
        """Return an experiment.

        Raises
        ------
        QueueError
            There is none of this number.
        """
        rows = self._rows("WHERE number = ?", number)
        if not rows:
            raise QueueError("there is no such experiment", value=number, remedy="See 'autoscope queue list'")
        return rows[0]

    def next(self) -> Entry | None:
        """Return the experiment to do now: one that was cut off or stopped, else the first that waits."""
        return next((e for status in OPEN for e in self._rows("WHERE status = ? ORDER BY place, number", status)), None)

    @property
    def paused(self) -> bool:
        """Whether no other experiment may begin."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'paused'").fetchone()
        return row is not None and row[0] == "yes"

    def _rows(self, how: str, *values: object) -> list[Entry]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM experiments {how}", values)  # noqa: S608 - our own text
        return [_entry(row) for row in rows.fetchall()]

    # --- changing ---------------------------------------------------------------------------------

    def add(self, name: str, source: str, text: str, overrides: tuple[str, ...] = ()) -> Entry:
        """Put an experiment at the end and return it."""
        with self._transaction():
            (place,) = self._db.execute("SELECT coalesce(max(place), 0) + 1 FROM experiments").fetchone()
            cursor = self._db.execute(
                "INSERT INTO experiments (place, name, source, text, overrides, status, folder, reason, attempts, "
                "added, begun, ended) VALUES (?, ?, ?, ?, ?, 'waiting', '', '', 0, ?, '', '')",
                (place, name, source, text, json.dumps(overrides), self._clock.wall()),
            )
            return self.get(int(cursor.lastrowid or 0))

    def move(self, number: int, position: int) -> None:
        """Put a waiting experiment at a position among those that wait, 1 for the next one; beyond the last: last.

        Raises
        ------
        QueueError
            It does not wait any more, or the position is not positive.
        """
        if position < 1:
            raise QueueError("a position counts from 1", value=position, limit=">= 1")
        with self._transaction():
            self._require(number, EntryStatus.WAITING)
            waiting = [e.number for e in self._rows("WHERE status = 'waiting' ORDER BY place, number")]
            waiting.remove(number)
            waiting.insert(position - 1, number)
            (first,) = self._db.execute("SELECT min(place) FROM experiments WHERE status = 'waiting'").fetchone()
            for offset, one in enumerate(waiting):
                self._db.execute("UPDATE experiments SET place = ? WHERE number = ?", (first + offset, one))

    def remove(self, number: int) -> Entry:
        """Take an experiment out of the queue; its run folder, where it has one, stays.

        Raises
        ------
        QueueError
            It is running.
        """
        with self._transaction():
            entry = self.get(number)
            if entry.status is EntryStatus.RUNNING:
                remedy = "Stop the queue with Ctrl-C first, or let it end"
                raise QueueError("the experiment is running", where=f"experiment {number}", remedy=remedy)
            self._db.execute("UPDATE experiments SET status = 'removed' WHERE number = ?", (number,))
            return entry

    def retry(self, number: int) -> None:
        """Put an experiment that failed at the end of those that wait, with a new run folder.

        Raises
        ------
        QueueError
            It has not failed.
        """
        with self._transaction():
            self._require(number, EntryStatus.FAILED)
            (place,) = self._db.execute("SELECT coalesce(max(place), 0) + 1 FROM experiments").fetchone()
            self._db.execute(
                "UPDATE experiments SET status = 'waiting', place = ?, folder = '', reason = '', ended = '', "
                "outcome = NULL WHERE number = ?",
                (place, number),
            )

    def pause(self, paused: bool) -> None:
        """Let no other experiment begin, or let them again; what runs goes on."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('paused', ?)", ("yes" if paused else "no",))

    def begin(self, number: int, folder: Path) -> Entry:
        """Write down that an experiment begins, or is taken up, in a run folder, before anything of it is done."""
        with self._transaction():
            self._db.execute(
                "UPDATE experiments SET status = 'running', folder = ?, attempts = attempts + 1, reason = '', "
                "begun = CASE begun WHEN '' THEN ? ELSE begun END WHERE number = ?",
                (str(folder), self._clock.wall(), number),
            )
            return self.get(number)

    def finish(self, number: int, status: EntryStatus, reason: str, end: RunEnd | None = None) -> Entry:
        """Write down what became of an experiment."""
        with self._transaction():
            self._db.execute(
                "UPDATE experiments SET status = ?, reason = ?, ended = ?, outcome = ? WHERE number = ?",
                (status.value, reason, self._clock.wall(), end.model_dump_json() if end else None, number),
            )
            return self.get(number)

    def _require(self, number: int, status: EntryStatus) -> None:
        entry = self.get(number)
        if entry.status is not status:
            raise QueueError(
                "this cannot be done with the experiment as it is",
                where=f"experiment {number}",
                value=entry.status.value,
                limit=status.value,
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                remedy = "Free space on the disk or repair it"
                raise QueueError(
                    f"the queue cannot be written: {error}", where=str(self.path), remedy=remedy
                ) from error
            raise


def _entry(row: tuple[Any, ...]) -> Entry:
    fields = dict(zip(_COLUMNS.split(", "), row))
    outcome = fields.pop("outcome")
    fields["overrides"] = tuple(json.loads(fields["overrides"]))
    fields["status"] = EntryStatus(fields["status"])
    return Entry(**fields, end=RunEnd.model_validate_json(outcome) if outcome else None)
