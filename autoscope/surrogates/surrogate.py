"""What every surrogate can do, and the part all exact ones share: scaling, conditioning, the attached pool."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FitFailed, ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.pool import Held, Indices, home_of
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Features, Prior
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]

WORTHWHILE = 1.0
"""Nats of log posterior density below which new hyperparameters are no better founded than those in use: the posterior
is not built anew for them."""
FEW = 50
"""With fewer measurements than this all is cheap: a fit is driven to its end, and the posterior always built anew."""


class Surrogate(Protocol):
    """Predicts a target and its standard deviation from features; units of the target throughout."""

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Learn hyperparameters from ``x`` (n, d), ``y`` (n,), ``noise_std`` (n,), warm from the last fit.

        Raises
        ------
        FitFailed
            No usable hyperparameters; the earlier fit stays in force.
        Diverged
            The fit ended, but its predictions contradict its own data.
        """

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and std of the noise-free target at ``x`` (m, d), each (m,)."""

    def condition(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements into account without refit; the attached pool in O(n m) each."""

    def attach(self, pool: Features) -> None:
        """Keep the posterior over ``pool`` (m, d) from now on, through conditioning and refits."""

    def pool_posterior(self) -> tuple[Array, Array]:
        """Return mean and std over the attached pool, each (m,)."""

    def pool_std_given(self, x: Features, noise_std: Array) -> Array:
        """Return the pool std as if ``x`` (q, d) had been measured too, shape (m,)."""

    def pool_covariance(self, x: Features) -> Array:
        """Return the posterior covariance of every point of the pool with ``x`` (d,), shape (m,), target squared."""

    def covariance_between(self, one: Indices, other: Indices) -> Array:
        """Return the posterior covariance between points of the pool, by index (a,), (b,), shape (a, b)."""

    @property
    def typical_noise_std(self) -> float:
        """Median standard deviation of a measurement's noise, learnt noise included."""

    def sample_pool(self, rng: np.random.Generator) -> Array:
        """Return one function drawn from the posterior, over the attached pool (m,)."""

    @property
    def jitter_std(self) -> float:
        """Learnt noise of a measurement beyond the stated one, a standard deviation."""

    def leave_one_out(self) -> tuple[Array, Array, Array] | None:
        """Return values, and mean and std of each foretold from all others, with all noise; None where unknown."""

    def forget(self) -> None:
        """Let the next fit start afresh instead of where the last one ended."""

    def rest(self, x: Features, y: Array, noise_std: Array) -> None:
        """Sit out a fit: hyperparameters stay, and all measurements, each known already, go on to count."""

    def release(self) -> None:
        """Let go of the posterior over the pool, until it is asked for again."""

    def state(self) -> dict[str, JsonValue]:
        """Return what the last fit learnt as JSON data."""

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state with the data it was fitted to: as after that fit, without its cost."""


@dataclass(frozen=True)
class Scaling:
    """The affine map between the target and its standardised form."""

    shift: float
    factor: float

    @classmethod
    def of(cls, y: Array) -> Scaling:
        """Return the scaling to zero mean and unit spread; a constant target keeps its unit."""
        shift, spread = float(np.mean(y)), float(np.std(y))
        return cls(shift, spread if spread > 1e-12 * max(abs(shift), 1e-300) else 1.0)

    def standard(self, y: Array) -> Array:
        """Return standardised values."""
        return (y - self.shift) / self.factor

    def seen_from(self, other: Scaling) -> Scaling:
        """Return the scaling that takes values in this one's standard units to those of another."""
        return Scaling((self.shift - other.shift) / other.factor, self.factor / other.factor)

    def noise_variance(self, noise_std: Array) -> Array:
        """Return standardised noise variance."""
        return (noise_std / self.factor) ** 2


