"""An exact Gaussian process on given features: the fast default of every modelled policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FitFailed
from autoscope.protocols import JsonValue
from autoscope.surrogates.evidence import Found, maximise, thinned
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Features, Groups, Prior, Shape, default_prior
from autoscope.surrogates.surrogate import FEW, ExactSurrogate, Scaling

Array = NDArray[np.float64]

NEGLIGIBLE = 0.05
"""A step of a warm fit to more than a few measurements that gains fewer nats than this is its last."""


class GaussianProcess(ExactSurrogate):
    """Sum of ARD kernels over groups of columns, constant mean, known noise plus learnt jitter.

    Parameters
    ----------
    groups : tuple of tuples of int
        Columns of each summand, e.g. image features and coordinates apart (additive).
    shape : {"rbf", "matern52"}
        Kernel of every summand.
    cold_iterations, warm_iterations : int
        Bound on L-BFGS-B iterations of the first fit and of later ones, which start where the last ended.
    fit_points : int
        Hyperparameters are learnt from so many measurements at most, evenly spread in their order: with more, the
        others would tell little of them and cost much. Predictions use all.
    device : str
        Where the pool is kept: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.

    Examples
    --------
    >>> x = np.linspace(0.0, 6.0, 12)[:, None]
    >>> model = GaussianProcess(groups=((0,),))
    >>> summary = model.fit(x, np.sin(x[:, 0]), np.full(12, 1e-3))
    >>> mean, std = model.predict(np.array([[1.5]]))
    >>> bool(abs(mean[0] - np.sin(1.5)) < 0.05)
    True
    """

    name = "gaussian_process"

    def __init__(
        self,
        groups: Groups,
        shape: Shape = "rbf",
        cold_iterations: int = 60,
        warm_iterations: int = 10,
        fit_points: int = 600,
        device: str = "cpu",
    ) -> None:
        super().__init__(device)
        self._default = default_prior(shape, groups)
        self._iterations, self._fit_points = (cold_iterations, warm_iterations), fit_points
        self._prior_: Prior | None = None

    def _learn(
        self, x: Features, y: Array, noise_variance: Array, units: Scaling, least: float
    ) -> tuple[ExactPosterior | None, int]:
        if self._prior_ is not None:
            start = self._prior_.rescaled(units.shift, units.factor)
            try:
                enough = NEGLIGIBLE if len(y) >= FEW else 0.0
                found = self._found(start, x, y, noise_variance, self._iterations[1], enough)
                if found.gain < least:
                    return None, found.iterations
                return self._taken(found, x, y, noise_variance)
            except FitFailed:  # a bad start spoils a warm fit; the cold one below does not depend on it
                self._prior_ = None
        return self._taken(self._found(self._default, x, y, noise_variance, self._iterations[0]), x, y, noise_variance)

    def _found(
        self, start: Prior, x: Features, y: Array, noise_variance: Array, iterations: int, least: float = 0.0
    ) -> Found:
        at = thinned(self._fit_points, len(x))
        return maximise(start, x[at], y[at], noise_variance[at], iterations, least)

    def _taken(self, found: Found, x: Features, y: Array, noise_variance: Array) -> tuple[ExactPosterior, int]:
        posterior = ExactPosterior(found.prior, x, y, noise_variance)
        self._prior_ = found.prior
        return posterior, found.iterations

    def _embed(self, x: Features) -> Features:
        return x

    def forget(self) -> None:
        """Let the next fit start from the default prior; see `Surrogate.forget`."""
        self._prior_ = None

    def _learnt(self) -> dict[str, JsonValue]:
        return {"prior": self._prior_.plain() if self._prior_ else None}

    def _remember(self, state: Mapping[str, JsonValue]) -> Prior:
        plain = state["prior"]
        self._prior_ = Prior.from_plain(plain) if isinstance(plain, dict) else None
        return self._prior_ or self._default
