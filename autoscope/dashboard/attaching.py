"""From what somebody typed, or nothing, to a run that can be looked at and steered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoscope.dashboard.maps import FolderMaps, MapSource, NoMaps
from autoscope.dashboard.source import FolderSource, Source
from autoscope.dashboard.steersman import BlankNow, Steersman
from autoscope.errors import AutoscopeError, DataError
from autoscope.journal import JournalReader
from autoscope.journal.layout import DATABASE, LOCK
from autoscope.journal.lock import is_held

RUNS = Path("runs")


@dataclass(frozen=True)
class Attached:
    """A run, however it is reached."""

    source: Source
    maps: MapSource
    steersman: Steersman | None
    """None where the run is over, or nobody here may steer it."""


def attach(what: str | None, runs: Path = RUNS, *, who: str = "", key: Path | None = None) -> Attached:
    """Return a run: a folder, the name of one under ``runs``, an address, or the newest where nothing is given.

    Parameters
    ----------
    what : str, optional
        Folder, name or ``tcp://host:port``.
    runs : Path
        Holds the run folders.
    who : str
        The person, for the record; the login name by default.
    key : Path, optional
        File of our key for the bus, where the run or its instrument wants one.

    Raises
    ------
    DataError
        No such run.
    JournalError
        It cannot be read.
    BusError
        Nobody answers at the address, or our key is not known there.
    """
    if what is not None and "://" in what:
        return _at_address(what, who, key)
    folder = newest(runs) if what is None else _folder(what, runs)
    source = FolderSource(folder)
    return Attached(source, FolderMaps(folder), _steersman(folder, who, key) if source.alive() else None)


def source_of(what: str | None, runs: Path = RUNS, key: Path | None = None) -> Source:
    """Return the record of a run, to be looked at only; parameters and errors as `attach`."""
    if what is not None and "://" in what:
        from autoscope.dashboard.remote import AddressSource
        from autoscope.steering.remote import connect

        return AddressSource(connect(what, key))
    return FolderSource(newest(runs) if what is None else _folder(what, runs))


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


def _steersman(folder: Path, who: str, key: Path | None) -> Steersman | None:
    from autoscope.steering.helm import helm_of

    try:
        return Steersman(helm_of(folder, who=who), _blanking(JournalReader.open(folder).started(), key))
    except AutoscopeError:  # it has not begun, or only its owner may: it can be watched all the same
        return None


def _blanking(header: dict[str, object], key: Path | None) -> BlankNow | None:
    from autoscope.dashboard.emergency import blanking, bus_address

    address = bus_address(header)
    return blanking(address, key) if address else None


def _at_address(address: str, who: str, key: Path | None) -> Attached:
    from autoscope.dashboard.remote import AddressSource
    from autoscope.steering.remote import connect, remote_helm

    source = AddressSource(connect(address, key))
    steersman = Steersman(remote_helm(address, key, who=who))
    return Attached(source, NoMaps(), steersman)
