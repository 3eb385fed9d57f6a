"""How much places are like those that a person marked as interesting, or not.

Kriging of the marks, 1 and -1, with a Gaussian kernel over what places look like; its prior mean 0 says that nothing is
known of a place unlike all marked ones (simple kriging: Chiles and Delfiner, Geostatistics, Wiley 2012, section 3.2).
Marks are few and given by hand, so there is nothing to fit: the lengthscale follows from the candidates alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_PLACES = 48
"""Places of one mark that are looked at; more of them tell little more."""
NOISE = 0.1
"""Variance of a mark: a region that somebody drew holds places that he did not mean."""
REACH = 0.5
"""Lengthscale as a part of the median distance between two candidates: about the nearest tenth count as alike."""
ELSEWHERE = 0.5
"""Likeness counts for half of what the mark itself does."""
BLOCK = 65_536


def attraction(features: Floats, marks: list[tuple[Mask, bool]]) -> Floats:
    """Return how attractive each place is, (m,), from -1 to 1; a marked place has the value of its latest mark.

    Parameters
    ----------
    features : array
        What the places look like, (m, d).
    marks : list of mask and bool
        Which places each mark holds, (m,), and whether they are interesting; in the order they were made.
    """
    labels = np.zeros(len(features))
    for held, interesting in marks:
        labels[held] = 1.0 if interesting else -1.0
    known = np.concatenate([_some(np.flatnonzero(held)) for held, _ in marks]) if marks else np.zeros(0, dtype=np.intp)
    known = np.unique(known)
    if not len(known):
        return labels
    scaled = _scaled(features)
    length = max(REACH * _usual_distance(scaled), 1e-9)
    weights = np.linalg.solve(_kernel(scaled[known], scaled[known], length) + NOISE * np.eye(len(known)), labels[known])
    alike = np.concatenate(
        [_kernel(scaled[k : k + BLOCK], scaled[known], length) @ weights for k in range(0, len(scaled), BLOCK)]
    )
    return np.where(labels != 0.0, labels, ELSEWHERE * np.clip(alike, -1.0, 1.0))


def drawn(values: Floats, attracted: Floats, forbidden: Mask) -> Floats:
    """Return values of an acquisition with what people marked taken into account, (m,).

    The unit is what lies between the best and the middle of the open candidates: a usual place that is marked as
    interesting is then worth as much as the best of the others, and one marked as not interesting is left for later.
    """
    open_ = values[~forbidden]
    open_ = open_[np.isfinite(open_)]
    if not len(open_) or not np.any(attracted):
        return values
    unit = float(np.max(open_) - np.median(open_))
    return np.asarray(values + (unit or 1.0) * attracted, dtype=np.float64)


def _some(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return at most `MOST_PLACES` of some places, evenly spread over them."""
    if len(places) <= MOST_PLACES:
        return places
    return places[np.linspace(0, len(places) - 1, MOST_PLACES).astype(np.intp)]


def _scaled(features: Floats) -> Floats:
    spread = np.std(features, axis=0)
    return np.asarray((features - np.mean(features, axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _usual_distance(scaled: Floats) -> float:
    """Return the median distance between two candidates, of some evenly spread ones."""
    some = scaled[_some(np.arange(len(scaled)))]
    distances = np.linalg.norm(some[:, None] - some[None], axis=2)
    return float(np.median(distances[np.triu_indices(len(some), 1)])) if len(some) > 1 else 1.0


def _kernel(a: Floats, b: Floats, length: float) -> Floats:
    squared = np.sum(a**2, axis=1)[:, None] - 2.0 * a @ b.T + np.sum(b**2, axis=1)
    return np.asarray(np.exp(-0.5 * np.maximum(squared, 0.0) / length**2))
