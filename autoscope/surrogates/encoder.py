"""Features of pixels learnt from the overview alone, before the first measurement, by a small convolutional network.

Two looks at neighbouring places, with other noise, contrast and, where asked, another orientation, should be described
alike, while different places keep different descriptions: VICReg (Bardes, Ponce & LeCun, ICLR 2022). What neighbours
share is the texture; the exact position of its grains is chance, which patches and jets describe already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from autoscope.errors import DataError
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
Indices = NDArray[np.int64]

CROP_PX = 96
"""Training looks at crops of about this side: large enough to hold unlike regions."""
STRIP_PX = 64
"""Large images are encoded in strips of so many rows."""
PLACES = 1024
"""Places compared in each step."""
PAIRS = 20_000
"""Pairs of neighbours from which the reliability of the features is told."""
WIDER = 3
"""The network learns so many times more features than are kept."""
NOISE, CONTRAST = 0.3, 0.15
"""Of the second look: noise in units of the image's spread, and log-normal spread of its contrast."""
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
"""Weights of the three terms of VICReg, as its authors chose them."""


@dataclass(frozen=True)
class Training:
    """How long and how hard an encoder is trained.

    Attributes
    ----------
    steps : int
        Steps of Adam; about 0.1 s of one core each.
    learning_rate : float
        Of Adam.
    """

    steps: int = 40
    learning_rate: float = 1e-3


class Encoder(nn.Module):
    """Two layers of convolutions, the mean strength of their response over a patch, and a small map of that.

    Without padding: an image (b, 1, h + 2 halo, w + 2 halo) gives (b, dimensions, h, w).

    Parameters
    ----------
    patch_px : int
        Side of the patch over which responses are averaged; an even one is widened by one.
    dimensions : int
        Numbers that describe a pixel.
    """

    def __init__(self, patch_px: int, dimensions: int) -> None:
        super().__init__()
        pool = patch_px + 1 - patch_px % 2
        self.halo = 2 + 2 + pool // 2
        self.shift = pool
        self.filters = nn.Sequential(nn.Conv2d(1, 12, 5), nn.SiLU(), nn.Conv2d(12, 24, 3, dilation=2))
        self.average = nn.AvgPool2d(pool, stride=1)
        self.describe = nn.Sequential(nn.Conv2d(24, 24, 1), nn.SiLU(), nn.Conv2d(24, dimensions, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the description of every pixel that is ``halo`` or more away from the edge."""
        strength = torch.log1p(self.filters(image).square())  # a texture is how strong responses are, not their phase
        described: Tensor = self.describe(self.average(strength))
        return described


@one_thread()
def encode(
    image: NDArray[np.floating],
    patch_px: int,
    dimensions: int,
    rng: np.random.Generator,
    *,
    rotation_invariant: bool = False,
    training: Training | None = None,
    device: str = "cpu",
) -> Float32:
    """Train an encoder on an image (height, width) and return its descriptions of every pixel.

    Parameters
    ----------
    image : array
        (height, width), any unit.
    patch_px : int
        Side of the surroundings that describe a pixel, about.
    dimensions : int
        Numbers for each pixel.
    rng : numpy.random.Generator
        All chance comes from it; the same generator gives the same features on the same machine.
    rotation_invariant : bool
        Train with looks turned by any angle and average over quarter turns: exactly blind to those, less so to others.
    training : Training, optional
        How long to train.
    device : str
        Where to compute, as torch names it; ``"auto"`` takes a GPU if there is one.

    Returns
    -------
    array
        (height * width, dimensions) float32, best first, of zero mean; the first has unit spread and each later one as
        much less as it is less reliable. A column that says nothing is zero.

    Raises
    ------
    DataError
        Not a two-dimensional image, or not finite.
    """
    if image.ndim != 2 or image.size == 0 or not np.isfinite(image).all():
        raise DataError("an overview must be a finite two-dimensional image", value=image.shape)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = Encoder(patch_px, WIDER * dimensions).to(device)
    level = np.asarray(image, dtype=np.float64)
    level = (level - level.mean()) / max(float(level.std()), 1e-300)
    padded = torch.as_tensor(np.pad(level, network.halo, mode="reflect"), dtype=torch.float32, device=device)
    _train(network, padded, rng, rotation_invariant, training or Training())
    with torch.no_grad():
        described = _dense(network, padded, rotation_invariant)
    return _reliable(described.cpu().numpy().astype(np.float64), dimensions, network.shift, rng)


def _reliable(described: Array, count: int, shift: int, rng: np.random.Generator) -> Float32:
    """Return the ``count`` uncorrelated directions (pixels, count) in which neighbours agree best, best first.

    Canonical correlations of places with others ``shift`` pixels away (Hotelling 1936, with both sides alike). Each
    column's spread is its correlation relative to the first, so that what is chance weighs little.
    """
    depth, height, width = described.shape
    rows = described.reshape(depth, -1).T
    rows = rows - rows.mean(axis=0)
    strength, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    kept = strength > 1e-8 * max(float(strength[-1]), 1e-12)
    white = rows @ (axes[:, kept] / np.sqrt(strength[kept]))
    y, x = rng.integers(height, size=PAIRS), rng.integers(width, size=PAIRS)
    near_y, near_x = _nearby(y, x, (height, width), shift, rng)
    one, other = white[y * width + x], white[near_y * width + near_x]
    both = one.T @ other
    correlation, turn = np.linalg.eigh((both + both.T) / (2.0 * PAIRS))
    best = np.argsort(-correlation)[:count]
    weight = np.maximum(correlation[best], 0.05) / max(float(correlation.max(initial=0.0)), 0.05)
    columns = np.zeros((len(rows), count), dtype=np.float32)
    columns[:, : len(best)] = (white @ turn[:, best]) * weight
    return columns


def _nearby(
    y: Indices, x: Indices, shape: tuple[int, int], shift: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Return places about ``shift`` pixels away in any direction, as far as the image reaches."""
    angle = rng.uniform(0.0, 2.0 * math.pi, len(y))
    rows = y + np.rint(shift * np.sin(angle)).astype(np.int64)
    columns = x + np.rint(shift * np.cos(angle)).astype(np.int64)
    return np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)


def vicreg(one: Tensor, other: Tensor) -> Tensor:
    """Return the VICReg loss of two descriptions (n, d) of the same places.

    Mean squared difference; a hinge that keeps the spread of each column at one; squared covariances of different
    columns, so that none repeats another (Bardes, Ponce & LeCun 2022, eqs. 1-6).
    """
    loss = INVARIANCE * functional.mse_loss(one, other)
    for described in (one, other):
        centred = described - described.mean(dim=0)
        spread = torch.sqrt(centred.square().mean(dim=0) + 1e-4)
        covariance = centred.mT @ centred / (len(centred) - 1)
        off_diagonal = covariance - torch.diag(covariance.diagonal())
        loss = loss + VARIANCE * 0.5 * functional.relu(1.0 - spread).mean()
        loss = loss + COVARIANCE * off_diagonal.square().sum() / described.shape[1]
    return loss


def _train(
    network: Encoder, padded: Tensor, rng: np.random.Generator, rotation_invariant: bool, training: Training
) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=training.learning_rate, weight_decay=1e-5)
    sides = [min(int(side), CROP_PX + 2 * network.halo) for side in padded.shape]
    if rotation_invariant:
        sides = [min(sides)] * 2  # a turned rectangle would not fit on itself
    for _ in range(training.steps):
        top, left = (int(rng.integers(n - side + 1)) for n, side in zip(padded.shape, sides, strict=True))
        crop = padded[top : top + sides[0], left : left + sides[1]]
        adam.zero_grad()
        loss = vicreg(*_two_looks(network, crop, rng, rotation_invariant))
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()


