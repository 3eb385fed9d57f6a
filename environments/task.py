"""The Gymnasium side of a microscope: arrays in, arrays out, for random agents and RL libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from autoscope.config import ConfigModel, PluginConfig
from autoscope.protocols import Scalarizer
from autoscope.quantities import FROM_FILE, PositiveDuration, PositiveLength
from autoscope.records import Capabilities, Frame, Measure, Scan
from autoscope.registry import load

Arrays = dict[str, NDArray[np.float32]]


class TaskConfig(ConfigModel):
    """One field of view, one overview image, then one spectrum a step; the reward is its scalar value."""

    fov_m: PositiveLength = 500e-9
    """Width of the square field of view (stored data: always the whole stored image)."""
    overview_px: PositiveInt = 128
    overview_dwell_s: PositiveDuration = 2e-6
    map_px: PositiveInt = Field(default=32, le=512)
    """Side of the square maps in the observation."""
    dwell_s: PositiveDuration = 0.05
    signal: str = ""
    """Spectrum signal to measure; empty: the instrument's first."""
    detector: str = "HAADF"
    reward: PluginConfig | None = None
    """Scalarizer of the reward; absent: the sum of the spectrum."""
    reward_scale: float = 1.0
    """The reward is the scalar divided by this."""


class Task:
    """Codes between arrays and acts, and keeps the maps an agent observes.

    The action is ``(2,)`` in [-1, 1]: x and y in the field of view. The observation holds ``overview``
    (HAADF scaled to [0, 1]), ``mask`` (1 where measured), ``measured`` (last reward there), each ``(map_px, map_px)``,
    and ``position`` ``(2,)``, the last action.
    """

    def __init__(self, config: TaskConfig, capabilities: Capabilities) -> None:
        self._config, self._capabilities = config, capabilities
        native = capabilities.native_scan
        self._scan = native or Scan(
            fov_m=config.fov_m,
            width_px=config.overview_px,
            height_px=config.overview_px,
            dwell_s=config.overview_dwell_s,
            detectors=(config.detector,),
        )
        self._signal = config.signal or (capabilities.signals[0].name if capabilities.signals else "")
        self._reward = _scalarizer(config.reward)
        self.clear()

    @staticmethod
    def action_space() -> spaces.Box:
        """Return the space of positions, (2,) float32."""
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    @staticmethod
    def observation_space(config: TaskConfig) -> spaces.Dict:
        """Return the space of observations."""
        shape = (config.map_px, config.map_px)
        unit, free = spaces.Box(0.0, 1.0, shape, np.float32), spaces.Box(-np.inf, np.inf, shape, np.float32)
        return spaces.Dict(overview=unit, mask=unit, measured=free, position=Task.action_space())

    def clear(self) -> None:
        """Forget what was measured."""
        shape = (self._config.map_px, self._config.map_px)
        self._maps: Arrays = {name: np.zeros(shape, np.float32) for name in ("overview", "mask", "measured")}
        self._maps["position"] = np.zeros(2, np.float32)

    def overview_action(self) -> Scan:
        """Return the scan of the whole field."""
        return self._scan

    def take_overview(self, frame: Frame) -> None:
        """Keep an overview, resampled to the map and scaled to [0, 1] by its 1st and 99th percentiles."""
        rows, columns = (self._nearest(n) for n in frame.data.shape)
        image = np.asarray(frame.data, np.float64)[np.ix_(rows, columns)]
        low, high = np.percentile(image, (1.0, 99.0))
        self._maps["overview"] = np.clip((image - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)

    def _nearest(self, size: int) -> NDArray[np.intp]:
        centres = (np.arange(self._config.map_px) + 0.5) / self._config.map_px * size
        return np.minimum(centres.astype(np.intp), size - 1)

    def decode(self, action: NDArray[np.floating[Any]]) -> Measure:
        """Return the measurement at a position of the action space (stored data: at the nearest pixel centre)."""
        x, y = (float(v) for v in np.clip(np.asarray(action, np.float64), -1.0, 1.0))
        width_m = self._scan.fov_m
        height_m = width_m * self._scan.height_px / self._scan.width_px
        x_m, y_m = x * width_m / 2, y * height_m / 2
        if self._capabilities.native_scan:
            x_m = _to_centre(x_m, width_m, self._scan.width_px)
            y_m = _to_centre(y_m, height_m, self._scan.height_px)
        return Measure(
            x_m=self._scan.centre_x_m + x_m,
            y_m=self._scan.centre_y_m + y_m,
            dwell_s=self._config.dwell_s,
            signals=(self._signal,),
        )

    def reward(self, frame: Frame) -> float:
        """Return the reward of a spectrum."""
        if self._reward is None:
            return float(np.sum(frame.data)) / self._config.reward_scale
        return self._reward.scalarize(frame, "reward").value / self._config.reward_scale

    def note(self, action: NDArray[np.floating[Any]], reward: float) -> None:
        """Mark a measured position in the maps."""
        x, y = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        size = self._config.map_px
        j, i = (min(int((v + 1) / 2 * size), size - 1) for v in (x, y))
        self._maps["mask"][i, j], self._maps["measured"][i, j] = 1.0, reward
        self._maps["position"] = np.array([x, y], np.float32)

    def observation(self) -> Arrays:
        """Return copies of the maps."""
        return {name: value.copy() for name, value in self._maps.items()}


def _to_centre(offset_m: float, size_m: float, pixels: int) -> float:
    index = min(max(int((offset_m / size_m + 0.5) * pixels), 0), pixels - 1)
    return ((index + 0.5) / pixels - 0.5) * size_m


def _scalarizer(part: PluginConfig | None) -> Scalarizer | None:
    if part is None:
        return None
    plugin = load("scalarizers", part.name)
    scalarizer: Scalarizer = plugin(plugin.Config.model_validate(part.options, context=FROM_FILE))
    return scalarizer
