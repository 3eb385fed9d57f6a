"""What people prefer, as a function of what things look like: a Gaussian process seen through comparisons of pairs.

The model is BoTorch's ``PairwiseGP``: a latent utility with a Gaussian-process prior, a probit likelihood for "this one
is more interesting than that", and Laplace's approximation (Chu & Ghahramani, ICML 2005).
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

GRAIN = 1e-3
"""Features this near count as the same: of two things that look the same, an answer tells nothing."""
LENGTH_SPREAD = 0.75
"""Of the prior of the length: a factor of two either way is likely."""
ITERATIONS = 60
"""Of the search for the hyperparameters at most."""
BLOCK = 4096
"""Candidates predicted together."""


class PreferenceModel:
    """The latent utility of anything that features describe, learnt from comparisons.

    Made anew for each set of answers, without chance, so it is a function of them alone. Kernel: squared exponential
    with one length for all features, expected at the square root of their number, about the distance of two things
    drawn by chance: a handful of answers cannot tell a length for each.

    Parameters
    ----------
    features : array (n, d)
        Of the things compared, about unit spread.
    comparisons : array (p, 2)
        Rows of ``features``: the better one, then the worse one.
    fit : bool
        Learn the hyperparameters; otherwise those expected are used.

    Raises
    ------
    ModelError
        There is no comparison, or one names what is not there.

    Examples
    --------
    >>> model = PreferenceModel(np.array([[0.0], [1.0], [2.0]]), np.array([[1, 0], [2, 1]]), fit=False)
    >>> mean, std = model.predict(np.array([[0.0], [1.0], [2.0]]))
    >>> bool(mean[0] < mean[1] < mean[2])
    True
    """

    def __init__(self, features: Floats, comparisons: Indices, *, fit: bool = True) -> None:
        if features.ndim != 2 or comparisons.ndim != 2 or comparisons.shape[1:] != (2,) or not len(comparisons):
            raise ModelError("nothing was compared", value=comparisons.shape, limit="(p, 2), p at least 1")
        if comparisons.min() < 0 or comparisons.max() >= len(features):
            raise ModelError("a comparison names what is not there", value=comparisons.max(), limit=len(features) - 1)
        self.answers = len(comparisons)
        used, rows = np.unique(comparisons, return_inverse=True)
        grained = np.round(np.asarray(features[used], dtype=np.float64) / GRAIN) * GRAIN
        distinct, same = np.unique(grained, axis=0, return_inverse=True)
        pairs = same.reshape(-1)[rows.reshape(comparisons.shape)]
        with one_thread():
            self._model = _fitted(distinct, pairs[pairs[:, 0] != pairs[:, 1]], fit=fit)

    def predict(self, features: Floats) -> tuple[Array, Array]:
        """Return mean and standard deviation of the utility, each (m,), of things described by features (m, d)."""
        mean, std = np.empty(len(features)), np.empty(len(features))
        for start in range(0, len(features), BLOCK):
            part = slice(start, start + BLOCK)
            mean[part], std[part] = self._marginal(features[part])
        return mean, std

    def joint(self, features: Floats) -> tuple[Array, Array]:
        """Return mean (k,) and covariance (k, k) of the utilities of some things described by features (k, d)."""
        import torch

        with one_thread(), torch.no_grad():
            posterior = self._model.posterior(_tensor(features))
            return posterior.mean[:, 0].numpy(), posterior.distribution.covariance_matrix.numpy()

    def _marginal(self, features: Floats) -> tuple[Array, Array]:
        """Return what `joint` does without the covariance of each two (`PairwiseGP.forward` makes all of it)."""
        import torch

        model, x = self._model, _tensor(features)
        with one_thread(), torch.no_grad():
            variance = model.covar_module(x, diag=True)
            if model.datapoints is None:
                return np.zeros(len(x)), variance.sqrt().numpy()
            model.posterior(x[:1])  # makes what predictions need
            across = model.covar_module(model.datapoints, x).to_dense()
            mean = across.T @ torch.cholesky_solve(model.utility[:, None], model.covar_chol)[:, 0]
            known = torch.linalg.solve(model.hlcov_eye, model.likelihood_hess @ across)
            left = variance - (across * known).sum(dim=0)
            return mean.numpy(), left.clamp(min=0.0).sqrt().numpy()


def _fitted(features: Array, pairs: Indices, *, fit: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it compiles with what newer torch calls deprecated
        from botorch.exceptions import BotorchWarning
        from botorch.models.pairwise_gp import PairwiseLaplaceMarginalLogLikelihood
        from botorch.optim.fit import fit_gpytorch_mll_scipy

        warnings.simplefilter("ignore", BotorchWarning)  # of a search that ends early: where it ended is good enough
        if not len(pairs):
            return _made(features[:0], pairs, _kernel(features.shape[1]))
        kernel = _kernel(features.shape[1])
        if fit:  # by one search from where they are expected; BoTorch's own begins again by chance
            model = _made(features, pairs, kernel)
            mll = PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model).train()
            fit_gpytorch_mll_scipy(mll, options={"maxiter": ITERATIONS})
        return _made(features, pairs, kernel)


def _made(features: Array, pairs: Indices, kernel: Any) -> Any:
    """Return the model of some hyperparameters; its search for the utilities begins at zero, not at chance."""
    import torch
    from botorch.models.pairwise_gp import PairwiseGP

    model = PairwiseGP(None, None, covar_module=kernel)
    if len(pairs):
        model._x0 = np.zeros(len(features))
        model.set_train_data(_tensor(features), torch.tensor(pairs), update_model=True)
    return model.eval()


def _kernel(dimensions: int) -> Any:
    from gpytorch.constraints import GreaterThan, Interval
    from gpytorch.kernels import RBFKernel, ScaleKernel
    from gpytorch.priors import LogNormalPrior, SmoothedBoxPrior

    expected = 0.5 * math.log(dimensions)
    lengths = GreaterThan(2.5e-2, transform=None, initial_value=math.exp(expected))
    prior = LogNormalPrior(expected + LENGTH_SPREAD**2, LENGTH_SPREAD)  # its mode is what is expected
    scale = Interval(5e-3, 200.0, initial_value=1.0)
    kernel = RBFKernel(lengthscale_prior=prior, lengthscale_constraint=lengths)
    return ScaleKernel(kernel, outputscale_prior=SmoothedBoxPrior(1e-2, 1e2), outputscale_constraint=scale).double()


def _tensor(features: Floats) -> Any:
    import torch

    return torch.tensor(np.asarray(features, dtype=np.float64))
