"""One experiment of a queue."""

from __future__ import annotations

import enum

from autoscope.config import Document
from autoscope.engine.assemble import Resolved, resolve
from autoscope.engine.events import RunEnd
from autoscope.records import Value


class EntryStatus(enum.StrEnum):
    """What has become of an experiment."""

    WAITING = "waiting"
    RUNNING = "running"
    """It has a run folder; where nobody runs it, its process was killed, and it is taken up again."""
    STOPPED = "stopped"
    """A person stopped the queue while it ran; it is taken up again when the queue is run again."""
    DONE = "done"
    FAILED = "failed"
    """It could not begin or go on; the night went on without it."""
    REMOVED = "removed"


OPEN = (EntryStatus.RUNNING, EntryStatus.STOPPED, EntryStatus.WAITING)
"""What is still to be done, in the order in which it is taken."""


class Entry(Value):
    """One experiment: its configuration as it was when it was added, and what has become of it."""

    number: int
    """Given once, never again."""
    name: str
    source: str
    """File the configuration came from, for errors."""
    text: str
    """Its content when it was added: later changes of the file change nothing."""
    overrides: tuple[str, ...] = ()
    status: EntryStatus = EntryStatus.WAITING
    folder: str = ""
    """Its run folder, known before anything of the run exists."""
    reason: str = ""
    attempts: int = 0
    """How often it was begun or taken up."""
    added: str = ""
    begun: str = ""
    ended: str = ""
    end: RunEnd | None = None
    """How its run ended, where it has one that did."""

    def resolved(self) -> Resolved:
        """Return its validated configuration.

        Raises
        ------
        ConfigError
            It is wrong, with the line of the file it came from.
        """
        document = Document(self.text, self.source)
        for assignment in self.overrides:
            document.override(assignment)
        document.data.setdefault("end", {})  # an unattended instrument is parked, unless the experiment says otherwise
        return resolve(document)
