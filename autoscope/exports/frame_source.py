"""The frames of a run, each verified, from wherever the journal keeps it; one connection for a whole export."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Self

from autoscope.errors import JournalCorrupt
from autoscope.exports.snapshot import Act
from autoscope.journal import frames
from autoscope.journal.layout import DATABASE, FRAMES
from autoscope.journal.store import FrameTable
from autoscope.records import Frame, FrameRef


class FrameSource:
    """Use it in a ``with`` block.

    Parameters
    ----------
    folder : Path
        The run's folder.
    skip_damaged : bool
        Note frames that do not verify instead of refusing.
    """

    def __init__(self, folder: Path, *, skip_damaged: bool) -> None:
        self._folder, self._skip = folder, skip_damaged
        self._table = FrameTable(folder)
        self.notes: list[str] = []
        """One for each frame that was left out."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._table.close()

    def load(self, act: Act, ref: FrameRef) -> Frame | None:
        """Return a frame; None where it is damaged and shall be left out.

        Raises
        ------
        JournalCorrupt
            It is absent or does not match its reference.
        """
        try:
            return frames.decode(ref, self._stored(ref), f"frame {ref.file}")
        except JournalCorrupt as error:
            self._leave_out(error, act, ref)
            return None

    def content(self, act: Act, ref: FrameRef) -> bytes | None:
        """Return a frame as the bytes of its ``.npy`` file; None where it is damaged and shall be left out.

        Raises
        ------
        JournalCorrupt
            It is absent or does not match its hash.
        """
        try:
            stored = self._stored(ref)
            if hashlib.sha256(stored).hexdigest() != ref.sha256:
                raise JournalCorrupt("does not match its sha256", where=f"frame {ref.file}")
        except JournalCorrupt as error:
            self._leave_out(error, act, ref)
            return None
        return stored

    def file(self, ref: FrameRef) -> Path | None:
        """Return the file a frame lies in; None where it lies in the journal.

        Raises
        ------
        JournalCorrupt
            The reference points outside the folder.
        """
        path = frames.locate(self._folder / FRAMES, ref)
        return path if path.is_file() else None

    def _stored(self, ref: FrameRef) -> bytes:
        path = self.file(ref)
        try:
            stored = path.read_bytes() if path else self._table.content(ref.file)
        except OSError as error:
            raise JournalCorrupt(f"cannot be read: {error.strerror}", where=str(path)) from error
        if stored is None:
            where = f"neither in {self._folder / FRAMES} nor in {self._folder / DATABASE}"
            raise JournalCorrupt(f"is absent: {where}", where=f"frame {ref.file}")
        return stored

    def _leave_out(self, error: JournalCorrupt, act: Act, ref: FrameRef) -> None:
        if not self._skip:
            raise JournalCorrupt(
                error.what,
                where=f"step {act.step}: frame {ref.file}",
                remedy="Use --skip-damaged to export the rest; 'autoscope verify' names everything that is damaged",
            ) from error
        self.notes.append(f"step {act.step}: frame {ref.file} was left out: {error.what}")
