"""Measurements a policy needs to reach a level of a stored map, by the very engine that runs at night."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from autoscope.clock import SimClock
from autoscope.config import Document
from autoscope.engine.assemble import assemble, resolve
from autoscope.engine.events import StepEvent
from autoscope.engine.loop import Engine
from autoscope.journal import MemoryJournal
from autoscope.records import Measure
from autoscope.registry import load

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class MapTask:
    """A stored map and the target to look for."""

    name: str
    data: dict[str, Any]
    scalarizer: dict[str, Any]


class _Reached:
    """Counts spectra until one was taken where the true map is at or above the level."""

    def __init__(self, truth: NDArray[np.float64], level: float, scan: Any) -> None:
        self._truth, self._level, self._scan = truth, level, scan
        self.measured, self.first = 0, None

    def on_step(self, event: StepEvent) -> None:
        action = event.decision.action
        if not isinstance(action, Measure):
            return
        self.measured += 1
        height, width = self._truth.shape
        j = round((action.x_m / self._scan.fov_m + 0.5) * width - 0.5)
        i = round((action.y_m / (self._scan.fov_m * height / width) + 0.5) * height - 0.5)
        if self.first is None and self._truth[i, j] >= self._level:
            self.first = self.measured


def measurements_to_level(task: MapTask, policy: str, seed: int, *, share: float, limit: int) -> int:
    """Return the number of spectra until the level, ``limit + 1`` where it was not reached within ``limit``."""
    import yaml

    config = {
        "name": f"{policy} on {task.name}",
        "seed": seed,
        "environment": {"name": "replay", "options": {"data": task.data | {"dwell": "50 ms"}}},
        "policy": {"name": policy, "options": {"target": "target", "dwell": "50 ms", "points": limit}},
        "scalarizers": {"target": task.scalarizer},
        "budget": {"steps": limit + 5},
    }
    job = assemble(resolve(Document(yaml.safe_dump(config), task.name)))
    truth = true_map(task)
    reached = _Reached(truth, truth.min() + share * (truth.max() - truth.min()), _native(task))

    class Until:
        """Stops the run when the level is reached: what comes after does not matter here."""

        def take(self) -> list[Any]:
            from autoscope.records import Intervention

            done = reached.first is not None
            return [Intervention(who="figure", when="", why="level reached", command="stop")] if done else []

    Engine(job, MemoryJournal(clock=job.clock, keep_frames=False), inbox=Until(), listener=reached).run()
    return reached.first or limit + 1


def _instrument(task: MapTask) -> Any:
    plugin = load("instruments", "replay")
    return plugin(plugin.Config.model_validate(task.data), clock=SimClock())


def _native(task: MapTask) -> Any:
    return _instrument(task).describe().native_scan


_MAPS: dict[str, NDArray[np.float64]] = {}


def true_map(task: MapTask) -> NDArray[np.float64]:
    """Return the stored target, else the scalarized map smoothed by one pixel (counting noise, not structure)."""
    if task.name not in _MAPS:
        _MAPS[task.name] = _true_map(task)
    return _MAPS[task.name]


def _true_map(task: MapTask) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    from autoscope.quantities import FROM_FILE
    from environments.datasets import DatasetOptions, read_dataset

    data = read_dataset(
        ROOT / task.data["path"], DatasetOptions.model_validate(task.data.get("read", {}), context=FROM_FILE)
    )
    if data.target is not None:
        return np.asarray(data.target, dtype=np.float64)
    plugin = load("scalarizers", task.scalarizer["name"])
    scalarizer = plugin(plugin.Config.model_validate(task.scalarizer["options"], context=FROM_FILE))
    values = scalarizer.map_scalar(data.spectra, data.axis)
    values = values[0] if isinstance(values, tuple) else values
    return np.asarray(gaussian_filter(np.asarray(values, dtype=np.float64), 1.0))


def median_with_interval(counts: list[int], seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Return the median and its 95 % bootstrap interval (percentile, 2,000 resamples)."""
    if len(set(counts)) == 1:
        return float(counts[0]), (float(counts[0]), float(counts[0]))
    found = stats.bootstrap(
        (np.array(counts),), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(np.median(counts)), (float(found.low), float(found.high))
