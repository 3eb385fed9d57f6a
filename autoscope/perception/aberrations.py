"""Defocus and twofold astigmatism from a few images, by how the power spectrum falls with each setting of the lenses.

An image is the specimen convolved with the probe. For a probe whose rays fill an aperture of semi-angle ``alpha`` the
covariance is ``S = (alpha^2 / 4) D^2 + s0^2 1`` with ``D = [[f + a, b], [b, f - a]]`` (the gradient of the aberration
function; Hawkes and Kasper, Principles of Electron Optics), so the power spectrum of image ``i`` of one field is

    P_i(k) = G(k) exp(-(2 pi)^2 (alpha^2 / 4) |D_i k|^2) + N_i,     D_i = D(setting_i + offset),

with a specimen ``G`` (the smallest probe included) that all images of the field share, and white noise ``N_i``. Two
images at defoci ``u + d`` and ``u - d`` differ by ``D(u + d)^2 - D(u - d)^2 = 4 d D(u)``: linear in all three unknowns,
sign included. Displacement of the specimen changes no power spectrum, so drift between images does not matter.

The offset is found by least squares over the logarithms of all spectra of all fields together. The width of the probe
is multiplied by a free factor near one (a real aperture is not exactly what the panel says), and residuals count by
Student's t, so that a probe that is not quite Gaussian, or a field that changed, moves the result little.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.signal.windows import blackman

from autoscope.errors import FrameRejected

Array = NDArray[np.float64]

WINDOW_VARIANCE = 0.453
"""Variance, in (cycles per field)^2, of what the window spreads each frequency over. A Blackman window, for its low
skirts: the power of a specimen and a wide probe falls by many orders of magnitude."""
STEEPNESS = 3.0
"""Power of the frequency with which a specimen's power falls, about: 3 for edges, 4 for rounded particles."""
SECTORS = 16
"""Directions (over half a turn) in which power is averaged."""
RING_RATIO = 1.15
"""Outer over inner frequency of a ring."""
LOWEST_CYCLES = 2.0
"""Frequencies below this many cycles per field are the window's, not the specimen's."""
NOISE_ABOVE = 0.5
"""Frequencies (cycles/pixel) beyond this, the corners of the Fourier plane, tell the noise."""
MODES_PER_SAMPLE = 0.1
"""Independent samples of the power spectrum for each computed one: a real image has every one twice, and the window
spreads each over its neighbours."""
FIELD_SCATTER = 0.35
"""Standard deviation of the logarithm of one mode's power between two images of a field beyond counting: what a wider
probe brings in from beyond the edges, and what a window hides."""
MODEL_SCATTER = 0.03
"""The same of any number of modes together: the probe is not quite Gaussian."""
DAMPING_SCATTER = 0.05
"""The same for each unit of the exponent: what is strongly damped is hidden under what the window spreads."""
FREEDOM = 4.0
"""Degrees of freedom of Student's t."""
SPECIMEN_SCATTER = 1.5
"""Standard deviation of the logarithm of a specimen's power in one cell about a power law: a factor of 4.5."""
WIDTH_STD = 0.03
"""Standard deviation of the logarithm of (true over nominal width of the probe) squared."""
LEAST_GAIN = 1e-2
"""The fit ends when a step lowers minus the log posterior by less."""
STEPS = 25
"""Most steps of the least-squares fit."""
FIRST_STEPS = 6
"""Steps from every start, before the best `POLISHED` go on."""
POLISHED = 2


@dataclass(frozen=True)
class PolarPower:
    """The power spectrum of one image, averaged over cells of rings and sectors.

    Parameters
    ----------
    power : array (c,)
        Mean power in each cell; NaN-free and positive.
    noise : float
        Power of the white noise, in the same unit.
    """

    power: Array
    noise: float


@dataclass(frozen=True)
class Cells:
    """Where the cells lie: frequencies in cycles per pixel, and how many independent modes each holds, (c,) each."""

    kx: Array
    ky: Array
    modes: Array
    index: NDArray[np.intp]
    """Cell of each pixel of the Fourier plane, (h, w); ``c`` for those in none."""


