"""How sharp an image is, apart from its brightness, contrast and noise; and where in a focus series it is sharpest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from pydantic import NonNegativeFloat
from scipy import stats
from scipy.optimize import least_squares
from scipy.signal.windows import hann

from autoscope.errors import FrameRejected
from autoscope.records import Frame, Value

Array = NDArray[np.float64]

NOISE_ABOVE = 0.5
"""Frequencies (cycles/pixel) beyond this, the corners of the Fourier plane, hold noise only and tell its level."""
BAND_RATIO = 1.3
"""Upper over lower frequency of the bands in which structure is looked for."""
SIGNIFICANT = 6.0
"""Standard deviations by which the power of a band must exceed that of noise."""
MODES_PER_SAMPLE = 0.25
"""Independent samples of the power spectrum for each computed one: a real image has every one twice, and the window
spreads each over its neighbours."""

UNKNOWN = 1.0 / np.sqrt(12.0)
"""Standard deviation of a place anywhere in an interval, over its length."""
SCATTER = 0.1
"""Residuals above this part of the range of a focus series are taken for mishaps."""
ONE_SIGMA = 0.8413447460685429
"""Probability of a normal variable below one standard deviation."""
CHANCE = 0.05
"""A focus series is believed if chance gave so good a fit less often than this."""

ROUNDING = 1e-12
"""Variation below this part of the brightness is rounding, not an image."""


def sharpness(image: Frame | ArrayLike) -> float:
    """Return the mean square spatial frequency of an image in (cycles/pixel)^2, noise taken off; 0 without structure.

    With the power spectrum ``P(k)`` and the white noise ``N`` found in its corners,

        sum k^2 (P(k) - N) / sum (P(k) - N)

    is the energy of the gradient over the variance, both without noise. The sums run over frequencies from the lowest
    up to where two bands in a row hold nothing but noise. Gain and offset of the detector cancel. A Gaussian blur of
    variance ``s`` multiplies ``P`` by ``exp(-(2 pi k)^2 s)``, and the derivative with respect to ``s`` is then minus
    a multiple of the variance of ``k^2``: more blur is always less sharp.

    Parameters
    ----------
    image : Frame or array (h, w)
        At least 16 pixels a side.

    Raises
    ------
    FrameRejected
        Not an image, too small, or not finite.
    """
    data = np.asarray(image.data if isinstance(image, Frame) else image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 16 or not np.isfinite(data).all():
        raise FrameRejected("sharpness needs a finite image of 16 pixels or more a side", value=data.shape)
    if np.ptp(data) <= ROUNDING * float(np.abs(data).max()):
        return 0.0
    window = np.outer(*(hann(size, sym=False) for size in data.shape))
    flat = (data - (data * window).sum() / window.sum()) * window
    power = np.square(np.abs(scipy.fft.fft2(flat))).ravel()
    squared = (np.fft.fftfreq(data.shape[0])[:, None] ** 2 + np.fft.fftfreq(data.shape[1])[None] ** 2).ravel()
    noise = float(power[squared > NOISE_ABOVE**2].mean())
    samples, total, gradient = _bands(power - noise, squared, 2.0 / min(data.shape))
    last = _end_of_structure(total > SIGNIFICANT * noise * np.sqrt(samples / MODES_PER_SAMPLE))
    if last == 0:
        return 0.0
    return max(float(gradient[:last].sum() / total[:last].sum()), 0.0)


def _bands(net: Array, squared: Array, lowest: float) -> tuple[Array, Array, Array]:
    """Return the number of samples, and the sums of power and of ``k^2`` power, in bands from ``lowest`` to 0.5."""
    count = int(np.log(0.5 / lowest) / np.log(BAND_RATIO)) + 1
    band = np.digitize(squared, np.geomspace(lowest, 0.5, count + 1) ** 2)
    samples, total, gradient = (
        np.asarray(np.bincount(band, weights, minlength=count + 2)[1 : count + 1], dtype=np.float64)
        for weights in (np.ones_like(net), net, net * squared)
    )
    return samples, total, gradient


def _end_of_structure(significant: NDArray[np.bool_]) -> int:
    """Return the number of bands up to, not including, the first two noisy ones in a row after a significant one.

    Examples
    --------
    >>> _end_of_structure(np.array([False, True, True, False, True, False, False, True]))
    5
    """
    if not significant.any():
        return 0
    first = int(significant.argmax())
    noisy = np.append(~significant[first:], True)
    pairs = np.flatnonzero(noisy[:-1] & noisy[1:])
    return first + int(pairs[0]) if pairs.size else len(significant)


class FocusFit(Value):
    """Where a focus series is sharpest."""

    defocus_m: float
    """Setting of greatest sharpness."""
    std_m: NonNegativeFloat
    """Standard uncertainty of it, from the scatter about the fit."""
    ok: bool
    """Whether there is a maximum, inside the settings tried, that the scatter does not drown."""


def fit_focus(defocus_m: ArrayLike, sharpness: ArrayLike) -> FocusFit:
    """Return the defocus of greatest sharpness of a series, by a robust least-squares fit.

    Five settings or more: a Gaussian on a constant, not narrower than the spacing, with residuals beyond a tenth of
    the range hardly counting (Cauchy loss), so that one bad image does not move the result. Three or four: a parabola.
    An F test of the Gaussian, and one of a parabola, against a constant decide whether there is a maximum at all; three
    or four settings cannot tell, and any maximum inside them is believed. Of seven or more, one far off is set aside.

    Parameters
    ----------
    defocus_m, sharpness : array (n,)
        n >= 3 settings, not all equal, in any order; and what `sharpness` said at each.

    Raises
    ------
    FrameRejected
        Fewer than three different settings, or values that are not finite.

    Examples
    --------
    >>> x = np.linspace(-100e-9, 100e-9, 7)
    >>> fit = fit_focus(x, np.exp(-((x - 20e-9) / 80e-9) ** 2))
    >>> fit.ok, round(fit.defocus_m * 1e9, 3)
    (True, 20.0)
    """
    x, y = (np.asarray(values, dtype=np.float64).ravel() for values in (defocus_m, sharpness))
    if x.size != y.size or np.unique(x).size < 3 or not np.isfinite(np.concatenate([x, y])).all():
        raise FrameRejected("a focus fit needs three or more different settings, all finite", value=(x.size, y.size))
    middle, span, height = (x.max() + x.min()) / 2, float(np.ptp(x)), float(np.ptp(y))
    if height == 0.0:
        return FocusFit(defocus_m=float(middle), std_m=span * UNKNOWN, ok=False)
    u, v = (x - middle) / span, (y - y.min()) / height
    top = _gaussian(u, v) if x.size >= 5 else _parabola(u, v)
    return FocusFit(
        defocus_m=float(middle + span * min(max(top.centre, -0.5), 0.5)),
        std_m=float(span * min(top.std, UNKNOWN)),
        ok=bool(top.significant and -0.5 <= top.centre <= 0.5 and top.std < UNKNOWN),
    )


@dataclass(frozen=True)
class _Top:
    """A maximum on the scale where the settings span [-0.5, 0.5]."""

    centre: float
    std: float
    significant: bool


def _is_significant(total: float, left: float, n: int, parameters: int) -> bool:
    """Return whether a fit that leaves ``left`` of ``total`` squares beats a constant (F test)."""
    spare = n - parameters
    f = (total - left) / (parameters - 1) / max(left / spare, 1e-30)
    return bool(stats.f.sf(f, parameters - 1, spare) < CHANCE)


def _parabola(u: Array, v: Array) -> _Top:
    """Return the vertex; its uncertainty is never below a quarter of that of the spacing."""
    powers = np.vander(u, 3)
    c, b, a = np.linalg.lstsq(powers, v, rcond=None)[0]
    if c >= 0:
        return _Top(float(u[np.argmax(v)]), 1.0, False)
    jacobian = np.array([b / (2 * c**2), -1 / (2 * c), 0.0])
    left = float(np.square(v - powers @ np.array([c, b, a])).sum())
    spread = float(jacobian @ np.linalg.pinv(powers.T @ powers) @ jacobian) * left / max(len(u) - 3, 1)
    significant = len(u) < 5 or _is_significant(float(np.square(v - v.mean()).sum()), left, len(u), 3)
    return _Top(float(-b / (2 * c)), max(float(np.sqrt(spread)), UNKNOWN / (len(u) - 1) / 2), significant)


def _gaussian(u: Array, v: Array) -> _Top:
    """Return the centre of ``base + height exp(-(u - centre)^2 / 2 width^2)``."""

    def residuals(p: Array) -> Array:
        return np.asarray(p[0] + p[1] * np.exp(-0.5 * ((u - p[2]) / p[3]) ** 2) - v)

    def slope(p: Array) -> Array:
        return _slope(u, p)

    narrowest = 1.0 / (len(u) - 1)
    low, high = np.array([-2.0, 0.0, -1.0, narrowest]), np.array([1.0, 4.0, 1.0, 2.0])
    starts = [(0.1, 0.9, centre, width) for centre in (u[np.argmax(v)], 0.0) for width in (1.2 * narrowest, 0.5)]
    fits = [
        least_squares(
            residuals,
            start,
            jac=slope,
            bounds=(low, high),
            loss="cauchy",
            f_scale=SCATTER,
            xtol=1e-7,
            ftol=1e-7,
            max_nfev=60,
        )
        for start in starts
    ]
    p = min(fits, key=lambda fit: float(fit.cost)).x
    kept = _without_mishap(residuals(p))
    n, left = int(kept.sum()), float(np.square(residuals(p)[kept]).sum())
    jacobian = _slope(u[kept], p)
    variance = left / (n - 4) * float(np.linalg.pinv(jacobian.T @ jacobian)[2, 2])
    std = float(np.sqrt(max(variance, 0.0)) * stats.t.ppf(ONE_SIGMA, n - 4))  # the scatter itself is uncertain
    significant = _is_significant(float(np.square(v[kept] - v[kept].mean()).sum()), left, n, 4)
    return _Top(float(p[2]), std, significant or _parabola(u, v).significant)


def _without_mishap(residuals: Array) -> NDArray[np.bool_]:
    """Return which settings are judged by: all, or of seven and more all but a single mishap."""
    size = np.abs(residuals)
    kept = np.ones(len(size), dtype=bool)
    kept[size.argmax()] = len(size) < 7 or size.max() <= 3.0 * SCATTER
    return kept


def _slope(u: Array, p: Array) -> Array:
    """Return the derivatives (n, 4) of the Gaussian with respect to base, height, centre and width."""
    z = (u - p[2]) / p[3]
    bell = np.exp(-0.5 * z**2)
    return np.stack([np.ones_like(u), bell, p[1] * bell * z / p[3], p[1] * bell * z**2 / p[3]], axis=1)
