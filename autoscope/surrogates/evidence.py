"""Hyperparameters of an exact Gaussian process by maximum a posteriori, with closed-form gradients and L-BFGS-B.

The matrices are small, so an automatic differentiator would spend most of its time on itself; GPyTorch's model of the
same prior is the oracle in the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from autoscope.errors import FitFailed
from autoscope.surrogates.prior import (
    JITTER_LOCATION,
    JITTER_SCALE,
    LENGTHSCALE_SCALE,
    Features,
    Groups,
    Prior,
    Shape,
    correlation_and_slope,
    lengthscale_location,
)
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

POSITIVE_BOUNDS = {"lengthscale": (0.05, 1e3), "outputscale": (1e-3, 1e2), "noise": (1e-6, 2.0)}
"""Where hyperparameters may go, for standardised inputs and targets."""
MEAN_BOUND = 5.0
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
LEAST = 2.2e-9
"""A relative change of the loss that is none."""


class Found(NamedTuple):
    """What a search for hyperparameters found."""

    prior: Prior
    iterations: int
    gain: float
    """How many nats of log posterior density it is ahead of where the search began."""


@dataclass(frozen=True)
class Evidence:
    """Minus the log posterior density of hyperparameters, per measurement, over standardised data.

    Hyperparameters are ``[mean, log jitter, (log outputscale, log lengthscales...) of every group]``.

    Attributes
    ----------
    shape, groups
        Of the `Prior` sought.
    x, y, noise_variance : array
        (n, d), (n,), (n,).
    """

    shape: Shape
    groups: Groups
    x: Array
    y: Array
    noise_variance: Array

    def pack(self, prior: Prior) -> Array:
        """Return a prior's hyperparameters as a vector, inside the bounds."""
        flat = [prior.mean, math.log(prior.jitter)]
        for outputscale, lengthscales in zip(prior.outputscales, prior.lengthscales, strict=True):
            flat += [math.log(outputscale), *np.log(lengthscales)]
        low, high = np.array(self.bounds()).T
        return np.asarray(np.clip(np.array(flat), low, high))

    def unpack(self, flat: Array) -> Prior:
        """Return the prior of a vector of hyperparameters."""
        outputscales, lengthscales, at = [], [], 2
        for group in self.groups:
            outputscales.append(math.exp(flat[at]))
            lengthscales.append(tuple(float(v) for v in np.exp(flat[at + 1 : at + 1 + len(group)])))
            at += 1 + len(group)
        return Prior(
            self.shape, self.groups, tuple(lengthscales), tuple(outputscales), float(flat[0]), math.exp(flat[1])
        )

    def bounds(self) -> list[tuple[float, float]]:
        """Return lower and upper bound of every hyperparameter."""
        logs = {name: (math.log(low), math.log(high)) for name, (low, high) in POSITIVE_BOUNDS.items()}
        found = [(-MEAN_BOUND, MEAN_BOUND), logs["noise"]]
        for group in self.groups:
            found += [logs["outputscale"], *[logs["lengthscale"]] * len(group)]
        return found

    def loss(self, flat: Array) -> tuple[float, Array]:
        """Return the loss and its gradient at a vector of hyperparameters; see `loss_and_gradients`."""
        return self.loss_and_gradients(flat)[:2]

    def loss_and_gradients(self, flat: Array) -> tuple[float, Array, Array]:
        """Return the loss, and its gradients by the hyperparameters and by the inputs, the latter like ``x`` (n, d).

        Rasmussen & Williams 2006, eqs. 5.8 and 5.9. For kernels of the scaled distance the derivative with respect
        to the log of a lengthscale is a weighted sum of squared coordinate differences, which needs no (n, n, d) array.

        Raises
        ------
        FitFailed
            The covariance of the data is not positive definite.
        """
        prior = self.unpack(flat)
        scaled = [self.x[:, list(g)] / np.asarray(v) for g, v in zip(self.groups, prior.lengthscales, strict=True)]
        pairs = [correlation_and_slope(self.shape, _squared_distances(z)) for z in scaled]
        covariance = prior.outputscales[0] * pairs[0][0]
        for outputscale, (correlated, _) in zip(prior.outputscales[1:], pairs[1:], strict=True):
            covariance += outputscale * correlated
        value, alpha, weight = self._likelihood(covariance, prior)
        gradient = [float(alpha.sum()), prior.jitter * float(np.trace(weight))]
        by_input = np.zeros_like(self.x)
        for g, (correlated, sloped) in enumerate(pairs):
            z, outputscale = scaled[g], prior.outputscales[g]
            gradient.append(outputscale * float(np.vdot(weight, correlated)))
            inner = np.multiply(weight, sloped, out=sloped)
            attraction = inner @ z - inner.sum(axis=1)[:, None] * z
            gradient += (-2.0 * outputscale * np.einsum("aj,aj->j", z, attraction)).tolist()
            by_input[:, list(self.groups[g])] += 2.0 * outputscale * attraction / np.asarray(prior.lengthscales[g])
        belief, pull = self._hyperprior(flat)
        n = len(self.y)
        return -(value + belief) / n, -(np.array(gradient) + pull) / n, -by_input / n

    def _likelihood(self, covariance: Array, prior: Prior) -> tuple[float, Array, Array]:
        """Return the log evidence, ``alpha``, and the derivative by every entry of the covariance."""
        covariance[np.diag_indices_from(covariance)] += self.noise_variance + prior.jitter  # a fresh sum: ours
        try:
            factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        except (LinAlgError, ValueError) as error:
            raise FitFailed("the covariance of the data cannot be factorised", value=str(error)) from error
        value = -np.log(np.diagonal(factor)).sum() - len(self.y) * HALF_LOG_2PI
        half, _ = dpotri(factor, lower=1, overwrite_c=1)
        inverse = half + half.T  # the upper half is zero, as in the factor
        inverse[np.diag_indices_from(inverse)] *= 0.5
        residual = self.y - prior.mean
        alpha = inverse @ residual
        weight = np.multiply.outer(0.5 * alpha, alpha)
        inverse *= 0.5
        weight -= inverse
        return float(value - 0.5 * residual @ alpha), alpha, weight

    def _hyperprior(self, flat: Array) -> tuple[float, Array]:
        """Return the log density of hyperparameters and its gradient; log-normal densities are of the value itself."""
        location, scale = self._beliefs()
        z = (flat - location) / scale
        value = -0.5 * z @ z - np.log(scale).sum() - len(flat) * HALF_LOG_2PI - flat[1:].sum()
        gradient = -z / scale
        gradient[1:] -= 1.0
        return float(value), gradient

    def _beliefs(self) -> tuple[Array, Array]:
        location, scale = [0.0, JITTER_LOCATION], [1.0, JITTER_SCALE]
        for group in self.groups:
            location += [0.0, *[lengthscale_location(len(group))] * len(group)]
            scale += [1.0, *[LENGTHSCALE_SCALE] * len(group)]
        return np.array(location), np.array(scale)


