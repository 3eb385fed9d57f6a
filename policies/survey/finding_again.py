"""Finding a place again by its particles: in the field of a tile, or at lower magnification among all known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscope.perception.constellation import Match, match
from autoscope.perception.image_drift import ImageDrift, image_drift
from autoscope.perception.regions import ParticleConfig, find_particles, pixel_size_m
from autoscope.records import Frame
from policies.survey.catalogue import Catalogue
from policies.survey.config import AlignConfig

Floats = NDArray[np.float64]
BRIGHTEST = 150
"""Particles of a wide image that are matched: every pair within the reach of a jump votes."""


@dataclass(frozen=True)
class Sight:
    """What an image of a tile's particles tells."""

    found: Match
    drift: ImageDrift | None
    """How far the sample moved meanwhile; None where the particles do not tell."""
    pixel_m: float


def find_in_tile(
    frame: Frame,
    catalogue: Catalogue,
    tile: int,
    config: AlignConfig,
    particles: ParticleConfig,
    expected_m: tuple[float, float],
    std_m: float,
) -> Sight:
    """Return by how much a tile's particles are displaced from where they were first seen, and moved meanwhile.

    Parameters
    ----------
    frame : Frame
        An image centred on the tile.
    expected_m, std_m : (float, float), float
        What the drift model says, and how surely.
    """
    reach_m = config.fov_m / 2 + config.reach_m + max(abs(v) for v in expected_m)
    ours_m, seen_m = catalogue.offsets_m(tile, within_m=reach_m), _positions(frame, particles)
    found = match(
        ours_m,
        seen_m,
        reach_m=config.reach_m,
        tolerance_m=config.tolerance_m,
        expected_m=expected_m,
        expected_std_m=std_m,
    )
    pixel_m = pixel_size_m(frame)
    drift = image_drift(
        ours_m,
        seen_m,
        found,
        height_m=frame.data.shape[0] * pixel_m,
        reach_m=config.reach_m,
        tolerance_m=config.tolerance_m,
    )
    return Sight(found, drift, pixel_m)


def find_anywhere(
    frame: Frame,
    catalogue: Catalogue,
    config: AlignConfig,
    particles: ParticleConfig,
    axis_m: tuple[float, float],
) -> Match:
    """Return by how much all particles are displaced from where they are believed to be.

    Parameters
    ----------
    frame : Frame
        A wide image.
    axis_m : (float, float)
        The place under the optical axis, as it is believed.
    """
    reach_m = config.wide_fov_m / 2 + config.wide_reach_m
    around = np.column_stack([catalogue.column("x") - axis_m[0], catalogue.column("y") - axis_m[1]])
    around = around[np.all(np.abs(around) <= reach_m, axis=1)]
    found = _positions(frame, particles)[:BRIGHTEST]
    return match(around, found, reach_m=config.wide_reach_m, tolerance_m=config.wide_tolerance_m)


def _positions(frame: Frame, particles: ParticleConfig) -> Floats:
    return np.array([(r.x_m, r.y_m) for r in find_particles(frame, particles)], dtype=np.float64).reshape(-1, 2)
