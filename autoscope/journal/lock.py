"""One writer a run: a lock the operating system drops when its process dies."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from autoscope.errors import JournalError


class WriterLock:
    """Holds the right to write to a run until released.

    Raises
    ------
    JournalError
        Another writer holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        try:
            _lock(self._file)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(20).decode("ascii", "replace").strip()
            self._file.close()
            raise JournalError(
                "another process is writing to this run",
                where=str(path),
                value=f"process {holder}" if holder else None,
                remedy="Wait for it to end, or stop it; reading needs no lock",
            ) from error
        try:
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n".encode())
            self._file.flush()
        except OSError:  # a full disk
            with suppress(OSError):  # closing tries to write once more
                self._file.close()
            raise

    def release(self) -> None:
        """Let others write; twice is fine."""
        self._file.close()


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lock now; changes nothing."""
    try:
        with path.open("rb") as file:
            _lock(file)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


if sys.platform == "win32":  # pragma: no cover

    def _lock(file: BinaryIO) -> None:
        import msvcrt

        # beyond the text, because Windows locks also forbid reading what they cover
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:

    def _lock(file: BinaryIO) -> None:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
