"""A disk that fails on purpose: full, broken, or dead at any call, once or for ever."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from autoscope.journal import LocalDisk
from autoscope.journal.disk import Buffer, Statement

SIGKILL = 9  # the signal module has no such name on Windows, where any number ends the process

ROOM_BYTES = 4096
"""The smallest file whose removal makes room on a full disk."""

Ailment = Literal["full", "broken", "dead"]


class FaultyDisk(LocalDisk):
    """A `Disk` that works until a given call.

    Parameters
    ----------
    at : int
        Which call fails first, counted from 1 over all that change something; 0 never fails, it only counts.
    ailment : "full", "broken" or "dead"
        ENOSPC, EIO, or SIGKILL to this very process.
    for_ever : bool
        Whether all later calls fail too; a full disk recovers when a file of `ROOM_BYTES` or more is
        removed from it, a broken one never.
    done_first : bool
        Whether the failing call does its work before it fails, as when the answer of the disk gets lost. Otherwise a
        failing write leaves half of its bytes, and other calls do nothing.
    free : int, optional
        What `free_bytes` answers; the truth by default.

    Attributes
    ----------
    calls : list of str
        Names of the calls made so far.

    Examples
    --------
    >>> import tempfile
    >>> disk = FaultyDisk(at=1, ailment="full")
    >>> with tempfile.TemporaryFile() as file:
    ...     disk.write(file, b"abcd")
    Traceback (most recent call last):
    OSError: [Errno 28] No space left on device
    """

    def __init__(
        self,
        at: int = 0,
        ailment: Ailment = "broken",
        *,
        for_ever: bool = False,
        done_first: bool = False,
        free: int | None = None,
    ) -> None:
        self._at, self._ailment, self._for_ever = at, ailment, for_ever
        self._done_first, self._free = done_first, free
        self.calls: list[str] = []

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Write all the bytes, or half of them and fail."""
        half = data[: len(data) // 2]
        works = super().write
        self._act("write", lambda: works(file, data), lambda: works(file, half))

    def fsync(self, file: BinaryIO) -> None:
        """Sync a file, or fail."""
        works = super().fsync
        self._act("fsync", lambda: works(file))

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, or fail."""
        works = super().rename
        self._act("rename", lambda: works(source, target))

    def fsync_folder(self, folder: Path) -> None:
        """Sync a folder, or fail."""
        works = super().fsync_folder
        self._act("fsync_folder", lambda: works(folder))

    def execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        """Run a statement, or fail as SQLite does."""
        works = super().execute
        self._act("execute", lambda: works(connection, statement, values), sql=True)

    def commit(self, connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
        """Run a transaction, or fail as SQLite does: undone, or done with the answer lost."""
        works = super().commit
        self._act("commit", lambda: works(connection, statements), sql=True)

    def remove(self, path: Path) -> None:
        """Remove a file; a full disk then has space again, if the file was large enough."""
        roomy = path.is_file() and path.stat().st_size >= ROOM_BYTES
        super().remove(path)
        if roomy and self._ailment == "full":
            self._at = 0

    def free_bytes(self, folder: Path) -> int:
        """Return what was agreed on, or the truth."""
        return super().free_bytes(folder) if self._free is None else self._free

    def _act(
        self, name: str, work: Callable[[], None], half: Callable[[], None] | None = None, *, sql: bool = False
    ) -> None:
        self.calls.append(name)
        count = len(self.calls)
        if not self._at or not (count == self._at or (self._for_ever and count > self._at)):
            work()
            return
        if self._done_first:
            work()
        elif half:
            half()
        self._fail(sql)

    def _fail(self, sql: bool) -> None:
        if self._ailment == "dead":
            os.kill(os.getpid(), SIGKILL)
        full = self._ailment == "full"
        if sql:
            error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR
            raise error
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number))


class CarelessDisk(LocalDisk):
    """A `Disk` that flushes nothing, for tests and benchmarks that write much and fear no power cut."""

    def fsync(self, file: BinaryIO) -> None:
        """Do nothing."""

    def fsync_folder(self, folder: Path) -> None:
        """Do nothing."""

    def extend(self, path: Path, size: int) -> None:
        """Do nothing: it would only save time in flushing."""

    def execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        """Run one SQL statement; the one that asks for flushes is turned round."""
        super().execute(connection, statement.replace("synchronous = FULL", "synchronous = OFF"), values)
