"""GPyTorch's documented deep kernel on image patches, exact, trained anew at each decision; expected improvement."""

from __future__ import annotations

import itertools
from typing import Any

import gpytorch
import numpy as np
import peer_loop
import torch
from peer_loop import Array, Indices, Job
from scipy.stats import norm

ITERATIONS = 60
RATE = 0.01
CHUNK = 1024


class Extractor(torch.nn.Sequential):
    """The network of the example: 1000, 500, 50 and 2 units."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        widths = (inputs, 1000, 500, 50)
        for nth, (wide, narrow) in enumerate(itertools.pairwise(widths), start=1):
            self.add_module(f"linear{nth}", torch.nn.Linear(wide, narrow))
            self.add_module(f"relu{nth}", torch.nn.ReLU())
        self.add_module("linear4", torch.nn.Linear(widths[-1], 2))


class DeepKernelGP(gpytorch.models.ExactGP):
    """Constant mean and a scaled RBF kernel on the network's two outputs, which are scaled to -1..1."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, likelihood: Any) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=2))
        self.feature_extractor = Extractor(x.shape[-1])
        self.scale_to_bounds = gpytorch.utils.grid.ScaleToBounds(-1.0, 1.0)

    def forward(self, x: torch.Tensor) -> Any:
        """Return the prior at these patches."""
        projected = self.scale_to_bounds(self.feature_extractor(x))
        return gpytorch.distributions.MultivariateNormal(self.mean_module(projected), self.covar_module(projected))


class GPyTorchDeepKernel:
    """Patches scaled to -1..1 and targets standardised; prediction in chunks."""

    starts_random = True

    def __init__(self, job: Job) -> None:
        self._inputs = torch.as_tensor(2.0 * job.patches() - 1.0, dtype=torch.float32)
        torch.manual_seed(job.seed)

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the expected improvement on the best value measured."""
        self._centre, self._spread = float(values.mean()), float(values.std()) or 1.0
        known = torch.as_tensor((values - self._centre) / self._spread, dtype=torch.float32)
        self._fit(self._inputs[taken], known)
        self._mean, self._latent, self._noisy = self._predict()
        gain = self._mean - float(known.max())
        z = gain / self._latent
        return np.asarray(gain * norm.cdf(z) + self._latent * norm.pdf(z))

    def _fit(self, x: torch.Tensor, y: torch.Tensor) -> None:
        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        model = DeepKernelGP(x, y, likelihood)
        model.train()
        likelihood.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)  # the likelihood is a part of the model
        mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        for _ in range(ITERATIONS):
            optimizer.zero_grad()
            loss = -mll(model(x), y)
            loss.backward()
            optimizer.step()
        self._model = model.eval()
        likelihood.eval()

    def _predict(self) -> tuple[Array, Array, Array]:
        mean, variance = [], []
        with torch.no_grad(), gpytorch.settings.fast_pred_var():
            for chunk in self._inputs.split(CHUNK):
                posterior = self._model(chunk)
                mean.append(posterior.mean.double())
                variance.append(posterior.variance.double())
        latent = torch.cat(variance).clamp_min(1e-12)
        noisy = latent + float(self._model.likelihood.noise)
        return torch.cat(mean).numpy(), latent.sqrt().numpy(), noisy.sqrt().numpy()

    def belief(self) -> tuple[Array, Array]:
        """Return the posterior of a measurement in its own unit, learnt noise included."""
        return self._centre + self._spread * self._mean, self._spread * self._noisy


if __name__ == "__main__":
    peer_loop.main(GPyTorchDeepKernel, ("gpytorch", "torch"))
