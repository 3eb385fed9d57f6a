"""Where an action reaches: the path of the stage, the corners of a scan, the area under a parked probe."""

from __future__ import annotations

import math

from scipy import constants

from autoscope.records import MicroscopeState, MoveStage, Range, Scan, SpectrumImage

STAGE_AXES = ("x_m", "y_m", "z_m", "alpha_rad", "beta_rad")


def path(action: MoveStage, state: MicroscopeState) -> dict[str, Range]:
    """Return, for each stage axis, the interval it passes through from where it is to where it is asked to go.

    A move without backlash travels monotonically on each axis, so this interval holds every point of it.

    Examples
    --------
    >>> path(MoveStage(x_m=2e-6), MicroscopeState(time_s=0.0, x_m=5e-6))["x_m"]
    Range(low=2e-06, high=5e-06)
    """
    passed = {}
    for axis in STAGE_AXES:
        start, asked = getattr(state, axis), getattr(action, axis)
        target = start if asked is None else asked
        passed[axis] = Range(low=min(start, target), high=max(start, target))
    return passed


def corners(action: Scan | SpectrumImage) -> list[tuple[float, float]]:
    """Return the four corners of a scan as (x_m, y_m) offsets from the optical axis, rotation applied.

    Examples
    --------
    >>> scan = Scan(fov_m=2.0, width_px=2, height_px=1, dwell_s=1.0, centre_x_m=1.0)
    >>> corners(scan)
    [(0.0, -0.5), (2.0, -0.5), (2.0, 0.5), (0.0, 0.5)]
    """
    half_x_m = action.fov_m / 2
    half_y_m = half_x_m * action.height_px / action.width_px
    cosine, sine = math.cos(action.rotation_rad), math.sin(action.rotation_rad)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return [
        (
            action.centre_x_m + sx * half_x_m * cosine - sy * half_y_m * sine,
            action.centre_y_m + sx * half_x_m * sine + sy * half_y_m * cosine,
        )
        for sx, sy in signs
    ]


def wavelength_m(voltage_v: float) -> float:
    """Return the relativistic wavelength of electrons accelerated by ``voltage_v``.

    ``h / sqrt(2 m e V (1 + e V / (2 m c^2)))`` (Kirkland, Advanced Computing in Electron Microscopy, eq. 2.5).

    Examples
    --------
    >>> round(wavelength_m(200e3) * 1e12, 3)
    2.508
    """
    energy_j = constants.e * voltage_v
    momentum_squared = 2 * constants.m_e * energy_j * (1 + energy_j / (2 * constants.m_e * constants.c**2))
    return float(constants.h / math.sqrt(momentum_squared))


def probe_area_m2(convergence_rad: float, voltage_v: float, defocus_m: float) -> float:
    """Return the smallest area a probe can have: its Airy disc, widened by the geometric disc of defocus.

    The Airy disc's radius is ``0.61 wavelength / convergence`` (Born and Wolf, Principles of Optics, 8.5.2), that of
    the disc of defocus ``|defocus| * convergence``. Real probes are wider, so a fluence from this area errs high.
    """
    airy_m = 0.61 * wavelength_m(voltage_v) / convergence_rad
    return math.pi * (airy_m**2 + (defocus_m * convergence_rad) ** 2)
