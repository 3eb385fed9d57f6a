"""The night: one experiment after the other, and none of them ends it for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autoscope.engine.events import RunEnd, RunStatus
from autoscope.errors import AutoscopeError, QueueError
from autoscope.journal.lock import WriterLock
from autoscope.protocols import Clock
from autoscope.queue.entry import Entry, EntryStatus
from autoscope.queue.store import QueueStore

POLL_S = 1.0
"""How often a paused queue looks whether it may go on."""
Say = Callable[[str], None]


class Experiments(Protocol):
    """How one experiment is done; the command line does it as ``run`` and ``resume`` do."""

    def folder_of(self, entry: Entry) -> Path:
        """Return a run folder that nobody has used yet; makes nothing."""

    def begin(self, entry: Entry, folder: Path) -> RunEnd:
        """Run an experiment from its beginning to its end."""

    def go_on(self, folder: Path) -> RunEnd:
        """Take an experiment up where it was cut off or stopped; one that had ended ends again at once."""

    def has_begun(self, folder: Path) -> bool:
        """Return whether there is anything of a run in the folder."""

    @property
    def interrupted(self) -> bool:
        """Whether a person at this terminal asked for the end of everything."""


@dataclass(frozen=True)
class NightEnd:
    """How a night went: numbers of the experiments by what became of them, and whether a person stopped it."""

    done: tuple[int, ...]
    failed: tuple[int, ...]
    stopped: bool


class QueueRunner:
    """Does the experiments of a queue until none is left, a person stops it, or it is killed.

    What it was doing is written down before it is done, so that after kill -9 at any point `run` goes on: an experiment
    that has a record is resumed, one that has none begins.

    Parameters
    ----------
    store : QueueStore
        The queue.
    experiments : Experiments
        How one is done.
    clock : Clock
        Passes the time of a pause.
    say : callable
        Told what happens, for people.
    """

    def __init__(self, store: QueueStore, experiments: Experiments, clock: Clock, say: Say) -> None:
        self._store, self._experiments, self._clock, self._say = store, experiments, clock, say
        self._done: list[int] = []
        self._failed: list[int] = []
        self._told_paused = False

    def run(self) -> NightEnd:
        """Do what is to be done and return how it went.

        Raises
        ------
        QueueError
            Another process runs this queue.
        """
        lock = _locked(self._store.path)
        try:
            while (entry := self._next()) is not None:
                self._do(entry)
                if self._experiments.interrupted:
                    return self._end(stopped=True)
        except KeyboardInterrupt:
            self._say("stopped between two experiments; 'autoscope queue run' goes on")
            return self._end(stopped=True)
        finally:
            lock.release()
        return self._end(stopped=False)

    def _end(self, *, stopped: bool) -> NightEnd:
        return NightEnd(tuple(self._done), tuple(self._failed), stopped)

    def _next(self) -> Entry | None:
        while (entry := self._store.next()) is not None and self._store.paused:
            if not self._told_paused:
                self._say("paused: the next experiment begins after 'autoscope queue resume'")
            self._told_paused = True
            self._clock.wait(POLL_S)
        self._told_paused = False
        return entry

    def _do(self, entry: Entry) -> None:
        name = f"experiment {entry.number} ({entry.name})"
        try:
            end = self._run(entry, name)
        except KeyboardInterrupt:
            self._store.finish(entry.number, EntryStatus.STOPPED, "interrupted before its run could be closed")
            raise
        except AutoscopeError as error:
            self._skip(entry, name, f"{type(error).__name__}: {error}")
            return
        except Exception as error:  # a bug in one plug-in must not cost the others their night
            self._skip(entry, name, f"{type(error).__name__}: {error}")
            return
        self._conclude(entry, name, end)

    def _run(self, entry: Entry, name: str) -> RunEnd:
        begun = bool(entry.folder) and self._experiments.has_begun(Path(entry.folder))
        # a folder without a run in it is that of a process killed while it made it: nothing was begun
        folder = Path(entry.folder) if begun else self._experiments.folder_of(entry)
        self._store.begin(entry.number, folder)
        self._say(f"{name} {'goes on' if begun else 'begins'}: {folder}")
        return self._experiments.go_on(folder) if begun else self._experiments.begin(entry, folder)

    def _skip(self, entry: Entry, name: str, reason: str) -> None:
        self._store.finish(entry.number, EntryStatus.FAILED, reason)
        self._failed.append(entry.number)
        self._say(f"{name} failed and is skipped: {reason}")

    def _conclude(self, entry: Entry, name: str, end: RunEnd) -> None:
        if end.status is RunStatus.FAILED:
            self._store.finish(entry.number, EntryStatus.FAILED, end.reason, end)
            self._failed.append(entry.number)
            self._say(f"{name} failed and is skipped: {end.reason}")
        elif end.status is RunStatus.STOPPED and self._experiments.interrupted:
            self._store.finish(entry.number, EntryStatus.STOPPED, end.reason, end)
            self._say(f"{name} stopped: 'autoscope queue run' goes on with it")
        else:
            self._store.finish(entry.number, EntryStatus.DONE, end.reason, end)
            self._done.append(entry.number)
            self._say(f"{name} is done: {end.reason}")


def _locked(path: Path) -> WriterLock:
    try:
        return WriterLock(path.with_suffix(".lock"))
    except AutoscopeError as error:
        raise QueueError(
            "another process runs this queue",
            where=str(path),
            value=error.value,
            remedy="Wait for it to end, or stop it; adding, moving and removing is possible meanwhile",
        ) from error
