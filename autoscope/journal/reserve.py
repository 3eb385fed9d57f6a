"""Space kept aside so that the last words of a run can be written on a full disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

from autoscope.journal.disk import Disk, write_durably

RESERVE_BYTES = 1 << 20
"""Room for some hundred records; a run's last words are fewer than ten."""


class Reserve:
    """A file full of incompressible bytes, removed when its space is needed."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk
        self.released = False
        # not zeros: file systems that compress would keep no space for them
        write_durably(disk, path, hashlib.shake_256(b"autoscope reserve").digest(RESERVE_BYTES))

    def release(self) -> bool:
        """Give the space back; return whether there was any left to give."""
        if self.released:
            return False
        self.released = True
        self._disk.remove(self._path)
        return True
