"""A Gaussian process for thousands of measurements: seen through inducing points, updated without touching them all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FitFailed, ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.evidence import maximise, thinned
from autoscope.surrogates.pool import Held, Indices, home_of
from autoscope.surrogates.prior import Features, Groups, Prior, Shape, default_prior
from autoscope.surrogates.sparse_posterior import SparsePosterior, select_inducing
from autoscope.surrogates.surrogate import Scaling, Surrogate
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]

SCREENED = 4
"""Inducing points are sought among so many measurements for each that is wanted."""


class InducingGaussianProcess:
    """The sum of ARD kernels of `gp.GaussianProcess`, approximated through inducing points; keeps `Surrogate`.

    Hyperparameters maximise the exact evidence of some measurements, evenly spread in their order, or the bound of
    Titsias 2009 on all; the posterior, which is that of the bound, uses all. One more measurement costs O(u^2 + u m)
    for u inducing points and a pool of m, however many were measured before. A measured place that the inducing points
    hardly know joins them until the next fit chooses them anew.

    Parameters
    ----------
    groups : tuple of tuples of int
        Columns of each summand, e.g. image features and coordinates apart (additive).
    shape : {"rbf", "matern52"}
        Kernel of every summand.
    inducing, spare : int
        Inducing points of the posterior, and room for more until the next fit.
    learn_by : {"evidence", "bound"}
        What hyperparameters maximise. The bound looks at all measurements, through GPyTorch, in about ten times the
        time.
    fit_points, fit_inducing : int
        Measurements whose evidence is maximised, and inducing points of the bound.
    cold_iterations, warm_iterations : int
        Bound on L-BFGS-B iterations of the first fit and of later ones, which start where the last ended.
    device : str
        Where the pool is kept: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.

    Examples
    --------
    >>> x = np.linspace(0.0, 6.0, 40)[:, None]
    >>> model = InducingGaussianProcess(groups=((0,),), inducing=20)
    >>> summary = model.fit(x, np.sin(x[:, 0]), np.full(40, 1e-2))
    >>> mean, std = model.predict(np.array([[1.5]]))
    >>> bool(abs(mean[0] - np.sin(1.5)) < 0.05)
    True
    """

    name = "inducing_gaussian_process"

    def __init__(
        self,
        groups: Groups,
        shape: Shape = "rbf",
        *,
        inducing: int = 256,
        spare: int = 64,
        learn_by: Literal["evidence", "bound"] = "evidence",
        fit_points: int = 384,
        fit_inducing: int = 96,
        cold_iterations: int = 40,
        warm_iterations: int = 5,
        device: str = "cpu",
    ) -> None:
        self._default = default_prior(shape, groups)
        self._counts, self._fit_points = (inducing, spare, min(fit_inducing, inducing)), fit_points
        self._iterations, self._learn_by = (cold_iterations, warm_iterations), learn_by
        self._home = home_of(device)
        self._store: Held | None = None
        self._prior_: Prior | None = None
        self._posterior_: SparsePosterior | None = None
        self._scaling_ = Scaling(0.0, 1.0)
        self._pool: Features | None = None

    @property
    def n(self) -> int:
        """Number of measurements the posterior knows."""
        return self._posterior_.n if self._posterior_ else 0

    def take_over(self, prior: Prior | None) -> None:
        """Let the next fit start, warm, from hyperparameters of another model of the same kernel; afresh from none."""
        self._prior_ = prior

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Learn hyperparameters; see `Surrogate.fit`."""
        x, y, noise_std = _checked(x, y, noise_std)
        scaling = Scaling.of(y)
        standard, noise = scaling.standard(y), scaling.noise_variance(noise_std)
        with one_thread():
            prior, used = self._learn(x, standard, noise)
            posterior = self._condensed(prior, x, standard, noise)
        self._replace(posterior)
        self._prior_, self._scaling_ = prior, scaling
        return FitSummary(
            model=self.name,
            n=len(y),
            iterations=used,
            log_evidence=posterior.log_bound() - len(y) * math.log(scaling.factor),
            hyperparameters=prior.flat(),
        )

    def _learn(self, x: Array, y: Array, noise_variance: Array) -> tuple[Prior, int]:
        if self._prior_ is not None:
            try:
                return self._learn_from(self._prior_, x, y, noise_variance, self._iterations[1])
            except FitFailed:  # a bad start spoils a warm fit; the cold one below does not depend on it
                self._prior_ = None
        return self._learn_from(self._default, x, y, noise_variance, self._iterations[0])

    def _learn_from(
        self, start: Prior, x: Array, y: Array, noise_variance: Array, iterations: int
    ) -> tuple[Prior, int]:
        if self._learn_by == "evidence":
            at = thinned(self._fit_points, len(x))
            return maximise(start, x[at], y[at], noise_variance[at], iterations)[:2]
        from autoscope.surrogates.sparse_evidence import maximise_bound  # GPyTorch: only when something is so fitted

        chosen = select_inducing(start, x, self._counts[2])
        return maximise_bound(start, x, y, noise_variance, x[chosen], iterations)

    def _condensed(self, prior: Prior, x: Array, y: Array, noise_variance: Array) -> SparsePosterior:
        count, spare, _ = self._counts
        looked_at = x[thinned(SCREENED * count, len(x))]
        chosen = looked_at[select_inducing(prior, looked_at, count)]
        return SparsePosterior(prior, x, y, noise_variance, chosen, spare=spare)

    def _replace(self, posterior: SparsePosterior) -> None:
        self.release()
        self._posterior_ = posterior

    def forget(self) -> None:
        """Let the next fit start from the default prior; see `Surrogate.forget`."""
        self._prior_ = None

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state; see `Surrogate.recall`."""
        x, y, noise_std = _checked(x, y, noise_std)
        plain, scaling = state["prior"], Scaling.of(y)
        prior = Prior.from_plain(plain) if isinstance(plain, dict) else self._default
        with one_thread():
            self._replace(self._condensed(prior, x, scaling.standard(y), scaling.noise_variance(noise_std)))
        self._prior_ = prior if isinstance(plain, dict) else None
        self._scaling_ = scaling

    def state(self) -> dict[str, JsonValue]:
        """Return the learnt hyperparameters; see `Surrogate.state`."""
        return {"prior": self._prior_.plain() if self._prior_ else None}

    def rest(self, x: Features, y: Array, noise_std: Array) -> None:
        """Choose inducing points anew among all measurements; see `Surrogate.rest`."""
        self.recall(self.state(), x, y, noise_std)

    def release(self) -> None:
        """Let go of the posterior over the pool; see `Surrogate.release`."""
        if self._posterior_ is not None and self._posterior_.pool is not None:
            self._store = self._posterior_.pool.store
            self._posterior_.pool = None

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and std at ``x`` (m, d); see `Surrogate.predict`."""
        with one_thread():
            return self._in_units(*self._fitted().predict(x))

    def condition(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements into account without refit, in O(u^2 + u m) each; see `Surrogate.condition`."""
        x, y, noise_std = _checked(x, y, noise_std)
        posterior = self._fitted()
        standard, noise = self._scaling_.standard(y), self._scaling_.noise_variance(noise_std)
        with one_thread():
            for k in range(len(x)):  # one by one, so that the bits do not depend on how many arrive together
                posterior.extend(x[k], float(standard[k]), float(noise[k]))

    def attach(self, pool: Features) -> None:
        """Keep the posterior over ``pool`` (m, d); see `Surrogate.attach`."""
        self._pool = pool
        if self._posterior_ is not None:
            self._posterior_.pool = None

    def pool_posterior(self) -> tuple[Array, Array]:
        """Return mean and std over the attached pool; see `Surrogate.pool_posterior`."""
        pool = self._attached().pool
        if pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        return self._in_units(pool.mean, pool.variance)

    def pool_std_given(self, x: Features, noise_std: Array) -> Array:
        """Return the pool std as if ``x`` had been measured too; see `Surrogate.pool_std_given`."""
        noise = self._scaling_.noise_variance(noise_std)
        with one_thread():
            return self._std(self._attached().pool_variance_given(x, noise))

    def pool_covariance(self, x: Features) -> Array:
        """Return the covariance of the pool with one point; see `Surrogate.pool_covariance`."""
        with one_thread():
            return self._attached().pool_covariance(x).astype(np.float64) * self._scaling_.factor**2

    def covariance_between(self, one: Indices, other: Indices) -> Array:
        """Return the posterior covariance between points of the pool; see `Surrogate.covariance_between`."""
        with one_thread():
            return self._attached().covariance_between(one, other).astype(np.float64) * self._scaling_.factor**2

    def sample_pool(self, rng: np.random.Generator) -> Array:
        """Return one posterior function over the attached pool; see `Surrogate.sample_pool`."""
        with one_thread():
            return self._scaling_.shift + self._scaling_.factor * self._attached().sample_pool(rng)

    @property
    def jitter_std(self) -> float:
        """Learnt noise beyond the stated one; see `Surrogate.jitter_std`."""
        return self._scaling_.factor * math.sqrt(self._fitted().prior.jitter)

    @property
    def typical_noise_std(self) -> float:
        """Median noise of a measurement; see `Surrogate.typical_noise_std`."""
        return self._scaling_.factor * math.sqrt(float(np.median(self._fitted().noise_variance)))

    def leave_one_out(self) -> tuple[Array, Array, Array]:
        """Return values and leave-one-out forecasts; see `Surrogate.leave_one_out`."""
        with one_thread():
            y, mean, variance = self._fitted().leave_one_out()
        return self._scaling_.shift + self._scaling_.factor * y, *self._in_units(mean, variance)

    def _in_units(self, mean: Features, variance: Features) -> tuple[Array, Array]:
        return self._scaling_.shift + self._scaling_.factor * mean.astype(np.float64), self._std(variance)

    def _std(self, variance: Features) -> Array:
        std = np.maximum(variance, 0.0, dtype=np.float64)
        np.sqrt(std, out=std)
        std *= self._scaling_.factor
        return std

    def _fitted(self) -> SparsePosterior:
        if self._posterior_ is None:
            raise ModelError(f"the {self.name} has not been fitted", remedy="Call fit(x, y, noise_std) first")
        return self._posterior_

    def _attached(self) -> SparsePosterior:
        posterior = self._fitted()
        if posterior.pool is None and self._pool is not None:
            with one_thread():
                posterior.attach(self._pool, self._home, self._store)
            self._store = None
        return posterior


class Successor(Surrogate, Protocol):
    """A model for many measurements that begins with what one for few has learnt."""

    def take_over(self, prior: Prior | None) -> None:
        """Let the next fit start, warm, from these hyperparameters; afresh from none."""


class GrowingGaussianProcess:
    """An exact model while measurements are few, and from the fit at ``limit`` on one through inducing points.

    The second takes over the hyperparameters of the first, so that predictions do not jump. Both keep `Surrogate`, and
    so does this.

    Parameters
    ----------
    exact : Surrogate
        For fewer than ``limit`` measurements; its state holds a ``"prior"``, as that of `gp.GaussianProcess` does.
    inducing : Successor
        For more; same groups and kernel.
    limit : int
        First number of measurements fitted by the second.
    """

    name = "growing_gaussian_process"

    def __init__(self, exact: Surrogate, inducing: Successor, limit: int = 1000) -> None:
        self._exact, self._inducing, self._limit = exact, inducing, limit
        self._active: Surrogate = exact
        self._pool: Features | None = None

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Learn hyperparameters by the model for so many measurements; see `Surrogate.fit`."""
        if len(x) < self._limit:
            summary = self._exact.fit(x, y, noise_std)
            self._switch(self._exact)
            return summary
        if self._active is self._exact:
            plain = self._exact.state().get("prior")
            self._inducing.take_over(Prior.from_plain(plain) if isinstance(plain, dict) else None)
        summary = self._inducing.fit(x, y, noise_std)
        self._switch(self._inducing)
        return summary

    def _switch(self, active: Surrogate) -> None:
        """Answer from ``active``, and free what the other keeps of the pool."""
        if active is not self._active and self._pool is not None:
            self._active.attach(self._pool[:0])
            active.attach(self._pool)
        self._active = active

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state; see `Surrogate.recall`."""
        learnt = state["learnt"]
        if not isinstance(learnt, Mapping):
            raise ModelError("a state holds nothing learnt", value=learnt)
        active: Surrogate = self._inducing if state["stage"] == "inducing" else self._exact
        active.recall(learnt, x, y, noise_std)
        self._switch(active)

    def state(self) -> dict[str, JsonValue]:
        """Return which model is in force and what it learnt; see `Surrogate.state`."""
        stage = "exact" if self._active is self._exact else "inducing"
        return {"stage": stage, "learnt": self._active.state()}

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and std at ``x`` (m, d); see `Surrogate.predict`."""
        return self._active.predict(x)

    def condition(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements into account without refit; see `Surrogate.condition`."""
        self._active.condition(x, y, noise_std)

    def attach(self, pool: Features) -> None:
        """Keep the posterior over ``pool`` (m, d); see `Surrogate.attach`."""
        self._pool = pool
        self._active.attach(pool)

    def pool_posterior(self) -> tuple[Array, Array]:
        """Return mean and std over the attached pool; see `Surrogate.pool_posterior`."""
        return self._active.pool_posterior()

    def pool_std_given(self, x: Features, noise_std: Array) -> Array:
        """Return the pool std as if ``x`` had been measured too; see `Surrogate.pool_std_given`."""
        return self._active.pool_std_given(x, noise_std)

    def pool_covariance(self, x: Features) -> Array:
        """Return the posterior covariance of every point of the pool with ``x`` (d,), shape (m,), target squared."""
        return self._active.pool_covariance(x)

    def covariance_between(self, one: Indices, other: Indices) -> Array:
        """Return the posterior covariance between points of the pool; see `Surrogate.covariance_between`."""
        return self._active.covariance_between(one, other)

    def sample_pool(self, rng: np.random.Generator) -> Array:
        """Return one posterior function over the attached pool; see `Surrogate.sample_pool`."""
        return self._active.sample_pool(rng)

    @property
    def jitter_std(self) -> float:
        """Learnt noise beyond the stated one; see `Surrogate.jitter_std`."""
        return self._active.jitter_std

    @property
    def typical_noise_std(self) -> float:
        """Median noise of a measurement; see `Surrogate.typical_noise_std`."""
        return self._active.typical_noise_std

    def leave_one_out(self) -> tuple[Array, Array, Array] | None:
        """Return values and leave-one-out forecasts; see `Surrogate.leave_one_out`."""
        return self._active.leave_one_out()

    def rest(self, x: Features, y: Array, noise_std: Array) -> None:
        """Sit out a fit; see `Surrogate.rest`."""
        self._active.rest(x, y, noise_std)

    def release(self) -> None:
        """Let go of the posterior over the pool; see `Surrogate.release`."""
        self._active.release()

    def forget(self) -> None:
        """Let the next fit start afresh; see `Surrogate.forget`."""
        self._exact.forget()
        self._inducing.forget()


def _checked(x: Features, y: Features, noise_std: Features) -> tuple[Array, Array, Array]:
    if x.ndim != 2 or y.shape != (len(x),) or noise_std.shape != (len(x),) or len(x) == 0:
        raise FitFailed(
            "data have the wrong shape", value=(x.shape, y.shape, noise_std.shape), limit="(n, d), (n,), (n,)"
        )
    x, y, noise_std = (np.asarray(a, dtype=np.float64) for a in (x, y, noise_std))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(noise_std).all()):
        raise FitFailed("data are not finite", remedy="Leave rejected measurements out")
    if (noise_std < 0).any():
        raise FitFailed("a noise std is negative", value=float(noise_std.min()), limit=">= 0")
    return x, y, noise_std
