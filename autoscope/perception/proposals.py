"""Regions of any image that may be worth a look: superpixels with features, ranked by how unlike all others they are.

No training, and no idea of what is looked for: an image is divided into patches of about one size that follow its edges
(SLIC; Achanta et al., IEEE Trans. Pattern Anal. 34 (2012) 2274), each described by brightness, contrast, edges and
texture (local binary patterns; Ojala et al., IEEE Trans. Pattern Anal. 24 (2002) 971).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.feature import local_binary_pattern
from skimage.segmentation import slic

from autoscope.config_model import ConfigModel
from autoscope.errors import FrameRejected
from autoscope.perception.regions import pixel_size_m
from autoscope.quantities import PositiveLength
from autoscope.records import Frame, Value

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]

FEATURES = ("brightness", "contrast", "edges", "blobs", "flatness", "coarseness", "irregularity")
"""What a patch is described by."""
NEIGHBOURS = 8
"""Of a local binary pattern, at one pixel's distance."""
SMALLEST_PX = 32
CLIP = 6.0
"""Features beyond this many robust standard deviations count as that."""


class ProposalConfig(ConfigModel):
    """How large patches are, and how many are proposed."""

    size_m: PositiveLength = 40e-9
    """Side of a patch."""
    compactness: float = Field(default=0.1, gt=0)
    """Larger: squarer patches; smaller: patches that follow brightness."""
    neighbours: PositiveInt = 5
    """A patch is as novel as its distance to this many most similar ones."""
    count: PositiveInt = 20
    """Patches proposed at most."""
    diversity: float = Field(default=0.5, ge=0, le=1)
    """0: the most novel ones, however alike; 1: those unlike each other."""


class Proposal(Value):
    """One patch, with why it is proposed.

    Positions are offsets from the centre of the frame along columns (x) and rows (y).
    """

    x_m: float
    y_m: float
    area_m2: float
    score: float
    """How unlike the others it is: mean distance to the most similar ones, in robust standard deviations."""
    features: tuple[float, ...]
    """In the order of `FEATURES`, in robust standard deviations from the median patch."""
    reason: str


def propose(frame: Frame, config: ProposalConfig | None = None, seen: Floats | None = None) -> tuple[Proposal, ...]:
    """Return patches of an image, the one most worth a look first.

    Parameters
    ----------
    frame : Frame
        An image with square pixels.
    config : ProposalConfig, optional
        Sizes and numbers.
    seen : (n, d) float64, optional
        Raw features (`describe`) of all patches seen before in other images: novelty is against them too.

    Raises
    ------
    FrameRejected
        Not an image with square pixels in a unit of length, not finite, or smaller than four patches.
    """
    wanted = config or ProposalConfig()
    pixel_m = pixel_size_m(frame)
    labels, raw = describe(frame, wanted)
    known = raw if seen is None or len(seen) == 0 else np.vstack([seen, raw])
    scaled, reference = standardised(raw, known), standardised(known, known)
    score = novelty(scaled, reference, wanted.neighbours)
    chosen = diverse(scaled, score, wanted.count, wanted.diversity)
    numbers = np.arange(len(raw))
    places = np.array(ndimage.center_of_mass(np.ones(labels.shape), labels, numbers))
    areas = np.bincount(labels.ravel(), minlength=len(raw)) * pixel_m**2
    rows, columns = labels.shape
    return tuple(
        Proposal(
            x_m=float((places[k, 1] + 0.5 - columns / 2) * pixel_m),
            y_m=float((places[k, 0] + 0.5 - rows / 2) * pixel_m),
            area_m2=float(areas[k]),
            score=float(score[k]),
            features=tuple(float(v) for v in scaled[k]),
            reason=reason(scaled[k], float(score[k]), len(known)),
        )
        for k in chosen
    )


