"""How strong each angular order is on rings around the centre of a patch: what a turn in the plane leaves alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_RINGS = 6
MAX_ORDER = 4


@dataclass(frozen=True)
class RingFilters:
    """Filters that are a soft ring in radius times a wave in angle.

    Attributes
    ----------
    even, odd : array
        (patch pixels, filters) cosine and sine parts, each pair of unit norm together.
    """

    even: Array
    odd: Array

    @property
    def count(self) -> int:
        """Number of filters."""
        return int(self.even.shape[1])

    def strengths(self, rows: Array) -> Array:
        """Return the strength of every filter in flattened patches (n, size_px ** 2), shape (n, filters).

        Order zero keeps its sign; of the others the modulus is taken, which does not change when the patch is
        turned: a turn by an angle multiplies order k by a phase factor (the shift theorem on a circle).
        """
        cosine, sine = rows @ self.even, rows @ self.odd
        flat = ~self.odd.any(axis=0)
        return np.asarray(np.where(flat, cosine, np.hypot(cosine, sine)))


def ring_filters(size_px: int) -> RingFilters:
    """Return the filters of patches of an odd side.

    At most `MAX_RINGS` rings beyond the centre, each with angular orders up to `MAX_ORDER` or as many as its
    circumference can tell apart (two pixels a period).

    Examples
    --------
    >>> ring_filters(3).count
    3
    """
    reach = size_px // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    radius, angle = np.hypot(x, y).ravel(), np.arctan2(y, x).ravel()
    rings = min(reach, MAX_RINGS)
    step = max(reach, 1) / (rings + 0.5)  # the outermost ring, too, has faded out where the disc ends
    columns: list[NDArray[np.complex128]] = []
    for ring in range(rings + 1):
        window = np.exp(-0.5 * ((radius / step - ring) / 0.5) ** 2) * (radius <= reach + 0.5)
        orders = min(MAX_ORDER, int(np.pi * ring * step) - 1) if ring else 0
        columns.append(_unit(window + 0.0j))
        around = window * (radius > 0)  # the centre has no angle
        columns += [_unit(around * np.exp(1j * order * angle)) for order in range(1, orders + 1)]
    filters = np.stack(columns, axis=1)
    return RingFilters(np.ascontiguousarray(filters.real), np.ascontiguousarray(filters.imag))


def _unit(column: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.asarray(column / np.linalg.norm(column))
