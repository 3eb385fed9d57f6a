"""What a Gaussian process believes before it sees data: constant mean, sum of stationary kernels, jitter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from autoscope.errors import ModelError

Array = NDArray[np.float64]
Features = NDArray[np.floating[Any]]
"""Inputs of a kernel, in single or double precision; what is computed from them says which it needs."""
Shape = Literal["rbf", "matern52"]
Groups = tuple[tuple[int, ...], ...]

# Mode of the lengthscale prior of Hvarfner, Hellsten & Nardi, ICML 2024 (LogNormal(sqrt 2 + log(d)/2, sqrt 3) on the
# unit cube), carried over to standardised inputs, whose spread is sqrt(12) times that of the unit cube.
LENGTHSCALE_LOCATION = math.sqrt(2.0) + 0.5 * math.log(12.0)
LENGTHSCALE_SCALE = math.sqrt(3.0)
JITTER_LOCATION, JITTER_SCALE = -4.0, 1.0


@dataclass(frozen=True)
class Prior:
    """A constant mean plus a sum over column groups of ARD kernels, in units of the standardised target.

    Attributes
    ----------
    shape : {"rbf", "matern52"}
        Squared exponential, or Matern with smoothness 5/2 (Rasmussen & Williams 2006, eqs. 4.9 and 4.17).
    groups : tuple of tuples of int
        Input columns of each summand; a column in no group is not used.
    lengthscales : tuple of tuples of float
        One per column of each group, in input units.
    outputscales : tuple of float
        Variance of each summand.
    mean : float
        The constant mean.
    jitter : float
        Variance added to the known noise of every measurement.
    """

    shape: Shape
    groups: Groups
    lengthscales: tuple[tuple[float, ...], ...]
    outputscales: tuple[float, ...]
    mean: float = 0.0
    jitter: float = 1e-2

    @property
    def variance(self) -> float:
        """Prior variance of the function at any point."""
        return sum(self.outputscales)

    def covariance(self, a: Features, b: Features) -> Array:
        """Return the prior covariance of the function between rows of ``a`` (n, d) and ``b`` (m, d), shape (n, m).

        Examples
        --------
        >>> prior = Prior("rbf", ((0,),), ((2.0,),), (3.0,))
        >>> prior.covariance(np.array([[0.0]]), np.array([[0.0], [2.0]])).round(4).tolist()
        [[3.0, 1.8196]]
        """
        total: Array = np.zeros((len(a), len(b)))
        for columns, lengthscale, outputscale in zip(self.groups, self.lengthscales, self.outputscales, strict=True):
            cols, scale = list(columns), np.asarray(lengthscale)
            squared = cdist(a[:, cols] / scale, b[:, cols] / scale, "sqeuclidean")
            total += outputscale * correlation(self.shape, squared)
        return total

    def rescaled(self, shift: float, factor: float) -> Prior:
        """Return the same belief about ``shift + factor * target``."""
        outputscales = tuple(s * factor**2 for s in self.outputscales)
        mean, jitter = shift + factor * self.mean, self.jitter * factor**2
        return replace(self, outputscales=outputscales, mean=mean, jitter=jitter)

    def flat(self) -> dict[str, float]:
        """Return all hyperparameters by name, for a fit summary."""
        named = {"mean": self.mean, "jitter": self.jitter}
        for g, outputscale in enumerate(self.outputscales):
            named[f"outputscale_{g}"] = outputscale
            named |= {f"lengthscale_{g}_{c}": v for c, v in zip(self.groups[g], self.lengthscales[g], strict=True)}
        return named

    def plain(self) -> dict[str, Any]:
        """Return the prior as JSON data from which `from_plain` makes an equal one."""
        return {
            "shape": self.shape,
            "groups": [list(g) for g in self.groups],
            "lengthscales": [list(v) for v in self.lengthscales],
            "outputscales": list(self.outputscales),
            "mean": self.mean,
            "jitter": self.jitter,
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Prior:
        """Return the prior written by `plain`."""
        return cls(
            shape=data["shape"],
            groups=tuple(tuple(int(c) for c in g) for g in data["groups"]),
            lengthscales=tuple(tuple(float(v) for v in g) for g in data["lengthscales"]),
            outputscales=tuple(float(v) for v in data["outputscales"]),
            mean=float(data["mean"]),
            jitter=float(data["jitter"]),
        )


def correlation(shape: Shape, squared: Array) -> Array:
    """Return the correlation at squared scaled distances, same shape (Rasmussen & Williams 2006, eqs. 4.9, 4.17)."""
    if shape == "rbf":
        return np.asarray(np.exp(-0.5 * squared))
    root = np.sqrt(5.0 * squared)
    return np.asarray((1.0 + root + root**2 / 3.0) * np.exp(-root))


def correlation_and_slope(shape: Shape, squared: Array) -> tuple[Array, Array]:
    """Return the correlation, and minus twice its derivative by the squared scaled distance, both like ``squared``.

    The second, times a squared coordinate difference, is the derivative by the log of that coordinate's lengthscale.
    """
    if shape == "rbf":
        same = correlation(shape, squared)
        return same, same
    root = np.sqrt(5.0 * squared)
    decay = np.exp(-root)
    root += 1.0
    root *= decay  # (1 + r) exp(-r)
    decay *= squared
    decay *= 5.0 / 3.0
    decay += root
    root *= 5.0 / 3.0
    return decay, root


def default_prior(shape: Shape, groups: Groups) -> Prior:
    """Return the prior at the modes of its hyperpriors: where a first fit starts.

    Raises
    ------
    ModelError
        No group, or an empty one.

    Examples
    --------
    >>> default_prior("matern52", ((0, 1), (2,))).outputscales
    (0.5, 0.5)
    """
    if not groups or not all(groups):
        raise ModelError("a kernel needs at least one input column in every group", value=groups)
    lengthscales = tuple((math.exp(lengthscale_location(len(g)) - LENGTHSCALE_SCALE**2),) * len(g) for g in groups)
    return Prior(shape, groups, lengthscales, (1.0 / len(groups),) * len(groups))


def lengthscale_location(columns: int) -> float:
    """Return the location of the log-normal lengthscale prior of a group of that many columns."""
    return LENGTHSCALE_LOCATION + 0.5 * math.log(columns)
