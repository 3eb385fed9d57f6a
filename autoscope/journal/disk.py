"""The few things a journal asks of a disk, in one place so that a test can make any of them fail."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

Buffer = bytes | memoryview
Statement = tuple[str, Sequence[object]]
"""SQL text and its values."""

PLENTY = 16
"""A file is let grow beforehand where this many times its size is free."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk(Protocol):
    """Where a journal's bytes become durable."""

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Write all the bytes to an open file."""

    def fsync(self, file: BinaryIO) -> None:
        """Return when the bytes of the file are on the disk."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, atomically."""

    def fsync_folder(self, folder: Path) -> None:
        """Return when the names in the folder are on the disk (no-op where folders cannot be synced)."""

    def execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        """Run one SQL statement that is no part of a transaction."""

    def commit(self, connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
        """Run SQL statements as one transaction: when it returns all are on the disk, if it raises none ever is."""

    def extend(self, path: Path, size: int) -> None:
        """Let a file grow with zeros to a size, durably, where there is plenty of space; else do nothing."""

    def remove(self, path: Path) -> None:
        """Remove a file; absent is fine."""

    def free_bytes(self, folder: Path) -> int:
        """Return the space left for files in the folder, in bytes."""


class LocalDisk:
    """The file system of this computer."""

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Write all the bytes to an open file."""
        file.write(data)
        file.flush()

    def fsync(self, file: BinaryIO) -> None:
        """Return when the bytes of the file are on the disk."""
        os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, atomically."""
        source.replace(target)

    def fsync_folder(self, folder: Path) -> None:
        """Return when the names in the folder are on the disk; Windows cannot open folders and needs no sync."""
        if sys.platform == "win32":  # pragma: no cover
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        """Run one SQL statement (the connection is in autocommit mode)."""
        connection.execute(statement, values)

    def commit(self, connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
        """Run SQL statements as one durable transaction."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in statements:
                connection.execute(statement, values)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite itself undoes most; what it undid cannot be undone twice
                connection.execute("ROLLBACK")
            raise

    def extend(self, path: Path, size: int) -> None:
        """Let a file grow with zeros to a size, durably, where there is plenty of space; else do nothing."""
        missing = size - path.stat().st_size
        if missing <= 0 or self.free_bytes(path.parent) < PLENTY * size:
            return
        with path.open("ab") as file:
            self.write(file, bytes(missing))
            self.fsync(file)

    def remove(self, path: Path) -> None:
        """Remove a file; absent is fine."""
        path.unlink(missing_ok=True)

    def free_bytes(self, folder: Path) -> int:
        """Return the space left for files in the folder, in bytes."""
        return shutil.disk_usage(folder).free


def is_full(error: BaseException) -> bool:
    """Return whether an error says that no space is left.

    Examples
    --------
    >>> is_full(OSError(errno.ENOSPC, "no space")), is_full(OSError(errno.EIO, "input/output error"))
    (True, False)
    """
    if isinstance(error, OSError):
        return error.errno in _FULL
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def write_new(disk: Disk, path: Path, parts: Sequence[Buffer]) -> None:
    """Write a file that nothing refers to yet, under its final name; the name itself is durable once its folder is.

    Raises
    ------
    OSError
        Whatever the disk says; if it is full, the unfinished file is removed.
    """
    try:
        with path.open("xb", buffering=0) as file:
            for part in parts:
                disk.write(file, part)
            disk.fsync(file)
    except OSError as error:
        if is_full(error):
            disk.remove(path)
        raise


def write_durably(disk: Disk, path: Path, data: bytes) -> None:
    """Put a file under its name only when all of it is on the disk.

    Raises
    ------
    OSError
        Whatever the disk says; if it is full, the unfinished file is removed.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            disk.write(file, data)
            disk.fsync(file)
        disk.rename(temporary, path)
        disk.fsync_folder(path.parent)
    except OSError as error:
        if is_full(error):
            disk.remove(temporary)
        raise
