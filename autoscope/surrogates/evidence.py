"""Hyperparameters by maximum a posteriori, with GPyTorch's model of the evidence and SciPy's L-BFGS-B or Adam."""

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
from autoscope.surrogates.prior import LENGTHSCALE_SCALE, Prior, lengthscale_location
from autoscope.surrogates.threads import one_thread

with warnings.catch_warnings():  # it compiles with what newer torch calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    import gpytorch
    from gpytorch.constraints import Positive
    from gpytorch.priors import LogNormalPrior

Array = NDArray[np.float64]

POSITIVE_BOUNDS = {"lengthscale": (0.05, 1e3), "outputscale": (1e-3, 1e2), "noise": (1e-6, 2.0)}
"""Where hyperparameters may go, for standardised inputs and targets."""
MEAN_BOUND = 5.0


class Evidence(gpytorch.models.ExactGP):  # type: ignore[misc]
    """GPyTorch model of a `Prior` over data, optionally behind a feature network, in double precision.

    Parameters
    ----------
    start : Prior
        Where hyperparameters begin.
    x, y, noise_variance : array
        (n, d), (n,), (n,), standardised.
    network : torch.nn.Module, optional
        Maps ``x`` to the inputs of the kernel.
    """

    def __init__(
        self, start: Prior, x: Array, y: Array, noise_variance: Array, network: nn.Module | None = None
    ) -> None:
        inputs, targets, noise = (torch.as_tensor(a, dtype=torch.float64) for a in (x, y, noise_variance))
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(
            noise, learn_additional_noise=True, noise_prior=LogNormalPrior(-4.0, 1.0), noise_constraint=_log_positive()
        )
        super().__init__(inputs, targets, likelihood)
        self.start, self.network = start, network
        self.mean_module = gpytorch.means.ConstantMean(constant_prior=gpytorch.priors.NormalPrior(0.0, 1.0))
        self.parts: Any = nn.ModuleList(_kernel(start.shape, g) for g in start.groups)
        self.double()
        self._begin_at(start)
        self.train()

    def _begin_at(self, start: Prior) -> None:
        self.mean_module.constant = start.mean
        self.likelihood.second_noise = start.jitter
        for part, lengthscale, outputscale in zip(self.parts, start.lengthscales, start.outputscales, strict=True):
            part.outputscale = outputscale
            part.base_kernel.lengthscale = torch.as_tensor(lengthscale, dtype=torch.float64)

    def forward(self, x: Tensor) -> Any:
        """Return the prior distribution of the function at the inputs."""
        z = x if self.network is None else self.network(x)
        covariance = self.parts[0](z)
        for part in self.parts[1:]:
            covariance = covariance + part(z)
        return gpytorch.distributions.MultivariateNormal(self.mean_module(z), covariance)

    def loss(self) -> Tensor:
        """Return minus the log posterior of the hyperparameters, per measurement."""
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
def exact_numerics() -> Iterator[None]:
    """Make GPyTorch factorise exactly: no random probes, no silent floor under the known noise."""
    with ExitStack() as stack:
        stack.enter_context(gpytorch.settings.fast_computations(False, False, False))
        stack.enter_context(gpytorch.settings.max_cholesky_size(100_000))
        stack.enter_context(gpytorch.settings.min_fixed_noise(double_value=0.0))
        yield


def _bounds(name: str, size: int) -> list[tuple[float, float]]:
    if "constant" in name:
        return [(-MEAN_BOUND, MEAN_BOUND)] * size
    low, high = next(bounds for key, bounds in POSITIVE_BOUNDS.items() if key in name)
    return [(math.log(low), math.log(high))] * size


@one_thread()
def maximise(start: Prior, x: Array, y: Array, noise_variance: Array, iterations: int) -> tuple[Prior, int]:
    """Return the maximum a posteriori prior found from ``start`` in at most ``iterations``, and how many were used.

    Raises
    ------
    FitFailed
        The evidence cannot be computed where the search stands, or the search ends on a non-finite value.
    """
    with exact_numerics():
        model = Evidence(start, x, y, noise_variance)
        names = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        parameters = [p for _, p in names]
        bounds = [b for name, p in names for b in _bounds(name, p.numel())]

        def value_and_gradient(flat: Array) -> tuple[float, Array]:
            """Return the loss and its gradient at flattened parameters, as SciPy wants them."""
            _assign(parameters, flat)
            loss = model.loss()
            gradients = torch.autograd.grad(loss, parameters)
            return float(loss.detach()), np.concatenate([g.detach().numpy().ravel() for g in gradients])

        begin = np.concatenate([p.detach().numpy().ravel() for p in parameters])
        begin = np.clip(begin, [b[0] for b in bounds], [b[1] for b in bounds])
        try:
            found = minimize(
                value_and_gradient, begin, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": iterations}
            )
        except (RuntimeError, ValueError) as error:  # NotPSDError and NaN in a Cholesky are RuntimeErrors
            raise FitFailed("the evidence cannot be computed", value=str(error).splitlines()[0]) from error
        if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
            raise FitFailed("the evidence is not finite at the end of the search", value=float(found.fun))
        _assign(parameters, found.x)
        return model.prior(), int(found.nit)


def _assign(parameters: list[Tensor], flat: Array) -> None:
    at = 0
    with torch.no_grad():
        for parameter in parameters:
            size = parameter.numel()
            parameter.copy_(torch.as_tensor(flat[at : at + size]).view_as(parameter))
            at += size
