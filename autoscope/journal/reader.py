"""Reading a run from its folder, also while it is being written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from autoscope.journal import checkpoints, frames
from autoscope.journal.chain import GENESIS, Record, RecordKind, corrupt, parse
from autoscope.journal.layout import DATABASE, FRAMES
from autoscope.journal.recorder import Readable
from autoscope.journal.store import FrameTable, connect, decode, raw_rows
from autoscope.records import Frame, FrameRef


class JournalReader(Readable):
    """A run, read-only; never hands out a record or a frame that does not match its hash.

    Keeps nothing open between calls, so it needs no closing and never hinders the writer.

    Parameters
    ----------
    folder : Path
        The run's folder; use `open`, which looks whether there is one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder / DATABASE)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return a reader of the run in a folder.

        Raises
        ------
        JournalError
            No journal there, or one this version cannot read.
        """
        with closing(connect(folder)):
            return cls(folder)

    def records(self, kind: RecordKind | None = None, after: int = 0) -> Iterator[Record]:
        """Yield the records with a sequence number above ``after``, in order, optionally of one kind only.

        Raises
        ------
        JournalCorrupt
            A record does not match its hash or does not follow the one before.
        """
        before: Record | None = None
        for raw in raw_rows(self.folder, after, kind):
            record = parse(decode(raw, str(self)), str(self))
            if kind is None and not _follows(before, record, after):
                raise corrupt(
                    "does not follow the record before: one was removed, inserted or moved", str(self), record.seq
                )
            before = record
            yield record

    def load_frame(self, ref: FrameRef) -> Frame:
        """Return a frame, verified.

        Raises
        ------
        JournalCorrupt
            It is absent or does not match the reference.
        """
        path = frames.locate(self.folder / FRAMES, ref)
        if not path.is_file():
            with FrameTable(self.folder) as table:
                content = table.content(ref.file)
            if content is not None:
                return frames.decode(ref, content, f"{self}: frame {ref.file}")
        return frames.load(self.folder / FRAMES, ref)

    def load_checkpoint(self, note: Mapping[str, Any]) -> bytes | None:
        """Return the checkpoint that a note tells of, verified; None where it is gone or another."""
        return checkpoints.load(self.folder, note)


def _follows(before: Record | None, record: Record, after: int) -> bool:
    if before is not None:
        return record.seq == before.seq + 1 and record.previous == before.hash
    return record.seq == after + 1 and (after > 0 or record.previous == GENESIS)
