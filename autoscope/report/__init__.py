"""The morning report: one self-contained page that tells what a run found, what it cost and what went wrong.

It reads the journal and nothing else, so it is the same for every policy, and can be written again at any time,
also of a run that is still going.
"""

from __future__ import annotations

from pathlib import Path

from autoscope.errors import DataError

REPORT = Path("report", "index.html")
"""Where the page lies inside a run folder."""


def write(folder: Path) -> Path:
    """Write the report of a run and return its path.

    Parameters
    ----------
    folder : Path
        The run's folder; the run may be finished, stopped, failed, cut off or still going.

    Raises
    ------
    JournalError
        No journal in the folder, or one this version cannot read.
    DataError
        The page cannot be written.
    """
    from autoscope.journal import JournalReader  # numpy, scipy and matplotlib come with these: only when asked for
    from autoscope.report.page import render
    from autoscope.report.reading import read

    text = render(read(folder), JournalReader.open(folder).load_frame)
    path = folder / REPORT
    draft = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise DataError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            remedy="Check the disk's space and rights",
        ) from error
    return path
