"""How far the sample moved while a scanned image was written, told by particles known from another image.

Rows are written one after the other, so what moves meanwhile is displaced by an amount that depends on the row:
steadily (drift, creep: a sheared and stretched image) or in one step (a jump). Magnification and rotation that differ
between the two images displace along rows and columns alike, and are fitted beside it. Images are corrected by the
displacement of their rows in the same way (Ophus, Ciston & Nelson, Ultramicroscopy 162 (2016) 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from autoscope.perception.constellation import Match, match
from autoscope.records import Value

Floats = NDArray[np.float64]
Pairs = NDArray[np.intp]

FEWEST = 8
"""Particles found again from which a movement is told: six numbers are fitted to twice as many coordinates."""
FEWEST_AT_FIRST = 5
"""... and from which more are looked for: a large movement leaves few that agree on one displacement."""
FEWEST_STRAYS = 4
"""Particles that agree on another displacement from which they count."""
STRAYS_AGREE = 0.5
"""Confidence of theirs from which they count."""
ROUNDS = 12
"""Fits and pairings at most, one after the other."""
STEP_SURER = 12.0
"""A step is believed where it makes the sum of squares smaller by this much (-2 log likelihood): its row is chosen from
many, and a steady movement explains most of a step."""
SPREAD = 0.5
"""Part of the image's height over which the particles must be spread."""
SURELY = 3.0
"""Standard deviations by which a movement must exceed a limit."""


class ImageDrift(Value):
    """By how much the sample moved from the first row of an image to the last, beyond what it did in the reference."""

    dx_m: float
    """Where it is seen at the end minus where at the beginning, along the columns."""
    dy_m: float
    std_m: float
    """Standard deviation per axis, from the scatter of the particles."""
    matched: int
    """Particles it is told from."""
    sudden: bool
    """Whether in one step, rather than steadily."""

    @property
    def length_m(self) -> float:
        """How far."""
        return math.hypot(self.dx_m, self.dy_m)


def surely_moved(drift_px: float, std_px: float, limit_px: float) -> bool:
    """Return whether a movement exceeds a limit by `SURELY` standard deviations."""
    return drift_px - SURELY * std_px > limit_px


def image_drift(
    reference_m: Floats, found_m: Floats, agreed: Match, *, height_m: float, reach_m: float, tolerance_m: float
) -> ImageDrift | None:
    """Return how far the sample moved while an image was written, or None where its particles do not tell.

    They do not where the match is ambiguous (a perfect lattice fits at each of its periods), where fewer than `FEWEST`
    are found again, or where those lie in a narrow band of rows. Particles that the agreed displacement leaves
    without a partner may agree on another one: half an image written after a jump.

    Parameters
    ----------
    reference_m, found_m : (n, 2), (m, 2) float64
        Positions (x, y) in metres from the centre, y along the direction in which rows follow each other.
    agreed : Match
        The translation that most of them agree on.
    height_m : float
        From the first row of the image to the last.
    reach_m : float
        Largest movement looked for, per axis.
    tolerance_m : float
        How far a particle may be found from where the movement says.
    """
    if agreed.ambiguous or agreed.matched < FEWEST_AT_FIRST:
        return None
    shift_m = np.array([agreed.dx_m, agreed.dy_m])
    pairs = _with_strays(_partners(reference_m + shift_m, found_m, tolerance_m), reference_m, found_m, shift_m,
                         reach_m, tolerance_m)  # fmt: skip
    for _ in range(ROUNDS):
        if len(pairs) < FEWEST_AT_FIRST:
            return None
        fit = _fit(reference_m[pairs[:, 0]], found_m[pairs[:, 1]], height_m)
        before, pairs = pairs, _partners(fit.moved(reference_m), found_m, tolerance_m)
        if np.array_equal(before, pairs):
            break
    told = fit.count >= FEWEST and fit.complete
    return fit.told() if told else None


def _partners(moved_m: Floats, found_m: Floats, tolerance_m: float) -> Pairs:
    """Return pairs (reference, found) that are each other's nearest within the tolerance, (k, 2)."""
    if len(moved_m) == 0 or len(found_m) == 0:
        return np.zeros((0, 2), dtype=np.intp)
    distance, there = cKDTree(found_m).query(moved_m)
    _, back = cKDTree(moved_m).query(found_m)
    ours = np.flatnonzero((distance <= tolerance_m) & (back[there] == np.arange(len(moved_m))))
    return np.column_stack([ours, there[ours]]).astype(np.intp)


def _with_strays(
    pairs: Pairs, reference_m: Floats, found_m: Floats, shift_m: Floats, reach_m: float, tolerance_m: float
) -> Pairs:
    """Return the pairs with those of particles that agree on another translation, where enough do."""
    ours = np.setdiff1d(np.arange(len(reference_m)), pairs[:, 0])
    theirs = np.setdiff1d(np.arange(len(found_m)), pairs[:, 1])
    around = (float(shift_m[0]), float(shift_m[1]))
    strays = match(reference_m[ours], found_m[theirs], reach_m=reach_m, tolerance_m=tolerance_m, expected_m=around)
    if strays.matched < FEWEST_STRAYS or strays.confidence < STRAYS_AGREE or strays.ambiguous:
        return pairs
    more = _partners(reference_m[ours] + (strays.dx_m, strays.dy_m), found_m[theirs], tolerance_m)
    return np.vstack([pairs, np.column_stack([ours[more[:, 0]], theirs[more[:, 1]]])])


