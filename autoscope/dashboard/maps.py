"""Where the model's maps come from: a live run leaves them while somebody watches; of the past they are made anew."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from autoscope.dashboard.model import RunModel
from autoscope.engine.snapshots import LIVE, MAPS, watch
from autoscope.errors import DataError
from autoscope.model_maps import ModelMaps


class MapSource(Protocol):
    """Where maps come from."""

    def latest(self, at: int | None, model: RunModel) -> ModelMaps | None:
        """Return the maps as they are now, or were before the act ``at``; the same object where nothing changed.

        None where there are none (yet).
        """

    def why_none(self) -> str:
        """Return why there are none, for people."""

    def close(self) -> None:
        """Want no more."""


class NoMaps:
    """There are none."""

    def latest(self, at: int | None, model: RunModel) -> ModelMaps | None:
        """Return None."""
        return None

    def why_none(self) -> str:
        """Return that nothing makes them."""
        return "no maps of this run can be had from here"

    def close(self) -> None:
        """Do nothing."""


class FolderMaps:
    """Maps of a run on this machine: what the run leaves while it is watched, or its policy asked again elsewhere.

    The run is walked again (as ``autoscope replay`` does) in a process of its own, which can take as long as the run's
    decisions took; it is ended when somebody looks elsewhere.

    Parameters
    ----------
    folder : Path
        The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live: tuple[float, ModelMaps] | None = None
        self._drafts: tempfile.TemporaryDirectory[str] | None = None
        self._rebuilding: tuple[int, subprocess.Popen[bytes]] | None = None
        self._rebuilt: dict[int, ModelMaps | str] = {}
        self._why = ""

    def latest(self, at: int | None, model: RunModel) -> ModelMaps | None:
        """Return the newest maps, or those before an act; see `MapSource.latest`."""
        if at is None and model.alive:
            watch(self._folder)
            return self._of_live()
        step = len(model.steps) - 1 if at is None else at
        return self._of_past(step) if step >= 0 else None

    def why_none(self) -> str:
        """Return why there are none."""
        return self._why

    def close(self) -> None:
        """End what is being made."""
        self._stop()
        if self._drafts is not None:
            self._drafts.cleanup()
            self._drafts = None

    def _of_live(self) -> ModelMaps | None:
        path = self._folder / LIVE / MAPS
        self._why = "no maps yet: the run draws them after its next decision with a model, if its policy has one"
        try:
            written_s = path.stat().st_mtime
            if self._live is None or self._live[0] != written_s:
                self._live = written_s, ModelMaps.read(path)
        except (OSError, DataError):
            return None
        return self._live[1]

    def _of_past(self, step: int) -> ModelMaps | None:
        if step not in self._rebuilt:
            self._why = f"asking the policy again, up to act {step} ..."
            self._rebuild(step)
        found = self._rebuilt.get(step)
        if isinstance(found, str):
            self._why = found
            return None
        return found

    def _rebuild(self, step: int) -> None:
        self._drafts = self._drafts or tempfile.TemporaryDirectory(prefix="autoscope-maps-")
        draft = Path(self._drafts.name) / f"{step}.npz"
        if self._rebuilding is None or self._rebuilding[0] != step:
            self._stop()
            command = [sys.executable, "-m", "autoscope.engine.remapping", str(self._folder), str(step), str(draft)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self._rebuilding = step, process
            return
        process = self._rebuilding[1]
        if process.poll() is None:
            return
        said = (process.stderr.read() if process.stderr else b"").decode("utf-8", "replace").strip()
        self._stop()
        try:
            self._rebuilt[step] = ModelMaps.read(draft)
        except DataError:
            self._rebuilt[step] = said.splitlines()[-1] if said else "the policy drew no maps"

    def _stop(self) -> None:
        if self._rebuilding is not None:
            process = self._rebuilding[1]
            with suppress(OSError):
                process.kill()
            process.communicate()
            self._rebuilding = None
