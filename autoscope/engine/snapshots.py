"""Maps of the model for whoever watches: written beside the record at most once a second, and only while wanted.

Whoever watches touches ``live/watched`` in the run's folder every few seconds. Nothing of this is part of the record,
nothing is read back by the run, and whatever goes wrong here goes no further.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autoscope.engine.events import Listener, StepEvent
from autoscope.engine.watching import Acquiring, Watcher, tell_waiting
from autoscope.protocols import Pictorial, Policy
from autoscope.records import Decision

LIVE, WATCHED, MAPS = "live", "watched", "maps.npz"
LEASE_S = 10.0
"""So long after the last touch a watcher counts as gone."""
PERIOD_S = 1.0
"""Real time between two snapshots, at least."""
SHARE = 0.05
"""Of real time that snapshots may take, at most."""


class MapsForWatchers:
    """A listener that passes everything on and, while somebody watches, leaves the model's maps for them.

    Parameters
    ----------
    onward : Listener
        Who is told besides.
    policy : Policy
        Whose maps they are; one without any costs nothing.
    folder : Path
        The run's folder.
    stopwatch : callable
        Real seconds; decides when to write a snapshot, and nothing else.
    """

    def __init__(
        self, onward: Listener, policy: Policy, folder: Path, stopwatch: Callable[[], float] = time.perf_counter
    ) -> None:
        self._onward, self._stopwatch = onward, stopwatch
        self._policy = policy if isinstance(policy, Pictorial) else None
        self._folder = folder / LIVE
        self._next_s = 0.0
        self.problem = ""
        """Why the last snapshot could not be written."""

    def on_step(self, event: StepEvent) -> None:
        """Pass a step on, and draw where that is wanted and due."""
        self._onward.on_step(event)
        if self._policy is not None and (began_s := self._stopwatch()) >= self._next_s:
            self._next_s = began_s + PERIOD_S
            if is_watched(self._folder):
                self._draw(self._policy)
                took_s = self._stopwatch() - began_s
                self._next_s = began_s + max(PERIOD_S, took_s / SHARE)

    def on_acquiring(self, now: Acquiring) -> None:
        """Pass on how far an acquisition is, to whom it concerns."""
        if isinstance(self._onward, Watcher):
            self._onward.on_acquiring(now)

    def on_waiting(self, decision: Decision, because: str) -> None:
        """Pass on that a person is asked, to whom it concerns."""
        tell_waiting(self._onward, decision, because)

    def _draw(self, policy: Pictorial) -> None:
        try:
            if (maps := policy.maps()) is not None:
                replace(self._folder / MAPS, maps.encoded())
            self.problem = ""
        except Exception as error:  # a picture is no reason to disturb a run
            self.problem = f"{type(error).__name__}: {error}"


def watch(folder: Path) -> None:
    """Say that the maps of a run are wanted for the next seconds; where the folder takes no files, nothing happens."""
    with suppress(OSError):
        live = folder / LIVE
        live.mkdir(exist_ok=True)
        (live / WATCHED).touch()


def is_watched(live: Path) -> bool:
    """Return whether somebody wants maps; the file system's own clock on both sides, so clocks need not agree."""
    try:
        touched_s = (live / WATCHED).stat().st_mtime
        now = live / ".now"
        now.touch()
        return now.stat().st_mtime - touched_s <= LEASE_S
    except OSError:
        return False


def replace(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new; no promise that it survives a crash.

    Raises
    ------
    OSError
        It cannot be written.
    """
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)