class ExactSurrogate(abc.ABC):
    """A surrogate whose posterior is an exact GP on (possibly learnt) features.

    Works on one thread, so that the same data give the same bits however they arrived.

    Parameters
    ----------
    device : str
        Where the pool is kept; see `pool.home_of`.
    """

    name: str

    def __init__(self, device: str = "cpu") -> None:
        self._home = home_of(device)
        self._posterior_: ExactPosterior | None = None
        self._scaling_ = Scaling(0.0, 1.0)
        self._pool: Features | None = None
        self._store: Held | None = None
        self._built_: int | None = None
        self._pooled_: int | None = None

    @abc.abstractmethod
    def _learn(
        self, x: Features, y: Array, noise_variance: Array, units: Scaling, least: float
    ) -> tuple[ExactPosterior | None, int]:
        """Return the posterior under freshly learnt hyperparameters, and the iterations used.

        Parameters
        ----------
        x, y, noise_variance : array
            Measurements (n, d), (n,), (n,), standardised.
        units : Scaling
            From the standard units of the last fit to those of ``y``.
        least : float
            With a gain over the last hyperparameters below so many nats, return None for the posterior: they stay.
        """

    @abc.abstractmethod
    def _embed(self, x: Features) -> Features:
        """Return the kernel's inputs for features ``x``."""

    @abc.abstractmethod
    def _remember(self, state: Mapping[str, JsonValue]) -> Prior:
        """Take up learnt hyperparameters and return the prior among them."""

    @abc.abstractmethod
    def _learnt(self) -> dict[str, JsonValue]:
        """Return learnt hyperparameters as JSON data; the prior, if there is one, as ``"prior"``."""

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt, and with how many measurements the posterior and its pool were built anew."""
        return self._learnt() | {"built": self._built_, "pooled": self._pooled_}

    @abc.abstractmethod
    def forget(self) -> None:
        """Let the next fit start afresh; see `Surrogate.forget`."""

    @property
    def jitter_std(self) -> float:
        """Learnt noise beyond the stated one; see `Surrogate.jitter_std`."""
        return self._scaling_.factor * math.sqrt(self._fitted().prior.jitter)

    def leave_one_out(self) -> tuple[Array, Array, Array] | None:
        """Return values and leave-one-out forecasts; see `Surrogate.leave_one_out`."""
        posterior = self._fitted()
        with one_thread():
            mean, variance = posterior.leave_one_out()
        in_units = self._in_units(mean, variance)
        return self._scaling_.shift + self._scaling_.factor * posterior.y, *in_units

    @property
    def n(self) -> int:
        """Number of measurements the posterior knows."""
        return self._posterior_.n if self._posterior_ else 0

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Learn hyperparameters; see `Surrogate.fit`.

        Where the measurements, all known already, say less than `WORTHWHILE` for new ones, the posterior stays.
        """
        _check(x, y, noise_std)
        scaling, least = Scaling.of(y), -math.inf
        if len(y) >= FEW and self._knows(x, y, noise_std):
            least = WORTHWHILE
        with one_thread():
            posterior, iterations = self._learn(
                x, scaling.standard(y), scaling.noise_variance(noise_std), self._scaling_.seen_from(scaling), least
            )
        if posterior is not None:
            self._replace(posterior)
            self._scaling_ = scaling
        fitted = self._fitted()
        return FitSummary(
            model=self.name,
            n=len(y),
            iterations=iterations,
            log_evidence=fitted.log_evidence() - len(y) * math.log(self._scaling_.factor),
            hyperparameters=fitted.prior.flat(),
        )

    def _knows(self, x: Features, y: Array, noise_std: Array) -> bool:
        """Return whether the posterior was made of just these measurements, in this order."""
        posterior, scaling = self._posterior_, self._scaling_
        return (
            posterior is not None
            and posterior.n == len(y)
            and np.array_equal(posterior.y, scaling.standard(y))
            and np.array_equal(posterior.noise_variance, scaling.noise_variance(noise_std))
            and np.array_equal(posterior.x, self._embed(x))
        )

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state; see `Surrogate.recall`."""
        _check(x, y, noise_std)
        prior = self._remember(state)
        built, pooled = (min(n, len(y)) if isinstance(n := state.get(k), int) else None for k in ("built", "pooled"))
        first = slice(built)
        self._scaling_ = Scaling.of(y[first])
        standard, noise = self._scaling_.standard(y[first]), self._scaling_.noise_variance(noise_std[first])
        with one_thread():
            self._replace(ExactPosterior(prior, self._embed(x[first]), standard, noise))
        for until in (pooled, len(y)):  # in the steps in which it came about: the same bits
            if until is not None:
                new = slice(self.n, until)
                if until > self.n:
                    self.condition(x[new], y[new], noise_std[new])
            if until == pooled and pooled is not None:
                self._attached()

    def predict(self, x: Features) -> tuple[Array, Array]:
        """Return mean and std at ``x`` (m, d); see `Surrogate.predict`."""
        mean, variance = self._fitted().predict(self._embed(x))
        return self._in_units(mean, variance)

    def condition(self, x: Features, y: Array, noise_std: Array) -> None:
        """Take measurements into account without refit; see `Surrogate.condition`."""
        _check(x, y, noise_std)
        posterior = self._fitted()
        standard, noise = self._scaling_.standard(y), self._scaling_.noise_variance(noise_std)
        with one_thread():
            for k in range(len(x)):  # one by one, so that the bits do not depend on how many arrive together
                posterior.extend(self._embed(x[k : k + 1])[0], float(standard[k]), float(noise[k]))

    def attach(self, pool: Features) -> None:
        """Keep the posterior over ``pool`` (m, d); see `Surrogate.attach`."""
        self._pool = pool
        self.release()
        self._store = None

    def rest(self, x: Features, y: Array, noise_std: Array) -> None:
        """Check that the posterior knows all measurements: then there is nothing to do; see `Surrogate.rest`.

        Raises
        ------
        ModelError
            It knows fewer or more.
        """
        if self.n != len(y):
            raise ModelError("a model cannot rest that knows other measurements", value=self.n, limit=len(y))

    def release(self) -> None:
        """Let go of the posterior over the pool; see `Surrogate.release`."""
        self._pooled_ = None
        if self._posterior_ is not None and self._posterior_.pool is not None:
            self._store = self._posterior_.pool.store
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
            return self._std(self._attached().pool_variance_given(self._embed(x), noise))

    def pool_covariance(self, x: Features) -> Array:
        """Return the covariance of the pool with one point; see `Surrogate.pool_covariance`."""
        with one_thread():
            covariance = self._attached().pool_covariance(self._embed(x[None])[0])
        return covariance.astype(np.float64) * self._scaling_.factor**2

    def covariance_between(self, one: Indices, other: Indices) -> Array:
        """Return the posterior covariance between points of the pool; see `Surrogate.covariance_between`."""
        pool = self._attached().pool
        if pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        with one_thread():
            covariance = pool.covariance(one, other)
        return covariance.astype(np.float64) * self._scaling_.factor**2

    @property
    def typical_noise_std(self) -> float:
        """Median noise of a measurement; see `Surrogate.typical_noise_std`."""
        posterior = self._fitted()
        variance = float(np.median(posterior.noise_variance)) + posterior.prior.jitter
        return self._scaling_.factor * math.sqrt(variance)

    def sample_pool(self, rng: np.random.Generator) -> Array:
        """Return one posterior function over the attached pool; see `Surrogate.sample_pool`."""
        posterior = self._attached()
        if posterior.pool is None:
            raise ModelError("no pool is attached", remedy="Call attach(pool) first")
        return self._scaling_.shift + self._scaling_.factor * posterior.sample(posterior.pool.points, rng)

    def _in_units(self, mean: Features, variance: Features) -> tuple[Array, Array]:
        scaling = self._scaling_
        return scaling.shift + scaling.factor * mean.astype(np.float64), self._std(variance)

    def _std(self, variance: Features) -> Array:
        std = np.maximum(variance, 0.0, dtype=np.float64)
        np.sqrt(std, out=std)
        std *= self._scaling_.factor
        return std

    def _fitted(self) -> ExactPosterior:
        if self._posterior_ is None:
            raise ModelError(f"the {self.name} has not been fitted", remedy="Call fit(x, y, noise_std) first")
        return self._posterior_

    def _attached(self) -> ExactPosterior:
        posterior = self._fitted()
        if posterior.pool is None and self._pool is not None:
            with one_thread():
                posterior.attach(self._embed(self._pool), self._store, self._home)
            self._store, self._pooled_ = None, posterior.n
        return posterior

    def _replace(self, posterior: ExactPosterior) -> None:
        self.release()
        self._posterior_, self._built_ = posterior, posterior.n


def _check(x: Features, y: Array, noise_std: Array) -> None:
    if x.ndim != 2 or y.shape != (len(x),) or noise_std.shape != (len(x),) or len(x) == 0:
        raise FitFailed(
            "data have the wrong shape", value=(x.shape, y.shape, noise_std.shape), limit="(n, d), (n,), (n,)"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all() and np.isfinite(noise_std).all()):
        raise FitFailed("data are not finite", remedy="Leave rejected measurements out")
    if (noise_std < 0).any():
        raise FitFailed("a noise std is negative", value=float(noise_std.min()), limit=">= 0")
