"""Every particle seen, where it is, what it looks like, and what was measured on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.regions import Region
from autoscope.protocols import JsonValue

Floats = NDArray[np.float64]
MAX_TRIES = 2


class Catalogue:
    """Particles as columns: tile, offset in the tile, stage position, features, target value.

    Particles are numbered in the order found; a number never changes.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, float, float, float, tuple[float, ...]]] = []
        self._values: dict[int, tuple[float, float]] = {}
        self._tries: dict[int, int] = {}
        self._short: set[int] = set()
        self._once_more: set[int] = set()
        self._columns: dict[str, Floats] = {}
        self._features: Floats | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, tile: int, stage_m: tuple[float, float], regions: Sequence[Region]) -> list[int]:
        """Enter the particles found in a tile; return their numbers."""
        first = len(self._rows)
        for r in regions:
            at = (stage_m[0] + r.x_m, stage_m[1] + r.y_m)
            self._rows.append((tile, r.x_m, r.y_m, *at, tuple(float(f) for f in r.features())))
        self._columns, self._features = {}, None
        return list(range(first, len(self._rows)))

    def record(self, particle: int, value: float, std: float, *, short: bool = False) -> None:
        """Enter the target value measured on a particle; one of a ``short`` look only says that it is common."""
        self._values[particle] = (value, std)
        (self._short.add if short else self._short.discard)(particle)

    def is_full(self, numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of some measured particles have a spectrum of full dwell."""
        return np.array([int(n) not in self._short for n in numbers], dtype=bool)

    def missed(self, particle: int) -> None:
        """Count a measurement that came to nothing; after `MAX_TRIES` the particle is left alone."""
        self._tries[particle] = self._tries.get(particle, 0) + 1

    def offset_m(self, particle: int) -> tuple[float, float]:
        """Return a particle's offset from the centre of its tile."""
        row = self._rows[particle]
        return row[1], row[2]

    def column(self, name: str) -> Floats:
        """Return ``tile``, ``dx``, ``dy``, ``x`` or ``y`` of all particles, (n,) float64, metres."""
        if not self._columns:
            names = ("tile", "dx", "dy", "x", "y")
            data = np.array([row[:5] for row in self._rows], dtype=np.float64).reshape(-1, 5)
            self._columns = {n: data[:, k] for k, n in enumerate(names)}
        return self._columns[name]

    def features(self) -> Floats:
        """Return what the particles look like and where they are, (n, d) float64: features, then x, y."""
        if self._features is None:
            look = np.array([row[5] for row in self._rows], dtype=np.float64).reshape(
                len(self._rows), -1 if self._rows else 0
            )
            self._features = np.column_stack([look, self.column("x"), self.column("y")])
        return self._features

    def measured(self, first: int | None = None) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Return numbers, values and standard uncertainties in the order measured (the first ones only)."""
        items = list(self._values.items())[:first]
        pairs = np.array([pair for _, pair in items], dtype=np.float64).reshape(-1, 2)
        return np.array([n for n, _ in items], dtype=np.intp), pairs[:, 0], pairs[:, 1]

    @property
    def measured_count(self) -> int:
        """Number of particles measured."""
        return len(self._values)

    def value(self, particle: int) -> tuple[float, float]:
        """Return the target of a measured particle with its standard uncertainty."""
        return self._values[particle]

    def given_up(self) -> list[int]:
        """Return the particles that are left alone because measurements came to nothing."""
        return sorted(p for p, tries in self._tries.items() if tries >= MAX_TRIES and p not in self._values)

    def most_tries(self) -> int:
        """Return how often the particles given up were tried, the most of them."""
        return max((self._tries[p] for p in self.given_up()), default=0)

    def once_more(self) -> None:
        """Open the particles that were given up for one more try."""
        self._once_more.update(self.given_up())

    def open(self) -> NDArray[np.bool_]:
        """Return which particles may still be measured, (n,) bool."""
        mask = np.ones(len(self._rows), dtype=bool)
        mask[list(self._values)] = False
        mask[[p for p, tries in self._tries.items() if tries >= MAX_TRIES + (p in self._once_more)]] = False
        return mask

    def in_tile(self, tile: int) -> NDArray[np.intp]:
        """Return the numbers of a tile's particles."""
        return np.flatnonzero(self.column("tile") == tile)

    def offsets_m(self, tile: int, within_m: float) -> Floats:
        """Return offsets of a tile's particles whose distance from its centre is at most this per axis, (n, 2)."""
        ours = self.in_tile(tile)
        offsets = np.column_stack([self.column("dx")[ours], self.column("dy")[ours]])
        near: Floats = offsets[np.all(np.abs(offsets) <= within_m, axis=1)]
        return near

    def state(self) -> dict[str, JsonValue]:
        """Return everything as plain data."""
        return {
            "rows": [[*row[:5], list(row[5])] for row in self._rows],
            "values": [[n, *pair] for n, pair in self._values.items()],
            "tries": [list(item) for item in self._tries.items()],
            "short": [*sorted(self._short)],
            "once_more": [*sorted(self._once_more)],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._rows = [(int(r[0]), r[1], r[2], r[3], r[4], tuple(r[5])) for r in state["rows"]]
        self._values = {int(n): (v, s) for n, v, s in state["values"]}
        self._tries = {int(n): int(t) for n, t in state["tries"]}
        self._short = {int(n) for n in state.get("short", ())}
        self._once_more = {int(n) for n in state.get("once_more", ())}
        self._columns, self._features = {}, None
