"""The height of a sample over the stage, learnt from focus series, with its uncertainty."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

PRIOR_SERIES = 3.0
"""Focus series that the expected height of bumps is worth."""


class FocusMap:
    """Predicts the focusing defocus at a stage position from those found so far.

    A plane by least squares (the tilt of the holder) plus a Gaussian process on its residuals (bumps), as
    universal kriging separates trend and residual (Cressie, *Statistics for Spatial Data*, 1993, section 3.4).

    Parameters
    ----------
    length_m : float
        Expected lateral size of bumps.
    amplitude_m : float
        Expected height of bumps; also the uncertainty far from any focus series. What the series leave beside the plane
        teaches it: the expectation counts as `PRIOR_SERIES` of them (inverse-gamma prior of a variance; Gelman et al.,
        Bayesian Data Analysis, 3rd ed., section 3.2).
    noise_m : float
        Expected error of one focus series.
    """

    def __init__(self, *, length_m: float, amplitude_m: float, noise_m: float) -> None:
        self._length_m, self._amplitude_m, self._noise_m = length_m, amplitude_m, noise_m
        self._points: list[tuple[float, float, float]] = []
        self._fitted: tuple[NDArray[np.float64], float, GaussianProcessRegressor] | None = None

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
        trend, amplitude_m, process = self._fitted = self._fitted or self._fit()
        at = np.array([[x_m, y_m]]) / self._length_m
        residual, std = process.predict(at, return_std=True)
        mean = float((_basis(at, len(self._points)) @ trend)[0]) + float(residual[0])
        return mean * amplitude_m, float(std[0]) * amplitude_m

    def _fit(self) -> tuple[NDArray[np.float64], float, GaussianProcessRegressor]:
        data = np.array(self._points)
        at = data[:, :2] / self._length_m
        amplitude_m = self._learnt_amplitude_m(_basis(at, len(data)), data[:, 2])
        height = data[:, 2] / amplitude_m
        basis = _basis(at, len(data))
        trend: NDArray[np.float64] = np.asarray(np.linalg.lstsq(basis, height, rcond=None)[0], dtype=np.float64)
        process = GaussianProcessRegressor(RBF(1.0, "fixed"), optimizer=None, alpha=(self._noise_m / amplitude_m) ** 2)
        process.fit(at, height - basis @ trend)
        return trend, amplitude_m, process

    def _learnt_amplitude_m(self, basis: NDArray[np.float64], height_m: NDArray[np.float64]) -> float:
        # A plane through few points leaves nothing to learn from: the expectation stands there.
        left = height_m - basis @ np.linalg.lstsq(basis, height_m, rcond=None)[0]
        spare = max(len(height_m) - basis.shape[1], 0)
        squares = PRIOR_SERIES * self._amplitude_m**2 + float(left @ left)
        return max(float(np.sqrt(squares / (PRIOR_SERIES + spare))), self._noise_m)


def _basis(at: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    ones = np.ones((len(at), 1))
    return ones if n < 4 else np.hstack([ones, at])  # a plane needs more than three points to be worth having
