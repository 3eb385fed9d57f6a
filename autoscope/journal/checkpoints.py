"""Checkpoints: what a policy and a simulated instrument knew at some point of a run, to be resumed from quickly.

They lie beside the chain, since all that they hold follows from it; their hashes lie in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from autoscope.journal.disk import Disk, is_full, write_durably
from autoscope.journal.layout import CHECKPOINTS

EVENT = "checkpoint"
"""Of the note that tells of one."""
KEPT = 2
"""So many of the newest are kept."""
SPARE_BYTES = 1 << 24
"""Room that must be left on the disk beside a checkpoint: the record itself comes first."""


class Checkpoints:
    """Keeps the newest checkpoints of one run.

    Parameters
    ----------
    folder : Path
        The run's folder.
    disk : Disk
        Where files become durable.
    """

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder / CHECKPOINTS, disk

    def store(self, told: int, data: bytes) -> dict[str, Any]:
        """Keep a checkpoint and return what a note says of it; nothing where the disk has no room to spare.

        Raises
        ------
        OSError
            The disk failed otherwise than by being full.
        """
        self._folder.mkdir(exist_ok=True)
        if self._disk.free_bytes(self._folder) < 2 * len(data) + SPARE_BYTES:
            return {}
        path = self._folder / f"{told:07d}.json.z"
        try:
            write_durably(self._disk, path, data)
        except OSError as error:
            if is_full(error):
                return {}
            raise
        return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    def tidy(self) -> None:
        """Remove all but the newest."""
        for path in sorted(self._folder.glob("*.json.z"))[:-KEPT]:
            with suppress(OSError):
                self._disk.remove(path)


def load(folder: Path, note: Mapping[str, Any]) -> bytes | None:
    """Return the checkpoint of a run that a note tells of; None where it is gone or not the one noted."""
    name = str(note.get("file", ""))
    if not name or name != Path(name).name:
        return None
    try:
        data = (folder / CHECKPOINTS / name).read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == note.get("sha256") else None
