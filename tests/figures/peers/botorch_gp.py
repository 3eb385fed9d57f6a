"""BoTorch's SingleTaskGP with log expected improvement over the discrete pool, on coordinates or on PCA of patches."""

from __future__ import annotations

import sys

import numpy as np
import peer_loop
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.mlls import ExactMarginalLogLikelihood
from peer_loop import Array, Indices, Job
from sklearn.decomposition import PCA

CHUNK = 4096


class BoTorchGP:
    """Refitted from scratch at each decision, inputs in the unit cube, outputs standardised by the model's default."""

    starts_random = True

    def __init__(self, inputs: Array, seed: int) -> None:
        self._inputs = torch.as_tensor(inputs, dtype=torch.float64)
        torch.manual_seed(seed)

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return log expected improvement on the best value measured."""
        known = torch.as_tensor(values, dtype=torch.float64)[:, None]
        self._model = SingleTaskGP(self._inputs[taken], known)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(self._model.likelihood, self._model))
        improvement = LogExpectedImprovement(self._model, best_f=known.max())
        with torch.no_grad():
            parts = [improvement(chunk[:, None, :]) for chunk in self._inputs.split(CHUNK)]
        return torch.cat(parts).numpy()

    def belief(self) -> tuple[Array, Array]:
        """Return the posterior of a measurement, learnt noise included."""
        with torch.no_grad():
            parts = [
                self._model.posterior(chunk[:, None, :], observation_noise=True) for chunk in self._inputs.split(CHUNK)
            ]
        mean = torch.cat([p.mean.reshape(-1) for p in parts])
        return mean.numpy(), torch.cat([p.variance.reshape(-1) for p in parts]).sqrt().numpy()


def on_places(job: Job) -> BoTorchGP:
    """Return the model on coordinates."""
    return BoTorchGP(job.places(), job.seed)


def on_components(job: Job) -> BoTorchGP:
    """Return the model on the first ten principal components of the patches."""
    components = PCA(10, random_state=0).fit_transform(job.patches())
    low, high = components.min(axis=0), components.max(axis=0)
    return BoTorchGP(np.asarray((components - low) / (high - low)), job.seed)


if __name__ == "__main__":
    chosen = {"botorch_xy": on_places, "botorch_pca10": on_components}[sys.argv[5]]
    peer_loop.main(chosen, ("botorch", "gpytorch", "torch", "scikit-learn"))
