"""Whole spectra predicted where none was measured: a low-rank basis, and a Gaussian process for each of its scores.

Spectra are weighted by what counting statistics makes of their channels (Keenan & Kotula, Surf. Interface Anal. 36,
203, 2004: divide each channel by the root of the mean spectrum), so that strong channels do not drown weak ones by
their noise. In the weighted space a spectrum is ``mean + scores @ basis + rest``, the basis orthonormal. Any linear
reading of a spectrum (a band integral) is then a linear reading of independent scores, and its variance follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import FitFailed, ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class SpectralBasis:
    """A mean spectrum and a few directions around it, in units of the spectra.

    Attributes
    ----------
    mean : array
        (channels,)
    loadings : array
        (q, channels); a spectrum is ``mean + scores @ loadings``.
    readers : array
        (q, channels); scores are ``readers @ (spectrum - mean)``.
    rest : array
        (channels,) variance of true spectra that the basis does not hold.
    noise : array
        (channels,) variance of the mean spectrum by the noise of the spectra it was taken from.
    spread : array
        (q,) variance of the scores of those spectra.
    """

    mean: Array
    loadings: Array
    readers: Array
    rest: Array
    noise: Array
    spread: Array

    @classmethod
    def of(cls, spectra: Floats, noise_variance: Floats, components: int) -> SpectralBasis:
        """Return the principal components of weighted spectra (n, channels), at most ``components``.

        The variance that the basis leaves of each channel, less what noise explains, is kept as ``rest``. Of the two
        signs of a component, that in which its strongest channel is positive.
        """
        from sklearn.decomposition import PCA

        data = np.asarray(spectra, dtype=np.float64)
        root = _root(data)
        count = min(components, len(data) - 1, data.shape[1])
        model = PCA(n_components=count, svd_solver="full").fit(data / root)
        axes = np.asarray(model.components_, dtype=np.float64)
        axes *= np.where(axes[np.arange(count), np.abs(axes).argmax(axis=1)] < 0.0, -1.0, 1.0)[:, None]
        mean, loadings, readers = data.mean(axis=0), axes * root, axes / root
        left = data - mean - ((data - mean) @ readers.T) @ loadings
        freedom = max(len(data) - 1 - count, 1)
        rest = np.maximum((left**2).sum(axis=0) / freedom - np.mean(noise_variance, axis=0), 0.0)
        spread = np.asarray(model.explained_variance_, dtype=np.float64)
        return cls(mean, loadings, readers, rest, np.mean(noise_variance, axis=0) / len(data), spread)

    def variance(self, scores: Array, score_std: Array, readings: Floats) -> Array:
        """Return the variance (m, r) of linear readings (r, channels) of spectra with these scores (m, q).

        Three independent parts: uncertain scores; what the basis does not hold; and the noise in the basis itself,
        which grows with the distance from the mean as in any regression (the leverage): each channel's mean and
        loadings are, to first order in the noise, its regression on the scores.
        """
        floor = np.finfo(np.float64).tiny
        leverage = 1.0 + (scores**2 / np.maximum(self.spread, floor)).sum(axis=1)
        known = (score_std**2) @ (self.loadings @ readings.T) ** 2
        return np.asarray(known + readings**2 @ self.rest + np.outer(leverage, readings**2 @ self.noise))

    def scores(self, spectra: Floats) -> Array:
        """Return the scores (n, q) of spectra (n, channels)."""
        return np.asarray((spectra - self.mean) @ self.readers.T)

    def score_std(self, noise_variance: Floats) -> Array:
        """Return the std (n, q) that independent noise of variance (n, channels) gives the scores."""
        return np.asarray(np.sqrt(noise_variance @ (self.readers**2).T))

    def plain(self) -> dict[str, Any]:
        """Return the basis as JSON data from which `from_plain` makes an equal one."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> SpectralBasis:
        """Return the basis written by `plain`."""
        arrays = {field.name: np.asarray(data[field.name], dtype=np.float64) for field in fields(cls)}
        shape = (-1, len(arrays["mean"]))  # an empty basis keeps its channels
        return cls(**arrays | {name: arrays[name].reshape(shape) for name in ("loadings", "readers")})


