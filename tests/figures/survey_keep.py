"""Keeping the instrument right through a night: focus, position after hours of drift, and what that is good for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.figures.figure import Figure
from tests.figures.nights import night
from tests.figures.survey_focus import DEPTH_M, SAMPLES, overviews
from tests.figures.survey_night import Watched, watched

SEEDS = tuple(range(501, 511))
RARE_SEEDS = tuple(range(301, 311))
HALF_PIXEL_M = 2e-9
"""Half a pixel of the spectroscopy grid: 4 nm, the smallest particle looked for (``particles.min_radius`` 2 nm)."""
HARSH = {
    "ramp_x": "20 pm/s",
    "ramp_y": "-15 pm/s",
    "walk_per_minute": "0.5 nm",
    "creep_fraction": 5e-3,
    "creep_max": "20 nm",
    "load": "100 nm",
}
"""Some four times the simulated microscope's usual drift: about a micrometre in twelve hours."""
LATE_S = 10 * 3600.0


def figures(slow: bool) -> Iterator[Figure]:
    """Yield focus and position; rare particles against the survey in order only with ``slow`` (an hour)."""
    yield from focus()
    yield from position()
    if slow:
        yield from rare()


def focus(seeds: tuple[int, ...] = SEEDS) -> Iterator[Figure]:
    """Yield the part of the overview tiles within the depth of focus, and extra focus images a tile."""
    for name, height in SAMPLES.items():
        rows = np.array([overviews(name, seed) for seed in seeds])
        tiles = rows[:, 2].sum()
        share, images = (float((rows[:, k] * rows[:, 2]).sum() / tiles) for k in (0, 1))
        how = (
            f"{name}: {height}; within +-{DEPTH_M * 1e9:.0f} nm, where rays spread over one overview pixel; "
            f"seeds {seeds}; worst seed {rows[:, 0].min():.3f}, most images {rows[:, 1].max():.2f}"
        )
        yield Figure(f"tiles_in_focus_{name}", round(share, 4), "of tiles", ">= 0.95", share >= 0.95, int(tiles), how)
        yield Figure(f"focus_images_{name}", round(images, 3), "a tile", "< 0.3", images < 0.3, int(tiles), how)


def drifted(seed: int, **more: object) -> Watched:
    """Return a night of twelve hours under harsh drift, a spectrum a minute."""
    return watched(
        seed,
        environment__options__microscope__drift=HARSH,
        policy__options__dwell="60 s",
        policy__options__presence={"target": "pt_m", "at_least": 6000},
        **more,
    )


def position(seeds: tuple[int, ...] = SEEDS) -> Iterator[Figure]:
    """Yield the position error of measured sites, and spectra entered for a particle that were taken on another."""
    nights = [drifted(seed) for seed in seeds]
    error_m = np.concatenate([n.error_m for n in nights])
    late = np.concatenate([n.time_s > LATE_S for n in nights])
    wrong = int(sum((~n.nearest_is_meant & n.entered).sum() for n in nights))
    hours = min(float(n.time_s.max()) for n in nights) / 3600.0
    quantiles = np.round(np.percentile(error_m, [25, 75, 95, 99]) * 1e9, 2).tolist()
    how = (
        f"{len(seeds)} nights of 12 h (last spectrum after at least {hours:.1f} h), drift {HARSH}, seeds {seeds}; "
        f"25, 75, 95, 99 %: {quantiles} nm; half a pixel is {HALF_PIXEL_M * 1e9:g} nm"
    )
    for name, errors in (("position_error", error_m), ("position_error_after_10_h", error_m[late])):
        middle = float(np.median(errors))
        yield Figure(name, round(middle * 1e9, 2), "nm", "< 2", middle < HALF_PIXEL_M, len(errors), how)
    yield Figure("sites_on_the_wrong_particle", wrong, "spectra", "0", wrong == 0, len(error_m), how)


def rare(seeds: tuple[int, ...] = RARE_SEEDS) -> Iterator[Figure]:
    """Yield rare particles found and measured, over those of the survey that visits in order."""
    pairs = [(night("overnight_survey.yaml", s), night("segment_and_visit.yaml", s)) for s in seeds]
    ratios = [a.rare_measured / max(1, b.rare_measured) for a, b in pairs]
    counts = [f"{a.rare_measured} and {b.rare_measured} of {a.rare_total}" for a, b in pairs]
    hours = max(a.end.time_s for a, _ in pairs) / 3600.0
    how = f"seeds {seeds}: {counts}; worst {min(ratios):.2f}; the agent was done after {hours:.1f} h of 10 at most"
    middle = float(np.median(ratios))
    yield Figure("rare_over_in_order", round(middle, 2), "x (median)", ">= 2", middle >= 2.0, len(pairs), how)