@dataclass(frozen=True)
class _Fit:
    """Shift, magnification, rotation and movement; ``step_m``: the row (y) of a step, None where it is steady."""

    numbers: Floats
    """(shift x, shift y, magnification - 1, rotation, movement x, movement y); the middle two times the height."""
    std_m: float
    step_m: float | None
    height_m: float
    count: int
    complete: bool
    """Whether the particles are spread enough to tell movement from magnification and rotation."""

    def moved(self, reference_m: Floats) -> Floats:
        """Return where particles are seen by this fit, (n, 2)."""
        moves = _moves(reference_m[:, 1] + self.numbers[1], self.step_m, self.height_m)
        design = np.hstack([_still(reference_m / self.height_m), *_both(moves)])
        return np.asarray(reference_m + (design @ self.numbers).reshape(2, -1).T)

    def told(self) -> ImageDrift:
        """Return the movement."""
        return ImageDrift(
            dx_m=float(self.numbers[4]),
            dy_m=float(self.numbers[5]),
            std_m=self.std_m,
            matched=self.count,
            sudden=self.step_m is not None,
        )


def _still(at: Floats) -> Floats:
    """Return by what shift, magnification and rotation displace, (2n, 4): first all x, then all y."""
    x, y = at.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    return np.vstack([np.column_stack([one, zero, x, -y]), np.column_stack([zero, one, y, x])])


def _moves(row_m: Floats, step_m: float | None, height_m: float) -> Floats:
    """Return which part of the movement has been made at each row, but for a constant, (n,)."""
    return np.asarray(row_m / height_m if step_m is None else (row_m > step_m) - 0.5, dtype=np.float64)


def _both(moves: Floats) -> tuple[Floats, Floats]:
    """Return by what a movement along x, and one along y, displaces: (2n, 1) each."""
    none = np.zeros_like(moves)
    return np.concatenate([moves, none])[:, None], np.concatenate([none, moves])[:, None]


def _fit(reference_m: Floats, found_m: Floats, height_m: float) -> _Fit:
    """Return the steady movement, or the step where that is surely better.

    As long as the particles lie in a narrow band, magnification and rotation are taken as equal, and steps not tried.
    """
    complete = len(found_m) >= FEWEST and float(np.ptp(found_m[:, 1])) >= SPREAD * height_m
    seen, still = (found_m - reference_m).T.ravel(), _still(reference_m / height_m)
    step_m = _step_m(seen, still, found_m[:, 1], height_m) if complete else None
    design = np.hstack([still, *_both(_moves(found_m[:, 1], step_m, height_m))])
    fitted = np.arange(6) if complete else np.array([0, 1, 4, 5])
    numbers = np.zeros(6)
    numbers[fitted], *_ = np.linalg.lstsq(design[:, fitted], seen, rcond=None)
    variance = float(np.sum((seen - design @ numbers) ** 2)) / max(len(seen) - len(fitted), 1)
    spread = np.linalg.pinv(design[:, fitted].T @ design[:, fitted])
    std_m = math.sqrt(variance * max(float(spread[-2, -2]), float(spread[-1, -1])))
    return _Fit(numbers, std_m, step_m, height_m, len(reference_m), complete)


def _step_m(seen: Floats, still: Floats, row_m: Floats, height_m: float) -> float | None:
    """Return the row of the best step, or None where a steady movement explains nearly as much."""
    basis, _ = np.linalg.qr(still)
    rows = np.sort(row_m)
    places = (rows[FEWEST_STRAYS - 1 : -FEWEST_STRAYS] + rows[FEWEST_STRAYS : 1 - FEWEST_STRAYS]) / 2.0
    every = (None, *(float(place) for place in places))
    squares = [_squares(basis, seen, _moves(row_m, step, height_m)) for step in every]
    best = int(np.argmin(squares))
    gain = len(seen) * math.log(max(squares[0], 1e-300) / max(squares[best], 1e-300))
    return every[best] if gain > STEP_SURER else None


def _squares(basis: Floats, seen: Floats, moves: Floats) -> float:
    """Return the sum of squares that a movement leaves, beside what an orthonormal basis of the rest explains."""
    columns = np.hstack([seen[:, None], *_both(moves)])
    seen_left, *moved = (columns - basis @ (basis.T @ columns)).T
    u, v = moved
    uu, vv, uv = float(u @ u), float(v @ v), float(u @ v)
    us, vs = float(u @ seen_left), float(v @ seen_left)
    det = uu * vv - uv * uv
    explained = (us * us * vv - 2.0 * us * vs * uv + vs * vs * uu) / det if det > 1e-12 * uu * vv else 0.0
    return max(float(seen_left @ seen_left) - explained, 0.0)
