"""Measurements in their order, kept in memory that grows ahead of them, with the noise they are weighed by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.protocols import JsonValue
from autoscope.surrogates.noise import NoiseLaw, told_by_the_rest
from autoscope.surrogates.prior import Features

Array = NDArray[np.float64]

OFTEN, GROWTH = 20, 1.25
"""Noise is revised at every fit to so many measurements, and later when there are so many times more."""


class Measurements:
    """Features (n, d), values (n,) and noise standard deviations (n,); adding one costs no copy of the others.

    The noise stated with a value follows the luck of its draw; `noise_std` is what is stated where that value is
    *expected* (`NoiseLaw`), by what the others foretell of it.

    Examples
    --------
    >>> known = Measurements()
    >>> known.add(np.zeros((2, 3)), np.array([1.0, 2.0]), np.array([0.1, 0.1]))
    >>> known.x.shape, known.y.tolist(), len(known)
    ((2, 3), [1.0, 2.0], 2)
    """

    def __init__(self) -> None:
        self._x: Features = np.empty((0, 0), dtype=np.float32)
        self._rest: Array = np.empty((3, 0))
        self._n = 0
        self._law = NoiseLaw()
        self._revised_n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def x(self) -> Features:
        """Features, a view."""
        return self._x[: self._n]

    @property
    def y(self) -> Array:
        """Values, a view."""
        return self._rest[0, : self._n]

    @property
    def noise_std(self) -> Array:
        """Standard uncertainties to weigh the values by, a view."""
        return self._rest[1, : self._n]

    def add(self, x: Features, y: Array, stated_std: Array, noise_std: Array | None = None) -> None:
        """Append measurements (q, d), (q,), what they state (q,), and what to weigh them by, if that is another."""
        end = self._n + len(x)
        if end > len(self._x):
            room = max(2 * end, 64)
            features, rest = np.empty((room, x.shape[1]), dtype=x.dtype), np.empty((3, room))
            if self._n:
                features[: self._n] = self.x
            rest[:, : self._n] = self._rest[:, : self._n]
            self._x, self._rest = features, rest
        self._x[self._n : end] = x
        new = slice(self._n, end)
        self._rest[0, new], self._rest[2, new] = y, stated_std
        self._rest[1, new] = stated_std if noise_std is None else noise_std
        self._n = end

    def steadied(self, value: float, stated_std: float, mean: float, std: float) -> float:
        """Return what to weigh a further measurement by, of which mean and std of its true value were foretold."""
        told = (np.array([number]) for number in (stated_std, value, mean, std))
        return float(self._law.steadied(*told)[0])

    def stale(self) -> bool:
        """Return whether there are enough new measurements since the last revision for another."""
        return self._n > self._revised_n and (self._n <= OFTEN or self._n >= GROWTH * self._revised_n)

    def revise(self, foretold: tuple[Array, Array] | None) -> None:
        """Learn how noise depends on the value, and weigh all by the noise where each is expected.

        Parameters
        ----------
        foretold : tuple of arrays, optional
            Mean and std of the true value of each (n,), foretold by the others; None where there is no model.
        """
        self._rest = self._rest.copy()  # views taken earlier keep what they showed
        stated = self._rest[2, : self._n]
        self._law = law = NoiseLaw.of(self.y, stated)
        self._revised_n = self._n
        if foretold is None:
            mean, std = told_by_the_rest(self.y, stated)
            foretold = np.full(self._n, mean), np.full(self._n, std)
        self._rest[1, : self._n] = law.steadied(stated, self.y, *foretold)

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt of the noise as JSON data."""
        return {"noise_std": self.noise_std.tolist(), "law": self._law.plain(), "revised_n": self._revised_n}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned, with the same measurements added."""
        self._rest[1, : self._n] = state["noise_std"]
        self._law, self._revised_n = NoiseLaw.from_plain(state["law"]), int(state["revised_n"])
