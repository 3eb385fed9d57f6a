"""A Gaussian process on features that a small network learns from the same measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import Diverged, ModelError
from autoscope.protocols import JsonValue
from autoscope.surrogates.evidence import thinned
from autoscope.surrogates.posterior import ExactPosterior
from autoscope.surrogates.prior import Features, Prior, Shape, default_prior
from autoscope.surrogates.surrogate import ExactSurrogate, Scaling

if TYPE_CHECKING:
    from autoscope.surrogates.network import FeatureNetwork

Array = NDArray[np.float64]

SANE_Z = 3.0
"""Half of the leave-one-out errors of a sound model are below 0.67 standard deviations; beyond this it has diverged."""


class DeepKernel(ExactSurrogate):
    """Network and GP trained jointly on the evidence, warm from the last fit, in bounded steps.

    Parameters
    ----------
    columns : tuple of int
        Columns of ``x`` that the network sees.
    seed : int
        Of the initial weights: the same seed and data give the same model.
    direct : tuple of int
        Columns, e.g. coordinates, on which a second kernel acts as they are; it is added to that of the network.
    dimensions : int
        Kernel inputs the network makes (2 to 4 is usual).
    hidden : int
        Width of its two hidden layers.
    cold_steps, warm_steps : int
        Steps of Adam at the first fit and at later ones.
    learning_rate : float
        Of Adam.
    shape : {"rbf", "matern52"}
        Kernel on the learnt inputs.
    fit_points : int
        The network is trained on so many measurements at most, evenly spread in their order; predictions use all.
    """

    name = "deep_kernel"

    def __init__(
        self,
        columns: tuple[int, ...],
        seed: int,
        *,
        direct: tuple[int, ...] = (),
        dimensions: int = 3,
        hidden: int = 64,
        cold_steps: int = 150,
        warm_steps: int = 20,
        learning_rate: float = 1e-2,
        shape: Shape = "rbf",
        fit_points: int = 384,
    ) -> None:
        super().__init__()
        self._fit_points = fit_points
        self._columns, self._seed = [*columns, *direct], seed
        self._widths = (len(columns), hidden, dimensions)
        self._steps, self._learning_rate = (cold_steps, warm_steps), learning_rate
        beside = tuple(range(dimensions, dimensions + len(direct)))
        groups = (tuple(range(dimensions)), beside) if beside else (tuple(range(dimensions)),)
        self.groups, self.shape = groups, shape
        self._default = default_prior(shape, groups)
        self._network_: FeatureNetwork | None = None
        self._single_: FeatureNetwork | None = None
        self._prior_: Prior | None = None

    def _learn(
        self, x: Features, y: Array, noise_variance: Array, units: Scaling, least: float
    ) -> tuple[ExactPosterior | None, int]:
        if self._network_ is not None and self._prior_ is not None:
            start = self._prior_.rescaled(units.shift, units.factor)
            try:
                network = self._fresh()
                network.set_weights(self._network_.weights())
                return self._train(network, start, self._steps[1], x, y, noise_variance, least)
            except ModelError:  # a bad start spoils a warm fit; the cold one below does not depend on it
                pass
        return self._train(self._fresh(), self._default, self._steps[0], x, y, noise_variance, -math.inf)

    def _train(
        self,
        network: FeatureNetwork,
        start: Prior,
        steps: int,
        x: Features,
        y: Array,
        noise_variance: Array,
        least: float,
    ) -> tuple[ExactPosterior | None, int]:
        from autoscope.surrogates.network import train  # torch: only when something is really fitted

        x, at = x[:, self._columns], thinned(self._fit_points, len(x))
        found = train(network, start, x[at], y[at], noise_variance[at], steps=steps, learning_rate=self._learning_rate)
        if found.gain < least:
            return None, steps
        posterior = ExactPosterior(found.prior, network.embed(x), y, noise_variance)
        _refuse_overconfidence(posterior)
        self._network_, self._prior_, self._single_ = network, found.prior, None
        return posterior, steps

    def _fresh(self) -> FeatureNetwork:
        from autoscope.surrogates.network import FeatureNetwork

        return FeatureNetwork(*self._widths, seed=self._seed)

    @property
    def prior(self) -> Prior | None:
        """The kernel learnt last, on the network's outputs and the direct columns; None before a fit."""
        return self._prior_

    def embed(self, x: Features) -> Features:
        """Return the kernel's inputs (m, k) for features (m, d).

        Raises
        ------
        ModelError
            There was no fit yet.
        """
        return self._embed(x)

    def _embed(self, x: Features) -> Features:
        if self._network_ is None:
            raise ModelError("the deep kernel has not been fitted", remedy="Call fit(x, y, noise_std) first")
        if x.dtype != np.float32:
            return self._network_.embed(x[:, self._columns])
        if self._single_ is None:
            self._single_ = self._network_.single()
        return self._single_.embed(x[:, self._columns])

    def forget(self) -> None:
        """Let the next fit start from fresh weights; see `Surrogate.forget`."""
        self._prior_ = None

    def _learnt(self) -> dict[str, JsonValue]:
        if self._network_ is None or self._prior_ is None:
            return {"prior": None, "weights": None}
        return {"prior": self._prior_.plain(), "weights": self._network_.weights()}

    def _remember(self, state: Mapping[str, JsonValue]) -> Prior:
        plain, weights = state["prior"], state["weights"]
        if not isinstance(plain, dict) or not isinstance(weights, str):
            raise ModelError("a deep kernel that was never fitted cannot be recalled")
        self._network_, self._prior_, self._single_ = self._fresh(), Prior.from_plain(plain), None
        self._network_.set_weights(weights)
        return self._prior_


def _refuse_overconfidence(posterior: ExactPosterior) -> None:
    mean, variance = posterior.leave_one_out()
    z = float(np.median(np.abs(posterior.y - mean) / np.sqrt(variance)))
    if not z <= SANE_Z:
        raise Diverged("the deep kernel is certain and wrong about its own data (median |z|)", value=z, limit=SANE_Z)
