"""Rows out of the SQLite file: read-only, in batches, each connection closed before anything is handed out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from autoscope.errors import JournalError
from autoscope.journal.chain import Row, corrupt, unpack
from autoscope.journal.layout import ADDITIONS, APPLICATION_ID, DATABASE, READABLE, RECORDS, VERSION

BEFORE_ALL = -(2**63) - 1
"""A number before that of any record, also of one that somebody slipped in below the first."""

RawRow = tuple[object, ...]
"""A row as SQLite gives it, text as bytes; nothing about it is trusted yet."""

UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged file raises: SQLite's message may quote bytes of it that are no text."""

BODY = 2
"""Place of the body among the texts of a row."""

_BATCH = 500
_SELECT = "SELECT seq, kind, step, time_s, wall, body, previous, hash FROM records WHERE seq >= ?"


def connect(folder: Path) -> sqlite3.Connection:
    """Return a read-only connection that gives text as bytes, after checking that this is a journal.

    Raises
    ------
    JournalError
        No journal here, not one, or of a newer layout.
    JournalCorrupt
        SQLite cannot make sense of the file.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise JournalError("no journal here", where=str(path), remedy="Give the folder of a run")
    try:
        return _probed(path, "mode=ro")
    except UNREADABLE as error:
        if not _needs_immutable(error):
            raise unreadable(path, error) from error
    _refuse_unread_log(path)
    try:
        return _probed(path, "mode=ro&immutable=1")
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _probed(path: Path, query: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{query}", uri=True, isolation_level=None)
    connection.text_factory = bytes
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        _check_format(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _needs_immutable(error: Exception) -> bool:
    """Return whether SQLite failed because it cannot put its log beside the file, as on a read-only medium."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


def _refuse_unread_log(path: Path) -> None:
    log = path.with_name(f"{path.name}-wal")
    if log.is_file() and log.stat().st_size > 0:  # an immutable file is read without its log: records would be missing
        raise JournalError(
            "the last records lie in a log that cannot be read here, because the folder cannot be written to",
            where=str(log), remedy="Copy the folder to a place that can be written to",
        )  # fmt: skip


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise corrupt(f"is not the journal of a run (application id {application:#x})", str(path), None)
    if version not in READABLE:
        raise JournalError(
            "the journal has a layout this version of autoscope does not know",
            where=str(path), value=version, limit=VERSION, remedy="Read it with the version that wrote it",
        )  # fmt: skip
    _check_tables(connection, path, (RECORDS, *(ADDITIONS if version > 1 else ())))


def _check_tables(connection: sqlite3.Connection, path: Path, expected: Sequence[str]) -> None:
    """Compare the text of the tables, or one altered letter would make SQLite read other columns than were written."""
    found = {bytes(row[0]) for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    for statement in expected:
        if statement.encode() not in found:
            raise corrupt(f"its table {statement.split()[2]!r} is absent or altered", str(path), None)


def unreadable(path: Path, error: Exception) -> JournalError:
    """Return the error for a file that SQLite refuses, by what SQLite said."""
    if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return JournalError(f"another program holds the file: {error}", where=str(path), remedy="Try again")
    return corrupt(f"SQLite cannot read it: {error}", str(path), None)


def raw_rows(folder: Path, after: int = 0, kind: str | None = None) -> Iterator[RawRow]:
    """Yield rows as stored, in order.

    No transaction stays open between batches, so a writer can always tidy up its log.

    Raises
    ------
    JournalError
        No journal here, or of a newer layout.
    JournalCorrupt
        SQLite cannot make sense of the file.
    """
    select, values = (_SELECT, ()) if kind is None else (f"{_SELECT} AND kind = ?", (kind,))
    while batch := _batch(folder, f"{select} ORDER BY seq LIMIT {_BATCH}", (after + 1, *values)):
        yield from batch
        reached = batch[-1][0]
        if not isinstance(reached, int) or reached <= after:
            raise corrupt("its pages are not in order any more", str(folder / DATABASE), None)
        after = reached


def _batch(folder: Path, select: str, values: tuple[object, ...]) -> list[RawRow]:
    with closing(connect(folder)) as connection:
        try:
            return connection.execute(select, values).fetchall()
        except UNREADABLE as error:
            raise unreadable(folder / DATABASE, error) from error


class FrameTable:
    """The small frames of a run, one at a time; reads nothing between calls and so hinders no writer.

    Use it in a ``with`` block, or `close` it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / DATABASE
        self._connection = connect(folder)
        self._present = bool(
            self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'frames' AND type = 'table'").fetchone()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def content(self, name: str) -> bytes | None:
        """Return the stored bytes of a frame, or None if it is not here.

        Raises
        ------
        JournalCorrupt
            SQLite cannot make sense of the file.
        """
        found = self._all("SELECT content FROM frames WHERE name = ?", name)
        return bytes(found[0][0]) if found and isinstance(found[0][0], bytes) else None

    def names(self, after: str = "") -> Iterator[str]:
        """Yield the names of all frames here, in order."""
        while batch := self._all("SELECT name FROM frames WHERE name > ? ORDER BY name LIMIT 500", after):
            names = [bytes(row[0]).decode("utf-8", "replace") for row in batch if isinstance(row[0], bytes)]
            yield from names
            if not names or names[-1] <= after:
                return
            after = names[-1]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _all(self, select: str, value: str) -> list[tuple[Any, ...]]:
        if not self._present:
            return []
        try:
            return self._connection.execute(select, (value,)).fetchall()
        except UNREADABLE as error:
            raise unreadable(self._path, error) from error


def decode(raw: RawRow, where: str) -> Row:
    """Return a stored row with every column of the type it was written with.

    Raises
    ------
    JournalCorrupt
        A column has another type, or its text is not UTF-8.
    """
    seq, kind, step, time_s, *rest = raw
    number = seq if isinstance(seq, int) else None
    if number is None or not isinstance(time_s, float) or not (step is None or isinstance(step, int)):
        raise corrupt("a number is stored as something else", where, number)
    texts: list[str] = []
    for place, text in enumerate((kind, *rest)):
        if not isinstance(text, bytes):
            raise corrupt("a text is stored as something else", where, number)
        try:
            texts.append((unpack(text) if place == BODY else text).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise corrupt("a text is not UTF-8 any more", where, number) from error
        except ValueError as error:
            raise corrupt(f"its body cannot be unpacked: {error}", where, number) from error
    name, wall, body, previous, own = texts
    return Row(number, name, step, time_s, wall, body, previous, own)