def _squared_distances(z: Array) -> Array:
    norms, ones = np.einsum("ij,ij->i", z, z)[:, None], np.ones((len(z), 1))
    squared = np.hstack([-2.0 * z, norms, ones]) @ np.hstack([z, ones, norms]).T
    np.fill_diagonal(squared, 0.0)
    return np.asarray(np.maximum(squared, 0.0, out=squared))


def thinned(count: int, total: int) -> Indices:
    """Return ``count`` of ``total`` indices, or all if there are fewer, evenly spread.

    Examples
    --------
    >>> thinned(4, 10).tolist()
    [0, 2, 5, 7]
    """
    return np.linspace(0, total, min(count, total), endpoint=False).astype(np.int64)


@one_thread()
def maximise(start: Prior, x: Features, y: Array, noise_variance: Array, iterations: int, least: float = 0.0) -> Found:
    """Return the maximum a posteriori prior found from ``start`` in at most ``iterations``.

    Parameters
    ----------
    least : float
        An iteration that gains less than so many nats is the last.

    Raises
    ------
    FitFailed
        The evidence cannot be computed where the search stands, or the search ends on a non-finite value.
    """
    evidence = Evidence(start.shape, start.groups, np.asarray(x, dtype=np.float64), y, noise_variance)
    first: list[float] = []

    def loss(flat: Array) -> tuple[float, Array]:
        value, gradient = evidence.loss(flat)
        first.append(value)
        return value, gradient

    found = minimize(
        loss,
        evidence.pack(start),
        jac=True,
        bounds=evidence.bounds(),
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxfun": 2 * iterations + 5, "ftol": max(least / len(y), LEAST)},
    )
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        raise FitFailed("the evidence is not finite at the end of the search", value=float(found.fun))
    return Found(evidence.unpack(found.x), int(found.nit), len(y) * (first[0] - float(found.fun)))
