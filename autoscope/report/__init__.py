"""The morning report: one self-contained page that tells what a run found, what it cost and what went wrong.

It reads the journal and nothing else, so it is the same for every policy, and can be written again at any time,
also of a run that is still going.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoscope.errors import DataError

if TYPE_CHECKING:
    from autoscope.records import Frame, FrameRef
    from autoscope.report.story import RunStory

FOLDER = Path("report")
REPORT = FOLDER / "index.html"
"""Where the page lies inside a run folder."""
FOLLOW_UP = FOLDER / "follow_up.yaml"
"""A configuration that visits what should be looked at next."""
Form = Literal["html", "markdown", "pdf"]
FILES: dict[Form, Path] = {"html": REPORT, "markdown": FOLDER / "report.md", "pdf": FOLDER / "report.pdf"}


def write(folder: Path, form: Form = "html") -> Path:
    """Write the report of a run and return its path.

    Parameters
    ----------
    folder : Path
        The run's folder; the run may be finished, stopped, failed, cut off or still going.
    form : str
        ``html`` is the whole report in one file, with the configuration of a follow-up run beside it; ``markdown``
        (with its pictures beside it) and ``pdf`` are short.

    Raises
    ------
    JournalError
        No journal in the folder, or one this version cannot read.
    DataError
        The report cannot be written.
    """
    from autoscope.journal import JournalReader  # numpy, scipy and matplotlib come with these: only when asked for
    from autoscope.report.learnt import as_learnt_from
    from autoscope.report.reading import read

    story = read(folder)
    load = as_learnt_from(story, JournalReader.open(folder).load_frame)
    for name, data in _files(form, story, load).items():
        _put(folder / FOLDER / name, data)
    return folder / FILES[form]


def _files(form: Form, story: RunStory, load: Callable[[FrameRef], Frame]) -> dict[str, bytes]:
    """Return what to write by its name in the folder of the report, the report itself last."""
    if form == "html":
        from autoscope.report.follow_up import follow_up
        from autoscope.report.foresight import suggestions
        from autoscope.report.page import render

        after = follow_up(story, suggestions(story))
        return ({FOLLOW_UP.name: after.encode()} if after else {}) | {REPORT.name: render(story, load).encode()}
    from autoscope.report.brief import brief

    told = brief(story, load)
    if form == "pdf":
        from autoscope.report.pdf import pdf

        return {FILES[form].name: pdf(told, story.clock)}
    from autoscope.report.markdown import markdown

    text, pictures = markdown(told, story.clock)
    return pictures | {FILES[form].name: text.encode()}


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        raise DataError(
            f"the report cannot be written: {error.strerror}",
            where=str(path),
            remedy="Check the disk's space and rights",
        ) from error
