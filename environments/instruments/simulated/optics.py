"""The probe: how wide it is, and in which direction, from source, diffraction, aberrations and defocus.

All contributions are variances of the transverse position of an electron, so they add. For a ray that passes
the aperture at angle ``t = (tx, ty)`` (uniform over a disc of radius ``alpha``, hence ``<tx^2> = alpha^2 / 4``)
the aberrations displace it in the specimen plane by ``D t + Cs |t|^2 t`` with ``D = [[f + a, b], [b, f - a]]``:
defocus ``f``, astigmatism ``a`` (0 degrees) and ``b`` (45 degrees), the gradient of the aberration function
(Hawkes and Kasper, Principles of Electron Optics, vol. 1). Defocus is counted from the plane of least
rms radius, ``-2/3 Cs alpha^2`` from the Gaussian focus, where the spherical term has rms radius ``Cs alpha^3 / 6``
and no covariance with defocus.

Coma ``C21`` and threefold astigmatism ``C23`` displace it by the gradient of their terms of third order, which is
quadratic in ``t``: its covariance with defocus, astigmatism and spherical aberration is zero, so it adds as well. The
shift that coma brings to the whole image is taken out, as the software of a corrector does.

Diffraction and source size are quoted in the literature as diameters that hold half the current (FW50); the
Gaussian with that FW50 has ``sigma = FW50 / 2.3548``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.instruments.simulated.config import CorrectorConfig, GunConfig, LensConfig

Array = NDArray[np.float64]

REST_ENERGY_EV = 510998.95
COMPTON_M = 2.42631023867e-12
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def wavelength_m(voltage_v: float) -> float:
    """Return the relativistic de Broglie wavelength of electrons accelerated by ``voltage_v``.

    ``lambda = h c / sqrt(eV (2 m c^2 + eV))`` (Kirkland, Advanced Computing in Electron Microscopy, ch. 2).

    Examples
    --------
    >>> round(wavelength_m(200e3) * 1e12, 4)
    2.5079
    """
    return COMPTON_M * REST_ENERGY_EV / math.sqrt(voltage_v * (2.0 * REST_ENERGY_EV + voltage_v))


def source_sigma_m(current_a: float, convergence_rad: float, voltage_v: float, reduced_brightness: float) -> float:
    """Return sigma per axis of the Gaussian source image that carries the current.

    ``FW50 = (2 / pi) sqrt(I / (Br V)) / alpha`` (Barth and Kruit, Optik 101 (1996) 101), with the
    relativistically corrected voltage.
    """
    corrected_v = voltage_v * (1.0 + voltage_v / (2.0 * REST_ENERGY_EV))
    fw50_m = 2.0 / math.pi * math.sqrt(current_a / (reduced_brightness * corrected_v)) / convergence_rad
    return fw50_m / FWHM_PER_SIGMA


def diffraction_sigma_m(voltage_v: float, convergence_rad: float) -> float:
    """Return sigma per axis of the Gaussian with the FW50 of an Airy disc, ``0.54 lambda / alpha``.

    Source: Barth and Kruit, Optik 101 (1996) 101. (The rms radius of the Airy disc itself is infinite.)
    """
    return 0.54 * wavelength_m(voltage_v) / convergence_rad / FWHM_PER_SIGMA


def spherical_sigma_m(spherical_m: float, convergence_rad: float) -> float:
    """Return sigma per axis of the spherical aberration in the plane of least rms radius, ``Cs alpha^3 / sqrt(72)``."""
    return abs(spherical_m) * convergence_rad**3 / math.sqrt(72.0)


def third_order_m2(
    coma_m: tuple[float, float], threefold_m: tuple[float, float], convergence_rad: float
) -> tuple[float, float, float]:
    """Return the covariance (xx, xy, yy) of the displacement by coma ``C21`` and threefold astigmatism ``C23``.

    The displacement is the gradient of ``|t|^2 (C21 t) / 3 + (C23.a (x^3 - 3 x y^2) + C23.b (3 x^2 y - y^3)) / 3``:
    along each axis ``p x^2 + q x y + r y^2``. Over a disc of radius ``alpha``, ``<x^2> = alpha^2 / 4``,
    ``<x^4> = alpha^4 / 8`` and ``<x^2 y^2> = alpha^4 / 24``; the mean is left out.

    Examples
    --------
    >>> xx, xy, yy = third_order_m2((3e-6, 0.0), (0.0, 0.0), 20e-3)
    >>> round(xx / yy, 9), xy
    (4.5, 0.0)
    """
    (ca, cb), (ta, tb) = coma_m, threefold_m
    p = np.array([ca + ta, cb / 3.0 + tb])
    q = np.array([2.0 / 3.0 * cb + 2.0 * tb, 2.0 / 3.0 * ca - 2.0 * ta])
    r = np.array([ca / 3.0 - ta, cb - tb])
    fourth = (np.outer(p, p) + np.outer(r, r)) / 8.0 + (np.outer(p, r) + np.outer(r, p) + np.outer(q, q)) / 24.0
    covariance = convergence_rad**4 * (fourth - np.outer(p + r, p + r) / 16.0)
    return float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])


def focus_spread_m(chromatic_m: float, energy_spread_ev: float, voltage_v: float) -> float:
    """Return the standard deviation of defocus from the energy spread (a FWHM).

    ``Cc dE / (eV) (1 + eV / mc^2) / (1 + eV / 2 mc^2)`` (Kirkland, Advanced Computing in Electron Microscopy, ch. 3).
    """
    ratio = voltage_v / REST_ENERGY_EV
    relativistic = (1.0 + ratio) / (1.0 + ratio / 2.0)
    return chromatic_m * energy_spread_ev / FWHM_PER_SIGMA / voltage_v * relativistic


@dataclass(frozen=True)
class Probe:
    """A probe-forming setting: covariance of the probe as a function of defocus.

    Parameters
    ----------
    convergence_rad : float
        Convergence semi-angle.
    floor_m2 : float
        Variance per axis that no focusing removes: source, diffraction, spherical, chromatic.
    stigmator_a_m, stigmator_b_m : float
        True astigmatism, along the axes and along the diagonals.
    third_m2 : tuple of float
        Covariance (xx, xy, yy) from coma and threefold astigmatism.
    """

    convergence_rad: float
    floor_m2: float
    stigmator_a_m: float
    stigmator_b_m: float
    third_m2: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_round(self) -> bool:
        """Whether there is no aberration at all that is not round."""
        return (self.stigmator_a_m, self.stigmator_b_m, *self.third_m2) == (0.0,) * 5

    def moments_m2(self, defocus_m: Any) -> tuple[Any, Any, Any]:
        """Return variance along x, covariance, variance along y, each of the shape of ``defocus_m``."""
        scale = self.convergence_rad**2 / 4.0
        a, b = self.stigmator_a_m, self.stigmator_b_m
        third_xx, third_xy, third_yy = self.third_m2
        xx = scale * ((defocus_m + a) ** 2 + b**2) + self.floor_m2 + third_xx
        yy = scale * ((defocus_m - a) ** 2 + b**2) + self.floor_m2 + third_yy
        return xx, 2.0 * scale * b * defocus_m + third_xy, yy

    def covariance_m2(self, defocus_m: float) -> Array:
        """Return the covariance matrix (2, 2) in (x, y)."""
        xx, xy, yy = self.moments_m2(defocus_m)
        return np.array([[xx, xy], [xy, yy]])

    def rms_m(self, defocus_m: float) -> float:
        """Return the rms radius ``sqrt(<x^2> + <y^2>)``, least at zero defocus."""
        xx, _, yy = self.moments_m2(defocus_m)
        return math.sqrt(xx + yy)


def form_probe(
    gun: GunConfig,
    lens: LensConfig,
    *,
    current_a: float,
    convergence_rad: float,
    stigmator_a_m: float = 0.0,
    stigmator_b_m: float = 0.0,
    coma_a_m: float = 0.0,
    coma_b_m: float = 0.0,
    threefold_a_m: float = 0.0,
    threefold_b_m: float = 0.0,
    spherical_m: float = 0.0,
) -> Probe:
    """Return the probe of a setting; hidden offsets of stigmator and corrector are added to the set values."""
    hidden = lens.corrector or CorrectorConfig()
    third_m2 = third_order_m2(
        (coma_a_m + hidden.hidden_coma_a_m, coma_b_m + hidden.hidden_coma_b_m),
        (threefold_a_m + hidden.hidden_threefold_a_m, threefold_b_m + hidden.hidden_threefold_b_m),
        convergence_rad,
    )
    chromatic_m = focus_spread_m(lens.chromatic_m, gun.energy_spread_ev, gun.voltage_v) * convergence_rad / 2.0
    sigmas_m = (
        source_sigma_m(current_a, convergence_rad, gun.voltage_v, gun.reduced_brightness),
        diffraction_sigma_m(gun.voltage_v, convergence_rad),
        spherical_sigma_m(lens.spherical_m + spherical_m, convergence_rad),
        chromatic_m,
    )
    return Probe(
        convergence_rad=convergence_rad,
        floor_m2=sum(s**2 for s in sigmas_m),
        stigmator_a_m=stigmator_a_m + lens.hidden_stigmator_a_m,
        stigmator_b_m=stigmator_b_m + lens.hidden_stigmator_b_m,
        third_m2=third_m2,
    )


# Seven points of a degree-5 rule for the standard normal distribution in the plane: the centre and a hexagon of
# radius 2 (Stroud, Approximate Calculation of Multiple Integrals, 1971, formula E2r2 5-1, rescaled).
_ANGLES = np.arange(6) * (math.pi / 3.0)
STENCIL = np.vstack([np.zeros((1, 2)), 2.0 * np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])])
STENCIL_WEIGHTS = np.array([0.5] + [1.0 / 12.0] * 6)


def stencil_m(xx: Any, xy: Any, yy: Any) -> tuple[Array, Array]:
    """Return displacements of the seven stencil points for given second moments.

    Parameters
    ----------
    xx, xy, yy : float or array, shape (...)
        Second moments in m^2.

    Returns
    -------
    dx, dy : array, shape (7, ...)
        Weighted by `STENCIL_WEIGHTS` they have exactly these moments.
    """
    first = np.sqrt(xx)
    cross = xy / first
    second = np.sqrt(np.maximum(yy - cross**2, 0.0))
    nodes = STENCIL.reshape((7, 2) + (1,) * np.ndim(xx))
    return nodes[:, 0] * first, nodes[:, 0] * cross + nodes[:, 1] * second
