"""BoTorch's single-task Gaussian process with log expected improvement over the candidates, as its tutorials do it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from policies.field import FieldConfig
from policies.peers.inputs import components
from policies.peers.peer import Judge, Judgement, PeerConfig, PeerPolicy
from policies.pixels import Indices

Array = NDArray[np.float64]
CHUNK = 4096


class BoTorchConfig(PeerConfig):
    """BoTorch's defaults throughout: SingleTaskGP with its priors, inputs in the unit cube, outputs standardised."""

    inputs: Literal["place", "components"] = "place"
    """The model sees coordinates, or the first ten principal components of image patches."""


class BoTorchPolicy(PeerPolicy):
    """``SingleTaskGP`` fitted anew with ``fit_gpytorch_mll`` at each decision, and ``LogExpectedImprovement``."""

    Config: ClassVar[type[FieldConfig]] = BoTorchConfig
    model = "botorch SingleTaskGP"
    acquisition = "log_expected_improvement"

    def __init__(self, config: BoTorchConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._inputs = config.inputs

    def _make_judge(self) -> Judge:
        return BoTorchJudge(self._places if self._inputs == "place" else components(self._patches))


class BoTorchJudge:
    """The model on inputs (m, d) in the unit cube."""

    def __init__(self, inputs: Array) -> None:
        import torch

        self._inputs = torch.as_tensor(inputs, dtype=torch.float64)

    def judge(self, taken: Indices, values: Array, stds: Array, seed: int) -> Judgement:
        """Return log expected improvement on the best value measured; see `Judge.judge`."""
        import torch
        from botorch.acquisition import LogExpectedImprovement

        known = torch.as_tensor(values, dtype=torch.float64)[:, None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._fitted(taken, known)
            improvement = LogExpectedImprovement(model, best_f=known.max())
            with torch.no_grad():
                chunks = torch.split(self._inputs, CHUNK)
                scores = torch.cat([improvement(chunk[:, None, :]) for chunk in chunks])
                parts = [model.posterior(chunk[:, None, :]) for chunk in chunks]
        mean = torch.cat([p.mean.reshape(-1) for p in parts])
        std = torch.cat([p.variance.reshape(-1) for p in parts]).clamp_min(0.0).sqrt()
        return Judgement(scores.numpy(), mean.numpy(), std.numpy())

    def _fitted(self, taken: Indices, known: Any) -> Any:
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        model = SingleTaskGP(self._inputs[taken], known)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model
