"""Where a run is read from: a folder on this machine, or an agent elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from autoscope.journal import JournalReader
from autoscope.journal.layout import DATABASE, LOCK
from autoscope.journal.lock import is_held
from autoscope.journal.store import UNREADABLE, RawRow, connect, unreadable
from autoscope.records import Frame, FrameRef

_SELECT = "SELECT seq, kind, step, time_s, wall, body, previous, hash FROM records"


class Source(Protocol):
    """Read-only; may be asked from any thread, one call at a time."""

    name: str

    def rows(self, after: int, limit: int) -> Sequence[RawRow]:
        """Return the next rows as stored, in order.

        Raises
        ------
        JournalError
            The record cannot be read.
        BusError
            Nobody answers.
        """

    def row(self, seq: int) -> RawRow | None:
        """Return one row; raises as `rows`."""

    def frame(self, ref: FrameRef) -> Frame:
        """Return a frame, verified; raises as `rows`."""

    def alive(self) -> bool:
        """Return whether a process writes to the run now."""

    def close(self) -> None:
        """Let go; twice is fine."""


class FolderSource:
    """A run's folder on this machine; nothing stays open between calls, so the writer is never hindered.

    Parameters
    ----------
    folder : Path
        The run's folder.

    Raises
    ------
    JournalError
        No journal there, or one this version cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.resolve().name
        self._reader = JournalReader.open(folder)

    def rows(self, after: int, limit: int) -> Sequence[RawRow]:
        """Return the next rows; see `Source.rows`."""
        return self._all(f"{_SELECT} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))

    def row(self, seq: int) -> RawRow | None:
        """Return one row; see `Source.row`."""
        found = self._all(f"{_SELECT} WHERE seq = ?", (seq,))
        return found[0] if found else None

    def frame(self, ref: FrameRef) -> Frame:
        """Return a frame, verified; see `Source.frame`."""
        return self._reader.load_frame(ref)

    def alive(self) -> bool:
        """Return whether a process holds the run's lock."""
        return is_held(self.folder / LOCK)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _all(self, select: str, values: tuple[int, ...]) -> list[RawRow]:
        with closing(connect(self.folder)) as connection:
            try:
                return connection.execute(select, values).fetchall()
            except UNREADABLE as error:
                raise unreadable(self.folder / DATABASE, error) from error
