"""A TEM grid: hundreds of squares, each with a catalyst of its own that is made when somebody looks at it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.chance import stream
from environments.sample.catalyst import Catalyst
from environments.sample.grid_config import GridConfig
from environments.sample.layered import Interaction
from environments.sample.low_loss import LossDensity
from environments.sample.materials import Material, pure

Array = NDArray[np.float64]
INTACT, EMPTY, BROKEN, BLOCKED = range(4)
STATES = ("intact", "empty", "broken", "blocked")
BLOCK_M = 2e-6
"""Thickness of what blocks a square."""
WIDE_M = 15e-6
"""A view wider than this shows squares and film; particles, smaller than its pixels, as their mean thickness."""
KEPT = 6
"""Squares whose particles are kept in memory."""


class Grid:
    """Structure of a TEM grid.

    Parameters
    ----------
    config : GridConfig
    rng : numpy.random.Generator
        One number is drawn for each grid and each square's state; a square's particles have a stream of their own.
    """

    name = "grid"
    localised = False
    modes: tuple[LossDensity, ...] = ()

    def __init__(self, config: GridConfig, rng: np.random.Generator) -> None:
        self._config, self.extent_m = config, config.extent_m
        self._content = config.content.replace(extent_m=(config.square_m, config.square_m))
        self._seed = int(rng.integers(2**63))
        self._half = max(1, int(config.diameter_m / 2 / config.pitch_m))
        side = 2 * self._half + 1
        shares = (config.empty, config.broken, config.blocked)
        self.state = _states(rng.random((side, side)), shares)
        self.tear_rad = rng.uniform(0.0, 2.0 * math.pi, (side, side))
        self._squares: OrderedDict[tuple[int, int], Catalyst] = OrderedDict()
        first = self._catalyst(0, 0)
        self.materials: tuple[Material, ...] = (*first.materials, pure("Cu"))
        radius_m, density = self._content.radius_m, self._content.density_per_m2
        spread = math.exp(4.5 * self._content.radius_spread**2)  # mean cube of a lognormal radius over its median's
        self._mean_metal_m = density * 4.0 / 3.0 * math.pi * radius_m**3 * spread

    def _catalyst(self, column: int, row: int) -> Catalyst:
        key = (column, row)
        if key not in self._squares:
            self._squares[key] = Catalyst(self._content, stream(self._seed, f"square/{column}/{row}"))
            while len(self._squares) > KEPT:
                self._squares.popitem(last=False)
        self._squares.move_to_end(key)
        return self._squares[key]

    def thickness_m(self, x_m: Array, y_m: Array, by: Interaction) -> Array:
        """Return the thickness of carbon, metal, alloy and copper, shape ``(4,) + x_m.shape``."""
        config = self._config
        column, row = (np.rint(v / config.pitch_m).astype(int) for v in (x_m, y_m))
        dx, dy = x_m - column * config.pitch_m, y_m - row * config.pitch_m
        hole = (np.abs(dx) < config.square_m / 2) & (np.abs(dy) < config.square_m / 2)
        hole &= (np.abs(column) <= self._half) & (np.abs(row) <= self._half)
        thickness = np.zeros((4, *x_m.shape))
        disc = x_m**2 + y_m**2 < (config.diameter_m / 2) ** 2
        thickness[3] = np.where(disc & ~hole, config.bar_thickness_m, 0.0)
        i, j = (np.clip(v + self._half, 0, 2 * self._half) for v in (row, column))
        state = self.state[i, j]
        film = hole & disc & (state != EMPTY)
        film &= ~((state == BROKEN) & _torn(dx, dy, self.tear_rad[i, j], config.square_m))
        wide = max(np.ptp(x_m), np.ptp(y_m)) > WIDE_M
        if wide:
            thickness[0] = np.where(film, self._content.support.thickness_m, 0.0)
            thickness[1] = np.where(film, self._mean_metal_m, 0.0)
        else:
            self._fill(thickness, film, column, row, dx, dy, by)
        thickness[0] += np.where(film & (state == BLOCKED), BLOCK_M, 0.0)
        return thickness

    def _fill(
        self,
        thickness: Array,
        film: NDArray[np.bool_],
        column: NDArray[np.intp],
        row: NDArray[np.intp],
        dx: Array,
        dy: Array,
        by: Interaction,
    ) -> None:
        """Add the catalyst of every square that the points lie in."""
        if not film.any():
            return
        for key in sorted(set(zip(column[film].tolist(), row[film].tolist()))):
            inside = film & (column == key[0]) & (row == key[1])
            found = self._catalyst(*key).thickness_m(dx, dy, by)  # all points: its neighbour lists want a whole image
            thickness[:3] += np.where(inside, found, 0.0)

    def mode_events(self, x_m: Array, y_m: Array) -> Array:
        """Return no surface modes, shape ``(0,) + x_m.shape``."""
        return np.zeros((0, *x_m.shape))

    def truth(self) -> Mapping[str, Any]:
        """Return the middles of all squares and what they are: arrays of shape (squares,)."""
        index = np.arange(-self._half, self._half + 1)
        column, row = np.meshgrid(index, index)
        x_m, y_m = column.ravel() * self._config.pitch_m, row.ravel() * self._config.pitch_m
        whole = np.hypot(np.abs(x_m) + self._config.square_m / 2, np.abs(y_m) + self._config.square_m / 2)
        inside = whole < self._config.diameter_m / 2
        state = np.array(STATES)[self.state.ravel()]
        return {"square_x_m": x_m[inside], "square_y_m": y_m[inside], "square_state": state[inside]}


def _states(draws: Array, shares: tuple[float, ...]) -> NDArray[np.intp]:
    """Return the state of each square: the first shares of [0, 1] are empty, broken, blocked, the rest intact."""
    edges = np.cumsum(shares)
    state = np.full(draws.shape, INTACT)
    for number, (low, high) in enumerate(zip((0.0, *edges), edges), start=1):
        state[(draws >= low) & (draws < high)] = number
    return state


def _torn(dx: Array, dy: Array, angle_rad: Array, square_m: float) -> NDArray[np.bool_]:
    """Return where the film of a torn square is missing: beyond a line through it."""
    return np.asarray(dx * np.cos(angle_rad) + dy * np.sin(angle_rad) > 0.1 * square_m)
