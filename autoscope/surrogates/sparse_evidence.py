"""Hyperparameters of many measurements by GPyTorch's sparse GP regression and SciPy's L-BFGS-B."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from autoscope.errors import FitFailed
from autoscope.surrogates.evidence import MEAN_BOUND, POSITIVE_BOUNDS
from autoscope.surrogates.prior import JITTER_LOCATION, JITTER_SCALE, LENGTHSCALE_SCALE, Prior, lengthscale_location
from autoscope.surrogates.threads import one_thread

with warnings.catch_warnings():  # it compiles with what newer torch calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    import gpytorch
    from gpytorch.constraints import Positive
    from gpytorch.priors import LogNormalPrior, NormalPrior

Array = NDArray[np.float64]


class SparseEvidence(gpytorch.models.ExactGP):  # type: ignore[misc]
    """GPyTorch model of a `Prior` over data seen through inducing points, in double precision.

    Its loss is minus the bound of Titsias 2009, eq. 9, with the hyperpriors of the exact model.

    Parameters
    ----------
    start : Prior
        Where hyperparameters begin.
    x, y, noise_variance : array
        (n, d), (n,), (n,), standardised.
    inducing : array
        (u, d); they stay where they are.
    device : str
        Where to compute.
    """

    def __init__(
        self, start: Prior, x: Array, y: Array, noise_variance: Array, inducing: Array, device: str = "cpu"
    ) -> None:
        inputs, targets, noise, points = (
            torch.as_tensor(a, dtype=torch.float64, device=device) for a in (x, y, noise_variance, inducing)
        )
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(
            noise,
            learn_additional_noise=True,
            noise_prior=LogNormalPrior(JITTER_LOCATION, JITTER_SCALE),
            noise_constraint=_log_positive(),
        )
        super().__init__(inputs, targets, likelihood)
        self.start = start
        self.mean_module = gpytorch.means.ConstantMean(constant_prior=NormalPrior(0.0, 1.0))
        self.parts: Any = nn.ModuleList(_kernel(start.shape, g) for g in start.groups)
        total: Any = self.parts[0]
        for part in self.parts[1:]:
            total = total + part
        self.kernel = gpytorch.kernels.InducingPointKernel(total, inducing_points=points, likelihood=likelihood)
        self.kernel.inducing_points.requires_grad_(False)
        self.double().to(device)
        self._begin_at(start)
        self.train()

    def _begin_at(self, start: Prior) -> None:
        self.mean_module.constant = start.mean
        self.likelihood.second_noise = start.jitter
        for part, lengthscale, outputscale in zip(self.parts, start.lengthscales, start.outputscales, strict=True):
            part.outputscale = outputscale
            part.base_kernel.lengthscale = torch.as_tensor(lengthscale, dtype=torch.float64)

    def forward(self, x: Tensor) -> Any:
        """Return the prior distribution of the function at the inputs, of low rank."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.kernel(x))

    def loss(self) -> Tensor:
        """Return minus the bound plus log hyperpriors, per measurement."""
        objective = gpytorch.mlls.ExactMarginalLogLikelihood(self.likelihood, self)  # it owns the model, not we it
        loss: Tensor = -objective(self(*self.train_inputs), self.train_targets)
        return loss

    def prior(self) -> Prior:
        """Return the present hyperparameters."""
        return Prior(
            shape=self.start.shape,
            groups=self.start.groups,
            lengthscales=tuple(tuple(p.base_kernel.lengthscale.detach().flatten().tolist()) for p in self.parts),
            outputscales=tuple(float(p.outputscale.detach()) for p in self.parts),
            mean=float(self.mean_module.constant.detach()),
            jitter=float(self.likelihood.second_noise.detach()),
        )


def _log_positive() -> Any:
    return Positive(transform=torch.exp, inv_transform=torch.log)


def _kernel(shape: str, group: tuple[int, ...]) -> Any:
    kind = gpytorch.kernels.RBFKernel if shape == "rbf" else gpytorch.kernels.MaternKernel
    base = kind(
        ard_num_dims=len(group),
        active_dims=group,
        lengthscale_prior=LogNormalPrior(lengthscale_location(len(group)), LENGTHSCALE_SCALE),
        lengthscale_constraint=_log_positive(),
    )
    return gpytorch.kernels.ScaleKernel(
        base, outputscale_prior=LogNormalPrior(0.0, 1.0), outputscale_constraint=_log_positive()
    )


@contextmanager
def sparse_numerics() -> Iterator[None]:
    """Make GPyTorch use the low rank, factorise exactly, and put no silent floor under the known noise."""
    with ExitStack() as stack:
        # log_prob must be "fast": else the low-rank covariance is made a dense (n, n) one
        stack.enter_context(gpytorch.settings.fast_computations(False, True, False))
        stack.enter_context(gpytorch.settings.max_cholesky_size(100_000))
        stack.enter_context(gpytorch.settings.min_fixed_noise(double_value=0.0))
        stack.enter_context(warnings.catch_warnings())
        # long lengthscales make inducing points alike, and GPyTorch adds and announces a jitter
        warnings.simplefilter("ignore", gpytorch.utils.warnings.NumericalWarning)
        yield


@one_thread()
def maximise_bound(
    start: Prior,
    x: Array,
    y: Array,
    noise_variance: Array,
    inducing: Array,
    iterations: int,
    device: str = "cpu",
) -> tuple[Prior, int]:
    """Return the prior of highest bound found from ``start`` in at most ``iterations``, and how many were used.

    Raises
    ------
    FitFailed
        The bound cannot be computed where the search stands, or the search ends on a non-finite value.
    """
    with sparse_numerics():
        model = SparseEvidence(start, x, y, noise_variance, inducing, device)
        names = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        parameters = [p for _, p in names]
        bounds = [b for name, p in names for b in _bounds(name, p.numel())]

        def value_and_gradient(flat: Array) -> tuple[float, Array]:
            """Return the loss and its gradient at flattened parameters, as SciPy wants them."""
            _assign(parameters, flat)
            loss = model.loss()
            gradients = torch.autograd.grad(loss, parameters)
            return float(loss.detach()), np.concatenate([g.cpu().numpy().ravel() for g in gradients])

        begin = np.concatenate([p.detach().cpu().numpy().ravel() for p in parameters])
        begin = np.clip(begin, [b[0] for b in bounds], [b[1] for b in bounds])
        try:
            found = minimize(
                value_and_gradient,
                begin,
                jac=True,
                bounds=bounds,
                method="L-BFGS-B",
                options={"maxiter": iterations, "maxfun": 2 * iterations},
            )
        except (RuntimeError, ValueError) as error:  # NotPSDError and NaN in a Cholesky are RuntimeErrors
            raise FitFailed("the bound cannot be computed", value=str(error).splitlines()[0]) from error
        if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
            raise FitFailed("the bound is not finite at the end of the search", value=float(found.fun))
        _assign(parameters, found.x)
        return model.prior(), int(found.nit)


def _bounds(name: str, size: int) -> list[tuple[float, float]]:
    if "constant" in name:
        return [(-MEAN_BOUND, MEAN_BOUND)] * size
    low, high = next(bounds for key, bounds in POSITIVE_BOUNDS.items() if key in name)
    return [(math.log(low), math.log(high))] * size


def _assign(parameters: list[Tensor], flat: Array) -> None:
    at = 0
    with torch.no_grad():
        for parameter in parameters:
            size = parameter.numel()
            parameter.copy_(torch.as_tensor(flat[at : at + size]).view_as(parameter))
            at += size
