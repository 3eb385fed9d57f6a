"""A file for HDF5 that stays calm when the disk fails: HDF5 itself can then neither go on nor be closed cleanly."""

from __future__ import annotations

import io
from pathlib import Path


class CalmFile(io.FileIO):
    """A file that keeps the first error of the disk for `check`, and from then on swallows what is written.

    The export is going to be thrown away, so what HDF5 writes while it is closed need not go anywhere.

    Parameters
    ----------
    path : Path
        The new file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self.error: OSError | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Write all the bytes, or none once the disk has failed; return how many there were."""
        view, done = memoryview(data).cast("B"), 0
        try:
            while self.error is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.error = error
        if self.error is not None:
            self.seek(len(view) - done, io.SEEK_CUR)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, unless the disk has failed."""
        try:
            return super().truncate(size) if self.error is None else size or 0
        except OSError as error:
            self.error = error
            return size or 0

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read; what was swallowed is read as zeros."""
        found = super().readinto(buffer) or 0
        view = memoryview(buffer).cast("B")
        if self.error is not None:
            view[found:] = bytes(len(view) - found)
            return len(view)
        return found

    def check(self) -> None:
        """Raise the error of the disk, if there was one.

        Raises
        ------
        OSError
            As the disk gave it.
        """
        if self.error is not None:
            raise self.error
