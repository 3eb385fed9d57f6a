"""The height of a sample over the stage, learnt from focus series, with its uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

PRIOR_SERIES = 3.0
"""Focus series that the expected height of bumps is worth."""
LEVEL_M = 3e-6
"""Standard deviation of the height at the middle of the stage, before anything is known."""
SLOPE = 0.02
"""Standard deviation of the slope of the holder along each axis."""


class FocusMap:
    """Predicts the focusing defocus at a stage position from those found so far.

    A Gaussian process with a plane (the tilt of the holder) and bumps, so that the uncertainty of the plane is part of
    what it says: two series along one line tell nothing of the slope across it (universal kriging as a Bayesian linear
    term; Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, section 2.7).

    Parameters
    ----------
    length_m : float
        Expected lateral size of bumps.
    amplitude_m : float
        Expected height of bumps; also the uncertainty far from any focus series. What the series leave beside a plane
        teaches it: the expectation counts as `PRIOR_SERIES` of them (inverse-gamma prior of a variance; Gelman et al.,
        Bayesian Data Analysis, 3rd ed., section 3.2).
    noise_m : float
        Expected error of one focus series.
    """

    def __init__(self, *, length_m: float, amplitude_m: float, noise_m: float) -> None:
        self._length_m, self._amplitude_m, self._noise_m = length_m, amplitude_m, noise_m
        self._points: list[tuple[float, float, float]] = []
        self._fitted: tuple[float, GaussianProcessRegressor] | None = None

    def __len__(self) -> int:
        return len(self._points)

    @property
    def points(self) -> list[tuple[float, float, float]]:
        """Return what was learnt: (x_m, y_m, defocus_m)."""
        return list(self._points)

    def add(self, x_m: float, y_m: float, defocus_m: float) -> None:
        """Learn the focusing defocus found at a stage position."""
        self._points.append((x_m, y_m, defocus_m))
        self._fitted = None

    def predict(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return the focusing defocus expected at a stage position and its standard deviation, metres.

        With no focus series yet: (0, infinity).
        """
        if not self._points:
            return 0.0, float("inf")
        amplitude_m, process = self._fitted = self._fitted or self._fit()
        mean, std = process.predict(np.array([[x_m, y_m]]) / self._length_m, return_std=True)
        return float(mean[0]) * amplitude_m, float(std[0]) * amplitude_m

    def _fit(self) -> tuple[float, GaussianProcessRegressor]:
        data = np.array(self._points)
        at = data[:, :2] / self._length_m
        amplitude_m = self._learnt_amplitude_m(at, data[:, 2])
        slope = SLOPE * self._length_m / amplitude_m
        plane = ConstantKernel(slope**2, "fixed") * DotProduct(LEVEL_M / amplitude_m / slope, "fixed")
        noise = (self._noise_m / amplitude_m) ** 2
        process = GaussianProcessRegressor(plane + RBF(1.0, "fixed"), optimizer=None, alpha=noise)
        process.fit(at, data[:, 2] / amplitude_m)
        return amplitude_m, process

    def _learnt_amplitude_m(self, at: NDArray[np.float64], height_m: NDArray[np.float64]) -> float:
        # A plane through few points, or points on a line, leaves little to learn from: the expectation stands there.
        basis = np.hstack([np.ones((len(at), 1)), at])
        plane, _, rank, _ = np.linalg.lstsq(basis, height_m, rcond=1e-6)
        left = height_m - basis @ plane
        squares = PRIOR_SERIES * self._amplitude_m**2 + float(left @ left)
        spare = max(len(height_m) - int(rank), 0)
        return max(float(np.sqrt(squares / (PRIOR_SERIES + spare))), self._noise_m)
