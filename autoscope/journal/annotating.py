"""Appending an annotation to the journal of a run that is over."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from autoscope.clock import SystemClock
from autoscope.errors import ConfigError, JournalError
from autoscope.identity import load_or_make
from autoscope.journal.annotation import Annotation
from autoscope.journal.layout import DATABASE, LOCK
from autoscope.journal.lock import is_held
from autoscope.journal.reader import JournalReader
from autoscope.journal.signing import Signer
from autoscope.journal.writer import Journal


def annotate(
    folder: Path,
    *,
    who: str | None = None,
    note: str = "",
    corrections: Mapping[str, str] | None = None,
    tags: tuple[str, ...] = (),
    signer: Signer | None = None,
) -> int:
    """Append an annotation to a run and return the number of its record.

    Parameters
    ----------
    folder : Path
        The run's folder.
    who : str, optional
        Who says so; the login name by default.
    note : str
        Free text.
    corrections : mapping, optional
        New texts for name, sample, operator or instrument.
    tags : tuple of str
        Words to find the run by.
    signer : Signer, optional
        Signs the record; the installation's identity by default.

    Raises
    ------
    ConfigError
        It says nothing, nobody says it, or it corrects what cannot be corrected.
    JournalError
        No run here, the run goes on, or it never began.
    """
    try:
        body = Annotation(who=who or getpass.getuser(), note=note, corrections=dict(corrections or {}), tags=tags)
    except ValidationError as error:
        what = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(what, where=str(folder), remedy="See 'autoscope runs annotate --help'") from error
    if (folder / DATABASE).is_file() and is_held(folder / LOCK):
        remedy = "Wait for its end; until then write to it through the run itself"
        raise JournalError("the run goes on: it cannot be annotated from outside", where=str(folder), remedy=remedy)
    JournalReader.open(folder).started()
    with Journal.reopen(folder, clock=SystemClock(), signer=signer or load_or_make()) as journal:
        return journal.append("annotation", body)
