"""Regions proposed on real images, against maps that the proposals never saw.

Defined before anything was measured, and not tuned: a pixel is of interest where the target map lies above its Otsu
threshold; a patch is, where most of its pixels are. As many patches are taken as are of interest, so that precision and
recall are one number (R-precision); a blind choice has the share of patches of interest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from autoscope.perception.few_shot import FewShot
from autoscope.perception.proposals import FEATURES, ProposalConfig, describe, novelty, standardised
from autoscope.perception.regions import ParticleConfig, find_particles
from autoscope.records import Axis, Frame, FrameMeta
from tests.figures.arena.sets import arena_set, names
from tests.figures.figure import Figure
from tests.figures.learning import ROOT

SHARED = Path(os.environ.get("AUTOSCOPE_DATA", ROOT.parent / "shared" / "data"))
SETS = ("eds_stem_sio2_128x128", "eels_cuzn_coreloss", "eels_nanocubes_dkl_scalar", "eds_sem_agal_50x50")
"""Those whose image is independent of the spectra."""
PATCHES_ACROSS = 16
"""Along the shorter side."""
MAPS = {"JEOL": "JEOL Fe K", "P45": "P45 Al K, which the image does not show"}
"""Those of ``make data``, by their names in the arena; their truth is the measured map smoothed by one pixel."""
EXAMPLES = 3
"""Of each kind, as an operator would click."""
SEEDS = 20
SMALLEST_COMPONENT_PX = 4
UPSAMPLED = 4
"""The maps are small: images are interpolated so that patches and textures have pixels. Nothing is added."""


@dataclass(frozen=True)
class Labelled:
    """Patches of an image with their features, and which of them are of interest."""

    raw: NDArray[np.float64]
    wanted: NDArray[np.bool_]


def figures(slow: bool) -> Iterator[Figure]:
    """Yield precision and recall on every map that is on this machine."""
    for name in SETS:
        path = SHARED / f"{name}.npz"
        if path.exists():
            yield from _of_map(name, *_read(path))
    for name, what in MAPS.items():
        if name in names():
            stored = arena_set(name)
            image = np.asarray(stored.data.image, dtype=np.float64)
            yield from _of_map(what.split(",")[0].replace(" ", "_"), image, stored.truth > threshold_otsu(stored.truth))
        else:
            yield Figure(f"regions_{name}", None, "", "", None, 0, f"no {what}: make data")
    if not any((SHARED / f"{name}.npz").exists() for name in SETS):
        yield Figure("regions", None, "", "", None, 0, f"no maps in {SHARED}: set AUTOSCOPE_DATA")


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    with np.load(path, allow_pickle=False) as data:
        image, target = np.asarray(data["image"], np.float64), np.asarray(data["target"], np.float64)
    return image, target > threshold_otsu(target)


def _of_map(name: str, image: NDArray[np.float64], interest: NDArray[np.bool_]) -> Iterator[Figure]:
    patches = labelled(image, interest)
    base = float(patches.wanted.mean())
    known = standardised(patches.raw, patches.raw)
    novel = r_precision(novelty(known, known, 5), patches.wanted)
    how = f"{name}: {len(base_rows(patches))} of {len(patches.wanted)} patches of interest; blind {base:.2f}"
    yield Figure(f"regions_novelty_{name}", round(novel, 3), "precision = recall", "", None, len(patches.wanted), how)
    shots = [few_shot(patches, seed) for seed in range(SEEDS)]
    low, middle, high = np.percentile(shots, (5, 50, 95))
    how += f"; {EXAMPLES} examples and {EXAMPLES} counter-examples, {SEEDS} seeds, 5 to 95 %: {low:.2f} to {high:.2f}"
    better = bool(middle > base)
    yield Figure(
        f"regions_few_shot_{name}", round(float(middle), 3), "precision = recall", "> blind", better, SEEDS, how
    )
    precision, recall, found = particles(image, interest)
    how = f"{name}: {found} particles by find_particles (radius 1.5 to 12 px), against components of the map"
    yield Figure(f"regions_particles_{name}", [round(precision, 3), round(recall, 3)], "P, R", "", None, found, how)


def labelled(image: NDArray[np.float64], interest: NDArray[np.bool_]) -> Labelled:
    """Return the patches of an image."""
    fine = ndimage.zoom(image, UPSAMPLED, order=1)
    config = ProposalConfig(size_m=min(fine.shape) / PATCHES_ACROSS * 1e-9)
    labels, raw = describe(framed(fine), config)
    truth = ndimage.zoom(interest.astype(np.float64), UPSAMPLED, order=0)
    return Labelled(raw, np.asarray(ndimage.mean(truth, labels, np.arange(len(raw))) > 0.5))


def base_rows(patches: Labelled) -> NDArray[np.intp]:
    """Return the patches of interest."""
    return np.flatnonzero(patches.wanted)


def framed(image: NDArray[np.float64]) -> Frame:
    """Return an array as a frame with pixels of a nanometre."""
    y, x = (Axis(name=n, unit="m", size=s, scale=1e-9) for n, s in zip("yx", image.shape, strict=True))
    return Frame(FrameMeta(signal="image", axes=(y, x), time_s=0.0, dwell_s=1.0, x_m=0.0, y_m=0.0), image)


def r_precision(score: NDArray[np.float64], wanted: NDArray[np.bool_]) -> float:
    """Return the part of the best that is wanted, as many as are wanted."""
    best = np.argsort(-score, kind="stable")[: int(wanted.sum())]
    return float(wanted[best].mean()) if len(best) else 0.0


def few_shot(patches: Labelled, seed: int) -> float:
    """Return the R-precision among patches that were no examples."""
    rng = np.random.default_rng(seed)
    yes, no = (rng.permutation(np.flatnonzero(patches.wanted == kind))[:EXAMPLES] for kind in (True, False))
    shot = FewShot(patches.raw, yes.tolist(), no.tolist(), FEATURES)
    rest = np.setdiff1d(np.arange(len(patches.raw)), np.r_[yes, no])
    return r_precision(shot.probability(patches.raw[rest]), patches.wanted[rest])


def particles(image: NDArray[np.float64], interest: NDArray[np.bool_]) -> tuple[float, float, int]:
    """Return precision and recall of particles by their centres, and how many were found."""
    found = find_particles(framed(image), ParticleConfig(min_radius_m=1.5e-9, max_radius_m=12e-9))
    rows, columns = image.shape
    places = [(int(r.y_m * 1e9 + rows / 2), int(r.x_m * 1e9 + columns / 2)) for r in found]
    components, count = ndimage.label(interest)
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    large = {k for k in range(1, count + 1) if sizes[k] >= SMALLEST_COMPONENT_PX}
    hit = [int(components[place]) for place in places]
    precision = float(np.mean([k > 0 for k in hit])) if hit else 0.0
    recall = len(large & set(hit)) / len(large) if large else 0.0
    return precision, recall, len(found)
