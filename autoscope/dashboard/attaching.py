"""From what somebody typed, or nothing, to a run that can be looked at."""

from __future__ import annotations

from pathlib import Path

from autoscope.dashboard.maps import FolderMaps, MapSource, NoMaps
from autoscope.dashboard.source import FolderSource, Source
from autoscope.errors import DataError
from autoscope.journal.layout import DATABASE, LOCK
from autoscope.journal.lock import is_held

RUNS = Path("runs")


def attach(what: str | None, runs: Path = RUNS) -> Source:
    """Return the source of a run: a folder, the name of one under ``runs``, or the newest where nothing is given.

    Raises
    ------
    DataError
        No such run.
    JournalError
        It cannot be read.
    """
    return FolderSource(newest(runs) if what is None else _folder(what, runs))


def maps_of(source: Source) -> MapSource:
    """Return where the model's maps of a run come from."""
    return FolderMaps(source.folder) if isinstance(source, FolderSource) else NoMaps()


def newest(runs: Path) -> Path:
    """Return the run that is being written to now, or else the one written to last.

    Raises
    ------
    DataError
        There is none.
    """
    found = [path.parent for path in runs.glob(f"*/{DATABASE}")]
    if not found:
        raise DataError(
            "no runs here", where=str(runs.absolute()), remedy="Give a run folder, or start one with 'autoscope run'"
        )
    return max(found, key=lambda folder: (is_held(folder / LOCK), _written(folder)))


def _folder(what: str, runs: Path) -> Path:
    for folder in (Path(what), runs / what):
        if (folder / DATABASE).is_file():
            return folder
    raise DataError(
        "is not a run folder: it has no journal.sqlite", where=what, remedy="See 'autoscope runs' for what there is"
    )


def _written(folder: Path) -> float:
    """Return when something was last written to a run: its database, or the log beside it."""
    paths = (folder / DATABASE, folder / f"{DATABASE}-wal")
    return max(path.stat().st_mtime for path in paths if path.is_file())