class SpectralSurrogate:
    """Predicts spectra from features: independent surrogates of the scores in a `SpectralBasis`.

    Parameters
    ----------
    make : callable
        Returns a fresh `Surrogate` for one score, e.g. ``lambda: GaussianProcess(groups)``.
    components : int
        Size of the basis, at most; fewer while fewer spectra are known.

    Examples
    --------
    >>> from autoscope.surrogates.gp import GaussianProcess
    >>> x = np.linspace(-2.0, 2.0, 20)[:, None]
    >>> spectra = 100.0 + np.sin(x) * np.array([[0.0, 30.0, 10.0]])
    >>> model = SpectralSurrogate(lambda: GaussianProcess(groups=((0,),)), components=1)
    >>> summaries = model.fit(x, spectra, np.full((20, 3), 0.01))
    >>> mean, std = model.predict_spectra(np.array([[1.0]]))
    >>> bool(abs(mean[0, 1] - 125.2) < 1.0)
    True
    """

    name = "spectral"

    def __init__(self, make: Callable[[], Surrogate], components: int = 8) -> None:
        self._make, self._components = make, components
        self._basis_: SpectralBasis | None = None
        self._models_: list[Surrogate] = []

    @property
    def basis(self) -> SpectralBasis:
        """The basis of the last fit."""
        if self._basis_ is None:
            raise ModelError(
                "the spectral surrogate has not been fitted", remedy="Call fit(x, spectra, noise_var) first"
            )
        return self._basis_

    def fit(self, x: Floats, spectra: Floats, noise_var: Floats) -> list[FitSummary]:
        """Find the basis of ``spectra`` (n, channels) and fit each score, warm from the last fit.

        Parameters
        ----------
        x : array
            (n, d) features.
        spectra, noise_var : array
            (n, channels) values and the variances of their independent noise.

        Raises
        ------
        FitFailed
            Data of the wrong shape, not finite or fewer than three, or no usable hyperparameters; the earlier fit stays
            in force.
        """
        spectra, noise_var = _checked(x, spectra, noise_var)
        basis = SpectralBasis.of(spectra, noise_var, self._components)
        models = [self._model(k) for k in range(len(basis.loadings))]
        scores, stds = basis.scores(spectra), basis.score_std(noise_var)
        summaries = [m.fit(np.asarray(x), scores[:, k], stds[:, k]) for k, m in enumerate(models)]
        self._basis_, self._models_ = basis, models
        return summaries

    def _model(self, k: int) -> Surrogate:
        """Return a model for the k-th score that starts where the last one ended."""
        return self._models_[k] if k < len(self._models_) else self._make()

    def condition(self, x: Floats, spectra: Floats, noise_var: Floats) -> None:
        """Take spectra into account in the present basis, without refit."""
        basis = self.basis
        scores, stds = basis.scores(spectra), basis.score_std(noise_var)
        for k, model in enumerate(self._models_):
            model.condition(np.asarray(x), scores[:, k], stds[:, k])

    def predict_scores(self, x: Floats) -> tuple[Array, Array]:
        """Return mean and std of the scores at ``x`` (m, d), each (m, q)."""
        _ = self.basis
        pairs = [model.predict(np.asarray(x)) for model in self._models_]
        return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)

    def pool_scores(self) -> tuple[Array, Array]:
        """Return mean and std of the scores over the pool that the models of the scores have attached, each (m, q)."""
        _ = self.basis
        pairs = [model.pool_posterior() for model in self._models_]
        return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)

    def pool_score_std_given(self, x: Floats, score_std: Floats) -> Array:
        """Return the std of the scores over the pool as if ``x`` (p, d) had been measured too, shape (m, q).

        Parameters
        ----------
        score_std : array
            (q,) std that noise gives the scores of such a measurement.
        """
        _ = self.basis
        given = [
            model.pool_std_given(x, np.full(len(x), std)) for model, std in zip(self._models_, score_std, strict=True)
        ]
        return np.stack(given, axis=1)

    def predict_spectra(self, x: Floats) -> tuple[Array, Array]:
        """Return mean and std of the noise-free spectrum at ``x`` (m, d), each (m, channels)."""
        basis = self.basis
        mean, std = self.predict_scores(x)
        variance = basis.variance(mean, std, np.eye(len(basis.mean)))
        return basis.mean + mean @ basis.loadings, np.sqrt(variance)

    def predict_linear(self, x: Floats, weights: Floats) -> tuple[Array, Array]:
        """Return mean and std of ``weights @ spectrum`` at ``x`` (m, d), each (m,).

        Exact for the model: scores are independent, and so is in each channel what the basis does not hold.

        Parameters
        ----------
        x : array
            (m, d) features.
        weights : array
            (channels,), e.g. ones inside a band.
        """
        basis = self.basis
        if weights.shape != basis.mean.shape:
            raise ModelError("weights do not belong to these spectra", value=weights.shape, limit=basis.mean.shape)
        mean, std = self.predict_scores(x)
        variance = basis.variance(mean, std, weights[None])[:, 0]
        return float(basis.mean @ weights) + mean @ (basis.loadings @ weights), np.sqrt(variance)

    def state(self) -> dict[str, JsonValue]:
        """Return what the last fit learnt as JSON data."""
        basis: Any = None if self._basis_ is None else self._basis_.plain()
        return {"basis": basis, "models": [m.state() for m in self._models_]}

    def recall(self, state: Mapping[str, Any], x: Floats, spectra: Floats, noise_var: Floats) -> None:
        """Take up a state with the data it was fitted to: as after that fit, without its cost."""
        spectra, noise_var = _checked(x, spectra, noise_var)
        basis = SpectralBasis.from_plain(state["basis"])
        scores, stds = basis.scores(spectra), basis.score_std(noise_var)
        models = [self._make() for _ in state["models"]]
        for k, (model, learnt) in enumerate(zip(models, state["models"], strict=True)):
            model.recall(learnt, np.asarray(x), scores[:, k], stds[:, k])
        self._basis_, self._models_ = basis, models


def _root(spectra: Array) -> Array:
    """Return the root of the mean spectrum, with a floor where almost nothing is counted."""
    level = np.maximum(spectra.mean(axis=0), 0.0)
    floor = 1e-3 * float(level.mean())
    return np.asarray(np.sqrt(np.maximum(level, floor))) if floor > 0.0 else np.ones(spectra.shape[1])


def _checked(x: Floats, spectra: Floats, noise_var: Floats) -> tuple[Array, Array]:
    if spectra.ndim != 2 or noise_var.shape != spectra.shape or len(x) != len(spectra) or len(spectra) < 3:
        raise FitFailed(
            "spectra have the wrong shape",
            value=(x.shape, spectra.shape, noise_var.shape),
            limit="(n, d), (n, channels), (n, channels), n >= 3",
        )
    values, variances = np.asarray(spectra, dtype=np.float64), np.asarray(noise_var, dtype=np.float64)
    if not (np.isfinite(values).all() and np.isfinite(variances).all()) or (variances < 0.0).any():
        raise FitFailed("spectra or their noise are not finite, or a variance is negative")
    return values, variances
