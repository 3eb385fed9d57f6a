"""Drift of the sample: a linear ramp, a random walk, and relaxation after moves and after loading.

Drift is the displacement of the *point looked at*, in the stage frame: with the stage truly at ``X`` the optical
axis meets the specimen at ``X + drift``. Features in an image therefore move by ``-drift``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.chance import chance_to_plain, restore_chance
from environments.instruments.simulated.config import DriftConfig

Array = NDArray[np.float64]


class RandomWalk:
    """A planar Brownian motion that is a fixed function of time, whatever is asked of it and in which order.

    Values on a grid of ``step_s`` are an exact random walk; between them the path is straight. Blocks of
    `BLOCK` steps hang between sparse end points as Brownian bridges (Glasserman, Monte Carlo Methods in
    Financial Engineering, 2003, section 3.1), so that a far jump in time costs one number per block.

    Parameters
    ----------
    seed : int
        Fixes the path.
    rms_per_sqrt_s : float
        Standard deviation per axis after one second, in metres.
    step_s : float
        Grid of the walk.
    """

    BLOCK = 1024
    KEPT = 4

    def __init__(self, seed: int, rms_per_sqrt_s: float, step_s: float = 1.0) -> None:
        self._seed = seed
        self._step_s = step_s
        self._sigma_m = rms_per_sqrt_s * math.sqrt(step_s)
        self._ends_rng = np.random.default_rng([seed, 0])
        self._ends_m = np.zeros((1, 2))
        self._blocks: dict[int, Array] = {}

    def at(self, time_s: Array) -> Array:
        """Return the displacement at times >= 0, shape (n,) -> (n, 2) in metres."""
        out = np.zeros((len(time_s), 2))
        if self._sigma_m == 0.0:
            return out
        position = np.asarray(time_s) / self._step_s
        first, last = int(position.min() // self.BLOCK), int(position.max() // self.BLOCK)
        if first == last:
            return self._interpolate(first, position - first * self.BLOCK)
        block = (position // self.BLOCK).astype(np.int64)
        for number in np.unique(block):
            inside = block == number
            out[inside] = self._interpolate(int(number), position[inside] - number * self.BLOCK)
        return out

    def _interpolate(self, number: int, position: Array) -> Array:
        path = self._path(number)
        index = np.minimum(position.astype(np.int64), self.BLOCK - 1)
        part = (position - index)[:, None]
        result: Array = path[index] * (1.0 - part) + path[index + 1] * part
        return result

    def _path(self, number: int) -> Array:
        if number not in self._blocks:
            while len(self._blocks) >= self.KEPT:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = self._bridge(number)
        return self._blocks[number]

    def _bridge(self, number: int) -> Array:
        self._extend(number + 1)
        steps = np.random.default_rng([self._seed, 1, number]).standard_normal((self.BLOCK, 2)) * self._sigma_m
        free = np.vstack([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        start, end = self._ends_m[number], self._ends_m[number + 1]
        fraction = np.linspace(0.0, 1.0, self.BLOCK + 1)[:, None]
        path: Array = start + free + fraction * (end - start - free[-1])
        return path

    def _extend(self, last: int) -> None:
        missing = last + 1 - len(self._ends_m)
        if missing > 0:
            # drawn and summed in order from one stream: the end points do not depend on how this is called
            steps = self._ends_rng.standard_normal((missing, 2)) * self._sigma_m * math.sqrt(self.BLOCK)
            onward = np.cumsum(np.vstack([self._ends_m[-1:], steps]), axis=0)
            self._ends_m = np.vstack([self._ends_m, onward[1:]])


class Relaxation:
    """A displacement that dies away exponentially; kicks with the same time constant add up.

    Parameters
    ----------
    time_constant_s : float
        After this time 1/e is left.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._amplitude_m = np.zeros(2)
        self._start_s = 0.0

    def kick(self, time_s: float, displacement_m: Array) -> None:
        """Add a displacement at a time."""
        self._amplitude_m = self._amplitude_m * self._decay(time_s) + displacement_m
        self._start_s = time_s

    def reset(self, time_s: float, displacement_m: Array) -> None:
        """Forget what was left and begin with this displacement."""
        self._amplitude_m, self._start_s = np.array(displacement_m, dtype=np.float64), time_s

    def at(self, time_s: Array) -> Array:
        """Return the displacement at times, shape (n,) -> (n, 2) in metres."""
        left = np.exp(-np.maximum(time_s - self._start_s, 0.0) / self._time_constant_s)
        return np.asarray(left)[:, None] * self._amplitude_m

    def snapshot(self) -> list[Any]:
        """Return amplitude and start."""
        return [self._amplitude_m.tolist(), self._start_s]

    def restore(self, snapshot: Sequence[Any]) -> None:
        """Take up a snapshot."""
        self._amplitude_m, self._start_s = np.array(snapshot[0]), snapshot[1]

    def _decay(self, time_s: float) -> float:
        return math.exp(-max(time_s - self._start_s, 0.0) / self._time_constant_s)


class Drift:
    """The drift of the sample as a function of instrument time.

    Parameters
    ----------
    config : DriftConfig
        Sizes and time constants.
    rng : numpy.random.Generator
        Source of the walk and of the directions after loading.
    """

    def __init__(self, config: DriftConfig, rng: np.random.Generator) -> None:
        self._config = config
        self._rng = rng
        self._ramp_m_per_s = np.array([config.ramp_x_m_per_s, config.ramp_y_m_per_s])
        self._walk = RandomWalk(int(rng.integers(2**63)), config.walk_per_minute_m / math.sqrt(60.0))
        self._creep = Relaxation(config.creep_time_s)
        self._load = Relaxation(config.load_time_s)

    def at(self, time_s: Array) -> Array:
        """Return the drift at times >= 0 since the instrument was started, shape (n,) -> (n, 2) in metres."""
        result: Array = (
            np.asarray(time_s)[:, None] * self._ramp_m_per_s
            + self._walk.at(time_s)
            + self._creep.at(time_s)
            + self._load.at(time_s)
        )
        return result

    def snapshot(self) -> dict[str, Any]:
        """Return what moves and loading have left, and the state of chance; the walk is a function of time."""
        kept = {"creep": self._creep.snapshot(), "load": self._load.snapshot()}
        return kept | {"rng": chance_to_plain(self._rng)}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take up a snapshot."""
        self._creep.restore(snapshot["creep"])
        self._load.restore(snapshot["load"])
        restore_chance(self._rng, snapshot["rng"])

    def moved(self, time_s: float, travel_m: Array) -> None:
        """Note a stage move (shape (2,)) that arrived at a time: the sample lags behind and creeps after."""
        lag_m = -self._config.creep_fraction * travel_m
        length_m = float(np.hypot(lag_m[0], lag_m[1]))
        if length_m > self._config.creep_max_m:
            lag_m = lag_m * (self._config.creep_max_m / length_m)
        self._creep.kick(time_s, lag_m)

    def loaded(self, time_s: float) -> None:
        """Note that a sample was loaded: earlier relaxation is forgotten, a new one begins."""
        angle_rad = self._rng.uniform(0.0, 2.0 * math.pi)
        self._creep.reset(time_s, np.zeros(2))
        self._load.reset(time_s, self._config.load_m * np.array([math.cos(angle_rad), math.sin(angle_rad)]))
