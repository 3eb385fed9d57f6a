"""Focus kept over tilted and bumpy samples: overview tiles within the depth of focus, and images spent on it."""

from __future__ import annotations

import numpy as np

from tests.figures.survey_night import Watched, watched

CONVERGENCE_RAD = 10e-3
PIXEL_M = 2e-6 / 512
DEPTH_M = PIXEL_M / (2.0 * CONVERGENCE_RAD)
"""Defocus at which the disc of rays, ``2 * convergence * defocus`` wide, is as wide as a pixel of the overview."""
SAMPLES = {
    "gentle": {"tilt_x": "10 mrad", "tilt_y": "-6 mrad", "bump": "60 nm", "bump_length": "4 um"},
    "steep": {"tilt_x": "25 mrad", "tilt_y": "-15 mrad", "bump": "100 nm", "bump_length": "6 um"},
}


def overviews(sample: str, seed: int) -> tuple[float, float, int]:
    """Return the part of the tiles in focus, focus images a tile, and the number of tiles, of one pass over an area."""
    specimen = {"kind": "catalyst", "extent": ["26 um", "26 um"], "density": "20 um^-2", "height": SAMPLES[sample]}
    night = watched(
        seed,
        environment__options__microscope__specimens=[specimen],
        policy__options__area={"x": ["-11 um", "11 um"], "y": ["-11 um", "11 um"]},
        policy__options__scouts=0,
        policy__options__overview_share=1.0,
        budget__time="12 min",
    )
    defocus_m = _defocus_of_overviews(night)
    images = sum(s.decision.purpose == "focus" and s.decision.action.kind == "scan" for s in night.steps)
    return float(np.mean(np.abs(defocus_m) <= DEPTH_M)), images / len(defocus_m), len(defocus_m)


def _defocus_of_overviews(night: Watched) -> np.ndarray:
    pairs = zip(night.steps, night.truths, strict=True)
    return np.array([truth["true_defocus_m"] for step, truth in pairs if step.decision.purpose == "overview"])
