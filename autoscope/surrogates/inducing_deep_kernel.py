"""A deep kernel for thousands of measurements: the network learns from some, inducing points carry what all say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.deep_kernel import DeepKernel
from autoscope.surrogates.evidence import thinned
from autoscope.surrogates.inducing import InducingGaussianProcess
from autoscope.surrogates.pool import Indices
from autoscope.surrogates.prior import Features, Prior
from autoscope.surrogates.surrogate import Scaling

Array = NDArray[np.float64]


class InducingDeepKernel:
    """Network and kernel trained on measurements evenly spread in their order; the posterior is that of all.

    As `inducing.InducingGaussianProcess` on what the network makes of the features: a fit takes bounded time and one
    more measurement costs the same, however many there were. Keeps `Surrogate`.

    Parameters
    ----------
    deep : DeepKernel
        The model for few measurements, whose network goes on learning here.
    inducing : int
        Inducing points.
    fit_points : int
        Measurements that the network learns from.
    """

    name = "inducing_deep_kernel"

    def __init__(self, deep: DeepKernel, inducing: int = 256, fit_points: int = 384) -> None:
        self._deep, self._fit_points = deep, fit_points
        self._process = InducingGaussianProcess(deep.groups, deep.shape, inducing=inducing, fit_points=fit_points)
        self._pool: Features | None = None

    def take_over(self, prior: Prior | None) -> None:
        """Do nothing: the network and its kernel are taken over as they are."""

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Learn network and hyperparameters from some, and the posterior from all; see `Surrogate.fit`."""
        at = thinned(self._fit_points, len(x))
        self._deep.fit(x[at], y[at], noise_std[at])
        units = Scaling.of(y[at]).seen_from(Scaling.of(y))
        prior = self._deep.prior
        self._process.take_over(None if prior is None else prior.rescaled(units.shift, units.factor))
        self._attach()
        return self._process.fit(self._deep.embed(x), y, noise_std).replace(model=self.name)

    def _attach(self) -> None:
        if self._pool is not None:
            self._process.attach(self._deep.embed(self._pool))

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state; see `Surrogate.recall`."""
        network, process = state["network"], state["process"]
        if not isinstance(network, Mapping) or not isinstance(process, Mapping):
            raise ModelError("a state holds nothing learnt", value=sorted(state))
        at = thinned(self._fit_points, len(x))
        self._deep.recall({k: v for k, v in network.items() if k != "pooled"}, x[at], y[at], noise_std[at])
        self._attach()
        self._process.recall(process, self._deep.embed(x), y, noise_std)

    def state(self) -> dict[str, JsonValue]:
        """Return weights and hyperparameters; see `Surrogate.state`."""
        return {"network": self._deep.state(), "process": self._process.state()}

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and std at ``x`` (m, d); see `Surrogate.predict`."""
        return self._process.predict(self._deep.embed(x))

    def condition(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements into account without refit; see `Surrogate.condition`."""
        for k in range(len(x)):  # one by one: the network's products may round differently for several rows
            self._process.condition(self._deep.embed(x[k : k + 1]), y[k : k + 1], noise_std[k : k + 1])

    def rest(self, x: Features, y: Array, noise_std: Array) -> None:
        """Choose inducing points anew among all measurements; see `Surrogate.rest`."""
        self._process.rest(self._deep.embed(x), y, noise_std)

    def release(self) -> None:
        """Let go of the posterior over the pool; see `Surrogate.release`."""
        self._process.release()

    def attach(self, pool: Features) -> None:
        """Keep the posterior over ``pool`` (m, d); see `Surrogate.attach`."""
        self._pool = pool
        if self._deep.prior is not None:
            self._attach()

    def pool_posterior(self) -> tuple[Array, Array]:
        """Return mean and std over the attached pool; see `Surrogate.pool_posterior`."""
        return self._process.pool_posterior()

    def pool_std_given(self, x: Features, noise_std: Array) -> Array:
        """Return the pool std as if ``x`` had been measured too; see `Surrogate.pool_std_given`."""
        return self._process.pool_std_given(self._deep.embed(x), noise_std)

    def pool_covariance(self, x: Features) -> Array:
        """Return the covariance of the pool with one point; see `Surrogate.pool_covariance`."""
        return self._process.pool_covariance(self._deep.embed(x[None])[0])

    def covariance_between(self, one: Indices, other: Indices) -> Array:
        """Return the posterior covariance between points of the pool; see `Surrogate.covariance_between`."""
        return self._process.covariance_between(one, other)

    def sample_pool(self, rng: np.random.Generator) -> Array:
        """Return one posterior function over the attached pool; see `Surrogate.sample_pool`."""
        return self._process.sample_pool(rng)

    @property
    def jitter_std(self) -> float:
        """Learnt noise beyond the stated one; see `Surrogate.jitter_std`."""
        return self._process.jitter_std

    @property
    def typical_noise_std(self) -> float:
        """Median noise of a measurement; see `Surrogate.typical_noise_std`."""
        return self._process.typical_noise_std

    def leave_one_out(self) -> tuple[Array, Array, Array]:
        """Return values and leave-one-out forecasts; see `Surrogate.leave_one_out`."""
        return self._process.leave_one_out()

    def forget(self) -> None:
        """Let the next fit start afresh; see `Surrogate.forget`."""
        self._deep.forget()
        self._process.forget()