def _two_looks(
    network: Encoder, crop: Tensor, rng: np.random.Generator, rotation_invariant: bool
) -> tuple[Tensor, Tensor]:
    """Return descriptions (places, dimensions) of the same places in two looks at a crop."""
    turn = float(rng.uniform(0.0, 2.0 * math.pi)) if rotation_invariant else 0.0
    if min(crop.shape) <= 2 * network.halo + 1:  # a single pixel cannot be turned
        turn = 0.0
    first, second = network(_look(crop, rng)), network(_look(_turned(crop, turn), rng))
    second = torch.stack([_turned(channel, -turn) for channel in second[0]])[None] if turn else second
    height, width = first.shape[2:]
    y, x = _places(height, width, rng, rotation_invariant)
    near = _nearby(y, x, (height, width), network.shift, rng)
    return first[0][:, y, x].mT, second[0][:, *near].mT


def _look(crop: Tensor, rng: np.random.Generator) -> Tensor:
    noise = torch.as_tensor(rng.normal(0.0, NOISE, tuple(crop.shape)), dtype=crop.dtype, device=crop.device)
    return (crop * math.exp(rng.normal(0.0, CONTRAST)) + noise)[None, None]


def _turned(plane: Tensor, angle: float) -> Tensor:
    """Return a square plane turned about its centre by an angle in radians, by bilinear interpolation."""
    if angle == 0.0:
        return plane
    cosine, sine = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]], dtype=plane.dtype, device=plane.device)
    grid = functional.affine_grid(matrix, [1, 1, *plane.shape], align_corners=True)
    turned = functional.grid_sample(plane[None, None], grid, padding_mode="reflection", align_corners=True)
    return turned[0, 0]


def _places(
    height: int, width: int, rng: np.random.Generator, inside_circle: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of random places; where turned, only those that a turn leaves inside."""
    y, x = rng.integers(height, size=PLACES), rng.integers(width, size=PLACES)
    if inside_circle:
        inside = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) <= max(min(height, width) / 2, 1.0)
        y, x = y[inside], x[inside]
    return y, x


def _dense(network: Encoder, padded: Tensor, rotation_invariant: bool) -> Tensor:
    """Return the descriptions (dimensions, height, width) of a whole image, in strips."""
    turns = range(4) if rotation_invariant else range(1)
    looks = [torch.rot90(_strips(network, torch.rot90(padded, k)), -k, (1, 2)) for k in turns]
    return torch.stack(looks).mean(dim=0)


def _strips(network: Encoder, padded: Tensor) -> Tensor:
    halo, height = network.halo, len(padded) - 2 * network.halo
    starts = range(0, height, STRIP_PX)
    strips = [network(padded[s : min(s + STRIP_PX, height) + 2 * halo][None, None])[0] for s in starts]
    return torch.cat(strips, dim=1)