@functools.lru_cache(maxsize=16)
def cells(height: int, width: int) -> Cells:
    """Return the cells into which the Fourier plane of an image is divided; both halves of the plane count as one.

    Examples
    --------
    >>> grid = cells(64, 64)
    >>> bool(np.hypot(grid.kx, grid.ky).max() <= NOISE_ABOVE), grid.index.shape
    (True, (64, 64))
    """
    ky, kx = np.broadcast_arrays(scipy.fft.fftfreq(height)[:, None], scipy.fft.fftfreq(width)[None])
    flip = np.where((ky < 0) | ((ky == 0) & (kx < 0)), -1.0, 1.0)
    ky, kx = ky * flip, kx * flip
    radius, lowest = np.hypot(kx, ky), LOWEST_CYCLES / min(height, width)
    rings = int(math.log(NOISE_ABOVE / lowest) / math.log(RING_RATIO)) + 1
    ring = np.digitize(radius, np.geomspace(lowest, NOISE_ABOVE, rings + 1)) - 1
    # Sectors are centred on the axes, so that mirrored images have mirrored cells.
    sector = np.floor(np.arctan2(ky, kx) / (math.pi / SECTORS) + 0.5).astype(int)
    sign = np.where(sector == SECTORS, -1.0, 1.0)
    inside = (ring >= 0) & (ring < rings)
    label = np.where(inside, ring * SECTORS + sector % SECTORS, rings * SECTORS)
    used, index = np.unique(label, return_inverse=True)
    count = len(used) - int(used[-1] == rings * SECTORS)
    flat = np.minimum(index.ravel(), count)
    size = np.bincount(flat, minlength=count + 1)[:count]
    x, y = (np.bincount(flat, (k * sign).ravel(), minlength=count + 1)[:count] / size for k in (kx, ky))
    return Cells(x, y, np.maximum(size * MODES_PER_SAMPLE, 0.5), flat.reshape(height, width))


