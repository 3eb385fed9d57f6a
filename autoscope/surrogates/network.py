"""The feature network of the deep kernel and its joint training with the Gaussian process."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoscope.errors import Diverged, FitFailed
from autoscope.surrogates.gpytorch_evidence import Evidence, exact_numerics
from autoscope.surrogates.prior import Features, Prior
from autoscope.surrogates.threads import one_thread

Array = NDArray[np.float64]

CHUNK = 8192
WEIGHT_DECAY = 1e-3
TOLERATED_RISE = 1.0
"""A training that ends this much worse than it began (nats per measurement) has diverged."""


class FeatureNetwork(nn.Module):
    """A small perceptron from patch features to a few bounded kernel inputs, in double precision.

    Columns of its argument beyond the first ``inputs`` are passed on unchanged: (n, inputs + p) -> (n, outputs + p).

    Parameters
    ----------
    inputs, hidden, outputs : int
        Widths; two hidden layers of ``hidden``.
    seed : int
        Of the initial weights; the global generator of torch is left as it was.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int) -> None:
        super().__init__()
        self._inputs = inputs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
            ).double()

    def forward(self, x: Tensor) -> Tensor:
        """Return the kernel inputs; learnt ones lie in (-2, 2), the spread of standardised features."""
        learnt = 2.0 * torch.tanh(self.layers(x[:, : self._inputs]))
        return torch.cat([learnt, x[:, self._inputs :]], dim=1)

    def embed(self, x: Features) -> Features:
        """Return the kernel inputs of ``x`` (n, d), shape (n, k), in chunks and in the precision of ``x``."""
        network = self if x.dtype == np.float64 else copy.deepcopy(self).float()
        with torch.no_grad():
            parts = [network(torch.as_tensor(x[i : i + CHUNK])).numpy() for i in range(0, len(x), CHUNK)]
        return np.concatenate(parts)

    def weights(self) -> str:
        """Return all weights as base64 text of little-endian float64."""
        flat = np.concatenate([p.detach().numpy().ravel() for p in self.parameters()])
        return base64.b64encode(flat.astype("<f8").tobytes()).decode("ascii")

    def set_weights(self, text: str) -> None:
        """Take up weights written by `weights`."""
        flat, at = np.frombuffer(base64.b64decode(text), dtype="<f8"), 0
        with torch.no_grad():
            for parameter in self.parameters():
                block = flat[at : at + parameter.numel()].copy()
                parameter.copy_(torch.from_numpy(block).view_as(parameter))
                at += parameter.numel()


@one_thread()
def train(
    network: FeatureNetwork,
    start: Prior,
    x: Features,
    y: Array,
    noise_variance: Array,
    *,
    steps: int,
    learning_rate: float,
) -> Prior:
    """Train network and hyperparameters together by ``steps`` of Adam on the evidence; return the prior found.

    Deep kernel learning (Wilson, Hu, Salakhutdinov & Xing, AISTATS 2016). The network is changed in place.

    Raises
    ------
    Diverged
        The loss became non-finite, or ended worse than it began.
    FitFailed
        The evidence cannot be computed.
    """
    with exact_numerics():
        model = Evidence(start, x, y, noise_variance, network)
        own = [p for name, p in model.named_parameters() if not name.startswith("network.")]
        groups: list[dict[str, Any]] = [
            {"params": list(network.parameters()), "weight_decay": WEIGHT_DECAY},
            {"params": own},
        ]
        adam = torch.optim.Adam(groups, lr=learning_rate)
        begin = _finite(_loss(model))
        for _ in range(steps):
            adam.zero_grad()
            loss = _loss(model)
            _finite(loss)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        end = _finite(_loss(model))
        if end > begin + TOLERATED_RISE:
            raise Diverged(
                "training ended worse than it began", value=end, limit=begin, remedy="Lower the learning rate"
            )
        return model.prior()


def _loss(model: Evidence) -> Tensor:
    try:
        return model.loss()
    except (RuntimeError, ValueError) as error:  # NotPSDError and NaN in a Cholesky are RuntimeErrors
        raise FitFailed("the evidence cannot be computed", value=str(error).splitlines()[0]) from error


def _finite(loss: Tensor) -> float:
    value = float(loss.detach())
    if not np.isfinite(value):
        raise Diverged("the training loss is not finite", value=value)
    return value
