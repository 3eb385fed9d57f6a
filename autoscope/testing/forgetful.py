"""A disk that loses, when the power fails, all that it was not told to flush."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autoscope.journal.disk import Buffer, LocalDisk, Statement
from autoscope.journal.layout import DATABASE

LOG = f"{DATABASE}-wal"


class PowerCut(BaseException):
    """The computer stops here; no code of the run may catch this."""


class ForgetfulDisk(LocalDisk):
    """A `Disk` that keeps what a power cut would leave in a folder of its own.

    What is on the disk for certain: contents of files that were flushed, names in folders that were flushed, and
    transactions that were committed. Whatever else was written is kept, torn or lost, as chance will have it.

    Parameters
    ----------
    folder : Path
        Of the run.
    survivor : Path
        Becomes what is found after the power cut.
    at : int
        At which call the power fails, counted from 1; 0 never.
    rng : numpy.random.Generator
        Decides how much of what was under way got to the disk.

    Attributes
    ----------
    calls : list of str
        Names of the calls made so far.
    """

    def __init__(self, folder: Path, survivor: Path, at: int, rng: np.random.Generator) -> None:
        self._folder, self._survivor, self._at, self._rng = folder, survivor, at, rng
        self.calls: list[str] = []
        self._flushed: dict[int, bytes] = {}

    def write(self, file: BinaryIO, data: Buffer) -> None:
        """Write; nothing of it is certain yet."""
        self._call("write")
        super().write(file, data)

    def fsync(self, file: BinaryIO) -> None:
        """Flush a file: its content is certain, under the name it has once that is certain."""
        path = Path(file.name)
        self._call("fsync", lambda: self._put(path, self._part(path.read_bytes())))
        super().fsync(file)
        self._flushed[path.stat().st_ino] = path.read_bytes()
        if (self._survivor / path.relative_to(self._folder)).is_file():
            self._put(path, path.read_bytes())

    def rename(self, source: Path, target: Path) -> None:
        """Rename; which name is found after a power cut is not certain yet."""
        self._call("rename")
        super().rename(source, target)

    def fsync_folder(self, folder: Path) -> None:
        """Flush a folder: its names are certain."""
        self._call("fsync_folder", lambda: self._names(folder) if self._rng.random() < 0.5 else None)
        super().fsync_folder(folder)
        self._names(folder)

    def execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[object]) -> None:
        """Run a statement; what it changed is certain when it returns."""
        self._call("execute")
        super().execute(connection, statement, values)
        self._database()

    def commit(self, connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
        """Commit; if the power fails meanwhile, SQLite's log has grown by some bytes of the transaction."""
        self._refuse_without_power()
        log = self._folder / LOG
        before = log.stat().st_size if log.is_file() else 0
        cut = self._next_is_the_last()
        super().commit(connection, statements)
        if cut and log.is_file():
            written = log.read_bytes()
            (self._survivor / LOG).write_bytes(written[: int(self._rng.integers(before, len(written) + 1))])
        self._call("commit")
        self._database()

    def extend(self, path: Path, size: int) -> None:
        """Do nothing, so that there is less to keep."""

    def _refuse_without_power(self) -> None:
        if self._at and len(self.calls) >= self._at:
            raise PowerCut

    def _next_is_the_last(self) -> bool:
        return self._at == len(self.calls) + 1

    def _call(self, name: str, last: Callable[[], object] = lambda: None) -> None:
        self._refuse_without_power()
        self.calls.append(name)
        if len(self.calls) == self._at:
            last()
            raise PowerCut

    def _part(self, content: bytes) -> bytes:
        return content[: int(self._rng.integers(0, len(content) + 1))]

    def _put(self, path: Path, content: bytes) -> None:
        target = self._survivor / path.relative_to(self._folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _names(self, folder: Path) -> None:
        """Let the survivor have the files of a folder; content that was not flushed is lost."""
        if not folder.is_relative_to(self._folder):
            return
        target = self._survivor / folder.relative_to(self._folder)
        target.mkdir(parents=True, exist_ok=True)
        there = {path.name: path for path in folder.iterdir() if path.is_file() and not path.name.startswith(DATABASE)}
        for gone in {path.name for path in target.iterdir() if path.is_file()} - there.keys():
            if not gone.startswith(DATABASE):
                (target / gone).unlink()
        for name, path in there.items():
            (target / name).write_bytes(self._flushed.get(path.stat().st_ino, b""))

    def _database(self) -> None:
        self._survivor.mkdir(parents=True, exist_ok=True)
        for name in (DATABASE, LOG):
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, self._survivor / name)
            else:
                (self._survivor / name).unlink(missing_ok=True)
