"""The evidence of a prior as a GPyTorch model: the oracle of `autoscope.surrogates.evidence`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoscope.surrogates.prior import (
    JITTER_LOCATION,
    JITTER_SCALE,
    LENGTHSCALE_SCALE,
    Features,
    Prior,
    lengthscale_location,
)

with warnings.catch_warnings():  # it compiles with what newer torch calls deprecated
    warnings.simplefilter("ignore", DeprecationWarning)
    import gpytorch
    from gpytorch.constraints import Positive
    from gpytorch.priors import LogNormalPrior

Array = NDArray[np.float64]


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
        self, start: Prior, x: Features, y: Array, noise_variance: Array, network: nn.Module | None = None
    ) -> None:
        inputs, targets, noise = (torch.as_tensor(a, dtype=torch.float64) for a in (x, y, noise_variance))
        likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(
            noise,
            learn_additional_noise=True,
            noise_prior=LogNormalPrior(JITTER_LOCATION, JITTER_SCALE),
            noise_constraint=_log_positive(),
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
