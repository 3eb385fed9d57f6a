"""What is looked for in an image of one level: the places of the next, each with a value and a reason."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label, median_filter
from skimage.filters import threshold_otsu

from autoscope.perception.regions import find_particles
from autoscope.records import Frame
from policies.levels.config import FieldsConfig, ParticlesConfig, SquaresConfig

Floats = NDArray[np.float64]
VACUUM = 0.25
"""Between the darkest signal and that of film, where vacuum ends."""


@dataclass(frozen=True)
class Found:
    """A place, at an offset from the centre of the image it was found in; ``value`` in [0, 1]."""

    x_m: float
    y_m: float
    value: float
    reason: str


def find_places(frame: Frame, what: SquaresConfig | FieldsConfig | ParticlesConfig) -> list[Found]:
    """Return the places in an image that are worth a closer look, most valuable first."""
    if isinstance(what, SquaresConfig):
        found = _squares(frame, what)
    elif isinstance(what, FieldsConfig):
        found = _fields(frame, what)
    else:
        found = _particles(frame, what)
    return sorted(found, key=lambda place: (-place.value, place.y_m, place.x_m))


def _squares(frame: Frame, what: SquaresConfig) -> list[Found]:
    """Return whole squares: bars scatter strongly, film little, vacuum not at all.

    Bars are above the threshold of Otsu (IEEE Trans. Syst. Man Cybern. 9, 62 (1979)) of the logarithm; what they
    enclose is a square if it is of the size of one, and is whole if it has film nearly everywhere. Blocked ones scatter
    like bars.
    """
    image = median_filter(np.asarray(frame.data, dtype=np.float64), 3)
    pixel_m = frame.meta.axes[1].scale
    logged = np.log1p(image - image.min())
    if float(np.ptp(logged)) == 0.0:
        return []
    inner = logged < threshold_otsu(logged)  # type: ignore[no-untyped-call]
    film = _film_level(image[inner]) if inner.any() else 0.0
    found = []
    labels, _ = label(inner)
    for number, box in enumerate(find_objects(labels), start=1):
        inside = labels[box] == number
        side_m = np.sqrt(inside.sum()) * pixel_m
        if not 0.75 * what.size_m < side_m < 1.25 * what.size_m or inside.mean() < 0.75:
            continue
        covered = float(np.mean(image[box] > film))
        if covered >= what.whole:
            row, column = (float((part.start + part.stop - 1) / 2) for part in box)
            x_m, y_m = _offset(frame, column, row)
            found.append(Found(x_m, y_m, covered, f"a square with film on {covered:.0%} of it"))
    return found


def _film_level(values: Floats) -> float:
    low, high = np.percentile(values, (1.0, 90.0))
    return float(low + VACUUM * (high - low))


def _fields(frame: Frame, what: FieldsConfig) -> list[Found]:
    """Return the fields of an image by how much of each is neither vacuum nor much thicker than usual."""
    image = median_filter(np.asarray(frame.data, dtype=np.float64), 3)
    usual = float(np.median(image))
    scatter = max(1.4826 * float(np.median(np.abs(image - usual))), 1e-12)
    even = np.abs(image - usual) < 3.0 * scatter
    per_side = max(1, int(frame.meta.axes[1].size * frame.meta.axes[1].scale / what.fov_m))
    rows, columns = (np.linspace(0, n, per_side + 1).astype(int) for n in image.shape)
    found = []
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            share = float(np.mean(even[top:bottom, left:right])) if bottom > top and right > left else 0.0
            x_m, y_m = _offset(frame, (left + right - 1) / 2, (top + bottom - 1) / 2)
            away = np.hypot(x_m, y_m) / (frame.meta.axes[1].size * frame.meta.axes[1].scale)
            found.append(Found(x_m, y_m, share * (1.0 - 0.2 * float(away)), f"even film on {share:.0%} of this field"))
    return found


def _particles(frame: Frame, what: ParticlesConfig) -> list[Found]:
    regions = find_particles(frame, what)
    largest = max((r.area_m2 for r in regions), default=1.0)
    return [
        Found(r.x_m, r.y_m, float(np.sqrt(r.area_m2 / largest)), f"a particle of {np.sqrt(r.area_m2) * 1e9:.3g} nm")
        for r in regions
    ]


def _offset(frame: Frame, column: float, row: float) -> tuple[float, float]:
    across, down = frame.meta.axes[1], frame.meta.axes[0]
    x_m = ((column + 0.5) / across.size - 0.5) * across.size * across.scale
    y_m = ((row + 0.5) / down.size - 0.5) * down.size * down.scale
    return float(x_m), float(y_m)
