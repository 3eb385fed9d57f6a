"""Whether there is a run in a folder, said before anything is tried with it."""

from __future__ import annotations

from pathlib import Path

from autoscope.errors import DataError
from autoscope.journal import Journal, is_vacant


def require_run(folder: Path) -> None:
    """Refuse a folder that holds no run.

    Raises
    ------
    DataError
        It has no journal.
    """
    if not (folder / "journal.sqlite").is_file():
        raise DataError(
            "is not a run folder: it has no journal.sqlite", where=str(folder), remedy="See 'autoscope runs'"
        )


def require_record(folder: Path) -> None:
    """Refuse a folder that holds no run, or one in which nothing is recorded yet.

    Raises
    ------
    DataError
        It has no journal, or no record in it.
    """
    require_run(folder)
    if is_vacant(folder):
        what = "nothing is recorded here: the process was killed before the configuration was written"
        remedy = "Nothing is lost: start the run again; this folder can be deleted"
        raise DataError(what, where=str(folder), remedy=remedy)
    if Journal.is_blank(folder):
        what = "nothing is recorded here yet: the run is only just beginning, or was killed before its first record"
        raise DataError(what, where=str(folder), remedy=f"'autoscope resume {folder}' begins it")