def describe(frame: Frame, config: ProposalConfig) -> tuple[Labels, Floats]:
    """Return the patches of an image as labels (h, w) from 0, and their raw features (n, d).

    Raises
    ------
    FrameRejected
        See `propose`.
    """
    pixel_m, image = pixel_size_m(frame), np.asarray(frame.data, dtype=np.float64)
    patches = round(image.size * pixel_m**2 / config.size_m**2)
    if min(image.shape) < SMALLEST_PX or not np.isfinite(image).all() or patches < 4:
        raise FrameRejected(
            "an image to be divided must be finite, and larger than four patches",
            where=frame.meta.signal,
            value=image.shape,
            limit=f">= {SMALLEST_PX} px a side",
            remedy="Lower 'size', or take a larger field",
        )
    low, high = np.percentile(image, (1.0, 99.0))
    unit = np.clip((image - low) / max(high - low, 1e-300), 0.0, 1.0)
    smooth = ndimage.gaussian_filter(unit, 1.0)
    labels = slic(smooth, n_segments=patches, compactness=config.compactness, channel_axis=None, start_label=1)
    _, numbered = np.unique(labels, return_inverse=True)  # slic may leave numbers out
    numbered = numbered.reshape(image.shape).astype(np.intp)
    return numbered, _features(unit, smooth, numbered)


def _features(unit: Floats, smooth: Floats, labels: Labels) -> Floats:
    numbers = np.arange(int(labels.max()) + 1)
    edges = ndimage.gaussian_gradient_magnitude(unit, 1.0)
    blobs = -ndimage.gaussian_laplace(unit, 2.0)
    grey = np.rint(255.0 * smooth).astype(np.uint8)
    pattern = local_binary_pattern(grey, NEIGHBOURS, 1.0, method="uniform")  # type: ignore[no-untyped-call]
    columns = [
        ndimage.mean(unit, labels, numbers),
        ndimage.standard_deviation(smooth, labels, numbers),
        ndimage.mean(edges, labels, numbers),
        ndimage.maximum(blobs, labels, numbers),
        *(ndimage.mean(pattern_is, labels, numbers) for pattern_is in _textures(pattern)),
    ]
    return np.column_stack([np.asarray(c, dtype=np.float64) for c in columns])


def _textures(pattern: Floats) -> tuple[Floats, Floats, Floats]:
    """Return where the local pattern is flat or a spot, an edge, and none of the uniform ones."""
    flat = (pattern == 0) | (pattern == NEIGHBOURS)
    irregular = pattern == NEIGHBOURS + 1
    return flat.astype(np.float64), (~flat & ~irregular).astype(np.float64), irregular.astype(np.float64)


def standardised(raw: Floats, known: Floats) -> Floats:
    """Return features in robust standard deviations (1.4826 median absolute deviations) from the known median."""
    middle = np.median(known, axis=0)
    spread = 1.4826 * np.median(np.abs(known - middle), axis=0)
    spread = np.where(spread > 0.0, spread, np.maximum(known.std(axis=0), 1e-12))
    return np.clip((raw - middle) / spread, -CLIP, CLIP)


def novelty(features: Floats, known: Floats, neighbours: int) -> Floats:
    """Return the mean distance of each row to the most similar known ones, itself apart, over the root of dimension."""
    count = min(neighbours + 1, len(known))
    distance, _ = cKDTree(known).query(features, k=count)
    near = np.atleast_2d(distance.reshape(len(features), -1))[:, 1:]
    return np.asarray(near.mean(axis=1) / np.sqrt(features.shape[1])) if near.size else np.zeros(len(features))


def diverse(features: Floats, score: Floats, count: int, diversity: float) -> list[int]:
    """Return rows in the order in which they add most: score, times the distance to those already chosen.

    Greedy maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998) with distances relative to the largest.
    """
    apart = np.ones(len(score))
    left = np.ones(len(score), dtype=bool)
    chosen: list[int] = []
    scale = max(float(np.ptp(features, axis=0).max(initial=0.0)) * np.sqrt(features.shape[1]), 1e-12)
    while len(chosen) < min(count, len(score)):
        worth = np.where(left, score * ((1.0 - diversity) + diversity * apart), -np.inf)
        best = int(np.argmax(worth))
        chosen.append(best)
        left[best] = False
        apart = np.minimum(apart, np.linalg.norm(features - features[best], axis=1) / scale)
    return chosen


def reason(features: Floats, score: float, known: int) -> str:
    """Return why a patch is proposed: what of it is most unusual, with the numbers."""
    order = np.argsort(-np.abs(features))[:2]
    named = " and ".join(f"{FEATURES[k]} {features[k]:+.1f}" for k in order)
    return (
        f"{named} robust standard deviations from the median of {known} patches; {score:.1f} from the most similar ones"
    )
