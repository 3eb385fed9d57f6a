"""The feature network of the deep kernel and its joint training with the Gaussian process."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoscope.errors import Diverged
from autoscope.surrogates.evidence import Evidence, Found
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

    def single(self) -> FeatureNetwork:
        """Return a copy in single precision."""
        return copy.deepcopy(self).float()

    def embed(self, x: Features) -> Features:
        """Return the kernel inputs of ``x`` (n, d), shape (n, k), in chunks and in the precision of ``x``."""
        own = np.float64 if next(self.parameters()).dtype == torch.float64 else np.float32
        network = self if x.dtype == own else self.single()
        with one_thread(), torch.no_grad():
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
) -> Found:
    """Train network and hyperparameters together by ``steps`` of Adam on the evidence; return what was found.

    Deep kernel learning (Wilson, Hu, Salakhutdinov & Xing, AISTATS 2016, eq. 7): the chain rule joins the closed-form
    derivative of the evidence by the kernel's inputs to the network's. The network is changed in place.

    Raises
    ------
    Diverged
        The loss became non-finite, or ended worse than it began.
    FitFailed
        The evidence cannot be computed.
    """
    inputs = torch.as_tensor(x, dtype=torch.float64)
    shape, groups = start.shape, start.groups
    frame = Evidence(shape, groups, network(inputs).detach().numpy(), y, noise_variance)
    low, high = (torch.tensor(bound) for bound in zip(*frame.bounds(), strict=True))
    flat = torch.tensor(frame.pack(start), requires_grad=True)
    weights: dict[str, Any] = {"params": list(network.parameters()), "weight_decay": WEIGHT_DECAY}
    hyperparameters: dict[str, Any] = {"params": [flat]}
    adam = torch.optim.Adam([weights, hyperparameters], lr=learning_rate)

    def loss(backward: bool) -> float:
        """Return the loss where network and hyperparameters stand, and leave gradients behind if asked."""
        z = network(inputs)
        here = Evidence(shape, groups, z.detach().numpy(), y, noise_variance)
        value, by_hyperparameter, by_input = here.loss_and_gradients(flat.detach().numpy())
        if not np.isfinite(value):
            raise Diverged("the training loss is not finite", value=value)
        if backward:
            adam.zero_grad()
            z.backward(torch.from_numpy(by_input))
            flat.grad = torch.from_numpy(by_hyperparameter)
        return value

    begin = loss(backward=False)
    for _ in range(steps):
        loss(backward=True)
        adam.step()
        with torch.no_grad():
            flat.clamp_(low, high)
    end = loss(backward=False)
    if end > begin + TOLERATED_RISE:
        raise Diverged("training ended worse than it began", value=end, limit=begin, remedy="Lower the learning rate")
    return Found(frame.unpack(flat.detach().numpy()), steps, len(y) * (begin - end))