def polar_power(image: NDArray[Any]) -> PolarPower:
    """Return the power spectrum of an image (h, w) in the `cells` of its shape, seen through a Blackman window.

    Raises
    ------
    FrameRejected
        Not an image, smaller than 32 pixels a side, or not finite.
    """
    data = np.asarray(image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 32 or not np.isfinite(data).all():
        raise FrameRejected("aberrations need a finite image of 32 pixels or more a side", value=data.shape)
    window = np.outer(*(blackman(size, sym=False) for size in data.shape))
    flat = (data - (data * window).sum() / window.sum()) * window
    power = np.square(np.abs(scipy.fft.fft2(flat))) / np.square(window).sum()
    grid = cells(*data.shape)
    size = np.bincount(grid.index.ravel())[: len(grid.kx)]
    mean = np.bincount(grid.index.ravel(), power.ravel())[: len(grid.kx)] / size
    squared = scipy.fft.fftfreq(data.shape[0])[:, None] ** 2 + scipy.fft.fftfreq(data.shape[1])[None] ** 2
    noise = float(power[squared > NOISE_ABOVE**2].mean())
    least = max(noise, float(mean.max()) * 1e-12, 1e-300)
    return PolarPower(np.maximum(mean, 1e-6 * least), least)


@dataclass(frozen=True)
class Look:
    """One image as the estimate needs it.

    Parameters
    ----------
    setting_m : (float, float, float)
        Defocus and the two stigmators as set.
    field : tuple of float
        What identifies the field (place, size): images of one field share the specimen.
    pixel_m : float
        Size of a pixel.
    shape : (int, int)
        Height and width of the image.
    spectrum : PolarPower
        What `polar_power` said of it.
    """

    setting_m: tuple[float, float, float]
    field: tuple[float, ...]
    pixel_m: float
    shape: tuple[int, int]
    spectrum: PolarPower


@dataclass(frozen=True)
class Aberrations:
    """What the images say: add this offset to a setting to have its true aberrations; set minus it to be in focus.

    Parameters
    ----------
    offset_m : array (3,)
        Defocus and the two astigmatisms when all are set to zero.
    covariance_m2 : array (3, 3)
        Uncertainty of it, if the model holds.
    width_factor : float
        True over nominal variance of the probe.
    misfit : float
        Root-mean-square residual over the expected one; near 1 where the model holds.
    """

    offset_m: Array
    covariance_m2: Array
    width_factor: float
    misfit: float

    @property
    def std_m(self) -> float:
        """Return the root of the summed variances of the three."""
        return math.sqrt(float(np.trace(self.covariance_m2)))


class _Field:
    """The images of one field and its specimen's power, which is eliminated in every step."""

    def __init__(self, looks: Sequence[Look], convergence_rad: float) -> None:
        grid = cells(*looks[0].shape)
        self.settings = np.array([look.setting_m for look in looks])
        unit = math.pi * convergence_rad / looks[0].pixel_m  # its square is (2 pi)^2 alpha^2 / 4
        self.kx, self.ky = grid.kx * unit, grid.ky * unit
        self.modes = grid.modes
        self.leak = 2.0 * WINDOW_VARIANCE / (np.hypot(grid.kx, grid.ky) * min(looks[0].shape)) ** 2
        self.steep = 1.0 / (1.0 + STEEPNESS * self.leak)
        self.log_power = np.log([look.spectrum.power for look in looks])
        self.noise = np.array([[look.spectrum.noise] for look in looks])
        net = np.exp(self.log_power) - self.noise
        self.guess = np.log(np.maximum(net, 0.05 * self.noise).max(axis=0))
        law, root = np.column_stack([np.ones_like(grid.kx), np.log(np.hypot(grid.kx, grid.ky))]), np.sqrt(grid.modes)
        self._to_trend = law @ np.linalg.pinv(law * root[:, None]) * root

    def damping(self, offset_m: Array) -> tuple[Array, Array]:
        """Return ``|D k|^2`` (images, cells) times the unit, and its derivatives (images, cells, 3)."""
        f, a, b = (self.settings + offset_m).T[:, :, None]
        x, y = (f + a) * self.kx + b * self.ky, b * self.kx + (f - a) * self.ky
        slopes = np.stack([x * self.kx + y * self.ky, x * self.kx - y * self.ky, x * self.ky + y * self.kx], axis=-1)
        return x**2 + y**2, 2.0 * slopes

    def trend(self, specimen: Array) -> Array:
        """Return the power law (cells,) through a specimen's power."""
        return np.asarray(self._to_trend @ specimen)

    def linearised(self, specimen: Array, offset_m: Array, log_width: float, variance: Array | None = None) -> _Linear:
        """Return residuals and their derivatives at a point, with the variances of the model there or given ones."""
        damping, slopes = self.damping(offset_m)
        damping, slopes = math.exp(log_width) * damping, math.exp(log_width) * slopes
        softened = 1.0 + self.leak * damping
        seen, rate = damping * self.steep / softened, self.steep / softened**2
        signal = np.exp(np.clip(specimen - seen, -700.0, 700.0))
        share = signal / (signal + self.noise)
        if variance is None:
            model = FIELD_SCATTER**2 / self.modes + MODEL_SCATTER**2 + (DAMPING_SCATTER * seen) ** 2
            variance = (1.0 - share**2) / self.modes + share**2 * model
        residual = self.log_power - np.log(signal + self.noise) + (1.0 - share**2) / (2.0 * self.modes)
        squares = residual**2 / variance
        weight = (FREEDOM + 1.0) / (FREEDOM + squares) / variance
        by_offset = np.concatenate([slopes, damping[..., None]], axis=-1) * (-rate * share)[..., None]
        loss = float((0.5 * (FREEDOM + 1.0) * np.log1p(squares / FREEDOM) + 0.5 * np.log(variance)).sum())
        return _Linear(residual, share, by_offset, weight, loss, variance)


@dataclass(frozen=True)
class _Linear:
    residual: Array
    by_specimen: Array
    by_offset: Array
    weight: Array
    loss: float
    variance: Array


def estimate(
    looks: Sequence[Look], convergence_rad: float, centre_m: Sequence[float], prior_std_m: Sequence[float]
) -> Aberrations:
    """Return the offset of defocus and stigmators that explains the images.

    Parameters
    ----------
    looks : sequence of Look
        One or more images; two at different defoci of one field are needed for the signs.
    convergence_rad : float
        Convergence semi-angle of all of them.
    centre_m, prior_std_m : sequence of 3 floats
        Where the offset is expected, and within what.

    Raises
    ------
    FrameRejected
        There are no images.
    """
    if not looks:
        raise FrameRejected("aberrations need at least one image", value=0)
    prior_m, centre = np.asarray(prior_std_m, dtype=np.float64), np.asarray(centre_m, dtype=np.float64)
    model = _Model(looks, convergence_rad, centre, prior_m)
    guesses = [field.guess for field in model.fields]
    points = [model.evaluated(np.append(start, 0.0) / model.scale, guesses) for start in _starts(centre, prior_m)]
    points = [_fitted(model, point, FIRST_STEPS) for point in points]
    points = sorted(points, key=lambda point: point.loss)[:POLISHED]
    return model.result(min((_fitted(model, point, STEPS) for point in points), key=lambda point: point.loss))


def _starts(centre: Array, prior_m: Array) -> list[Array]:
    steps = np.array(
        [[0.1, 0, 0], [0.7, 0, 0], [-0.7, 0, 0], [0.3, 0.6, 0], [0.3, -0.6, 0], [0.3, 0, 0.6], [0.3, 0, -0.6]]
    )
    return [centre + step * prior_m for step in steps]


def _fitted(model: _Model, best: _Point, steps: int) -> _Point:
    """Return a better point, by the method of Levenberg and Marquardt."""
    damping = 1e-2
    for _ in range(steps):
        trial = model.evaluated(*model.stepped(best, damping), like=best)  # only what is weighed alike can be compared
        if trial.loss > best.loss:
            damping *= 8.0
            if damping > 1e8:
                break
            continue
        gained, damping = best.loss - trial.loss, max(damping / 5.0, 1e-9)
        best = model.evaluated(trial.at, trial.specimens)
        if gained < LEAST_GAIN:
            break
    return best


@dataclass(frozen=True)
class _Point:
    """Offset and width in units of their prior, the specimens that go with them, and what follows."""

    at: Array
    specimens: list[Array]
    parts: list[_Linear]
    loss: float


class _Model:
    """All fields together, with the prior of the offset, of the probe's width, and of the specimens."""

    def __init__(self, looks: Sequence[Look], convergence_rad: float, centre: Array, prior_m: Array) -> None:
        numbers = sorted({look.field for look in looks})
        self.fields = [_Field([look for look in looks if look.field == n], convergence_rad) for n in numbers]
        self.scale = np.append(prior_m, 1.0)
        self.mean, self.precision = np.append(centre, 0.0) / self.scale, np.append(np.ones(3), WIDTH_STD**-2)

    def evaluated(self, at: Array, specimens: list[Array], like: _Point | None = None) -> _Point:
        """Return a point with its loss, with the variances of another point where one is given."""
        pairs = list(zip(self.fields, specimens, strict=True))
        given = [part.variance for part in like.parts] if like else [None] * len(pairs)
        offset_m, log_width = at[:3] * self.scale[:3], float(at[3])
        parts = [f.linearised(g, offset_m, log_width, v) for (f, g), v in zip(pairs, given, strict=True)]
        loss = sum(part.loss for part in parts) + 0.5 * float(self.precision @ (at - self.mean) ** 2)
        loss += sum(0.5 * float(np.square(g - field.trend(g)).sum()) / SPECIMEN_SCATTER**2 for field, g in pairs)
        return _Point(at, specimens, parts, loss)

    def stepped(self, point: _Point, damping: float) -> tuple[Array, list[Array]]:
        """Return the next point: a damped Gauss-Newton step."""
        hessian, gradient, inner = self._eliminated(point, damping)
        step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
        changed = zip(point.specimens, inner, strict=True)
        return point.at + step, [g + (pull - cross @ step) / own for g, (own, pull, cross) in changed]

    def _eliminated(self, point: _Point, damping: float) -> tuple[Array, Array, list[tuple[Array, Array, Array]]]:
        """Return Hessian and gradient of offset and width with the specimens eliminated, and what gives these back."""
        hessian, gradient = np.diag(self.precision), self.precision * (self.mean - point.at)
        inner = []
        for field, specimen, part in zip(self.fields, point.specimens, point.parts, strict=True):
            by_offset, weighted = part.by_offset * self.scale, part.weight * part.by_specimen
            own = (weighted * part.by_specimen).sum(axis=0) + SPECIMEN_SCATTER**-2
            own = own * (1.0 + damping)
            pull = (weighted * part.residual).sum(axis=0) - (specimen - field.trend(specimen)) / SPECIMEN_SCATTER**2
            cross = np.einsum("ic,icp->cp", weighted, by_offset)
            hessian = hessian + np.einsum("ic,icp,icq->pq", part.weight, by_offset, by_offset)
            hessian = hessian - cross.T @ (cross / own[:, None])
            gradient = gradient + np.einsum("ic,icp->p", part.weight * part.residual, by_offset)
            gradient = gradient - cross.T @ (pull / own)
            inner.append((own, pull, cross))
        return hessian, gradient, inner

    def result(self, point: _Point) -> Aberrations:
        """Return what a point says, with the curvature there as its uncertainty."""
        hessian, *_ = self._eliminated(point, 0.0)
        inverse = np.asarray(np.linalg.inv(hessian), dtype=np.float64)
        covariance = inverse[:3, :3] * np.outer(self.scale[:3], self.scale[:3])
        squares = np.concatenate([(part.residual**2 / part.variance).ravel() for part in point.parts])
        offset_m = point.at[:3] * self.scale[:3]
        return Aberrations(offset_m, covariance, math.exp(point.at[3]), math.sqrt(float(squares.mean())))
