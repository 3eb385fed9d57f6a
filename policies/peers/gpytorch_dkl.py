"""GPyTorch's documented deep kernel on image patches, exact, trained anew at each decision; expected improvement.

The example's network, kernel, optimiser and number of iterations (GPyTorch examples, "Exact DKL (Deep Kernel
Learning) Regression"), without its grid interpolation, which slows it down at these sizes.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from scipy.stats import norm

from policies.field import FieldConfig
from policies.peers.peer import Judge, Judgement, PeerConfig, PeerPolicy
from policies.pixels import Indices

Array = NDArray[np.float64]
WIDTHS = (1000, 500, 50, 2)
CHUNK = 1024


class GPyTorchDKLConfig(PeerConfig):
    """As the example has it: layers of 1000, 500, 50 and 2 units, Adam."""

    iterations: PositiveInt = 60
    rate: PositiveFloat = 0.01


class GPyTorchDKLPolicy(PeerPolicy):
    """A network and a scaled RBF kernel trained together by marginal likelihood, then expected improvement."""

    Config: ClassVar[type[FieldConfig]] = GPyTorchDKLConfig
    model = "gpytorch DKL"
    acquisition = "expected_improvement"

    def __init__(self, config: GPyTorchDKLConfig, *, rng: np.random.Generator) -> None:
        super().__init__(config, rng=rng)
        self._config = config

    def _make_judge(self) -> Judge:
        return GPyTorchJudge(self._patches, self._config.iterations, self._config.rate)


class GPyTorchJudge:
    """The model on patches (m, d) scaled to 0..1; targets are standardised; prediction in chunks."""

    def __init__(self, patches: Array, iterations: int, rate: float) -> None:
        import torch

        self._inputs = torch.as_tensor(2.0 * patches - 1.0, dtype=torch.float32)
        self._iterations, self._rate = iterations, rate

    def judge(self, taken: Indices, values: Array, stds: Array, seed: int) -> Judgement:
        """Return the expected improvement on the best value measured; see `Judge.judge`."""
        import torch

        centre, spread = float(values.mean()), float(values.std()) or 1.0
        known = torch.as_tensor((values - centre) / spread, dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mean, std = self._predicted(self._fitted(self._inputs[taken], known))
        scores = expected_improvement(mean, std, float(known.max()))
        return Judgement(scores, centre + spread * mean, spread * std)

    def _fitted(self, x: Any, y: Any) -> Any:
        import gpytorch
        import torch

        likelihood = gpytorch.likelihoods.GaussianLikelihood()
        model = _model_class()(x, y, likelihood)
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self._rate)  # the likelihood is a part of the model
        mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
        for _ in range(self._iterations):
            optimizer.zero_grad()
            loss = -mll(model(x), y)
            loss.backward()
            optimizer.step()
        likelihood.eval()
        return model.eval()

    def _predicted(self, model: Any) -> tuple[Array, Array]:
        import gpytorch
        import torch

        mean, variance = [], []
        with torch.no_grad(), gpytorch.settings.fast_pred_var():
            for chunk in torch.split(self._inputs, CHUNK):
                posterior = model(chunk)
                mean.append(posterior.mean.double())
                variance.append(posterior.variance.double())
        return torch.cat(mean).numpy(), torch.cat(variance).clamp_min(1e-12).sqrt().numpy()


def expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """Return the expected improvement over ``best`` of normal variables (Jones, Schonlau & Welch 1998, eq. 15).

    Examples
    --------
    >>> expected_improvement(np.array([0.0]), np.array([1.0]), 0.0).round(4).tolist()
    [0.3989]
    """
    gain = mean - best
    z = gain / std
    return np.asarray(gain * norm.cdf(z) + std * norm.pdf(z))


@functools.cache
def _model_class() -> Any:
    """Return the model of the example; torch is imported only when one is wanted."""
    import gpytorch
    import torch

    class DeepKernelGP(gpytorch.models.ExactGP):  # type: ignore[misc]
        """Constant mean and a scaled RBF kernel on the network's two outputs, which are scaled to -1..1."""

        def __init__(self, x: Any, y: Any, likelihood: Any) -> None:
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=WIDTHS[-1]))
            layers: list[torch.nn.Module] = []
            for wide, narrow in zip((x.shape[-1], *WIDTHS), WIDTHS, strict=False):
                layers += [torch.nn.Linear(wide, narrow), torch.nn.ReLU()]
            self.feature_extractor = torch.nn.Sequential(*layers[:-1])
            self.scale_to_bounds = gpytorch.utils.grid.ScaleToBounds(-1.0, 1.0)

        def forward(self, x: Any) -> Any:
            """Return the prior at these patches."""
            projected = self.scale_to_bounds(self.feature_extractor(x))
            return gpytorch.distributions.MultivariateNormal(self.mean_module(projected), self.covar_module(projected))

    return DeepKernelGP
