"""A pool kept on a torch device: the same arithmetic as in main memory, where a GPU does it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoscope.errors import ModelError
from autoscope.surrogates.pool import Held
from autoscope.surrogates.prior import Features, Shape

Single = NDArray[np.float32]
Indices = NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 27
"""Entries of a covariance handled at once: half a gigabyte, so that a device is never idle nor overfilled."""


def has_gpu() -> bool:
    """Return whether torch can reach a CUDA device."""
    return torch.cuda.is_available()


class TorchMemory:
    """Tensors on a torch device; see `pool.Home`.

    Parameters
    ----------
    device : str
        As torch names it: ``"cuda"``, ``"cuda:1"``, ``"cpu"``.

    Raises
    ------
    ModelError
        There is no such device here.
    """

    def __init__(self, device: str) -> None:
        try:
            self._device = torch.device(device)
        except RuntimeError as error:
            raise ModelError("this is no device", value=device, limit="cpu, cuda or auto") from error
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError(
                "there is no CUDA device here",
                value=device,
                remedy='Set device: "auto" or "cpu", or install a driver and a build of torch that reach the GPU',
            )

    def put(self, array: Features) -> Tensor:
        """Copy an array to the device."""
        return torch.tensor(array, dtype=torch.float32, device=self._device)

    def get(self, held: Tensor) -> Single:
        """Copy what is held to main memory."""
        return np.array(held.cpu().numpy())

    def indices(self, at: Indices) -> Tensor:
        """Copy indices to the device."""
        return torch.tensor(at, dtype=torch.int64, device=self._device)

    def empty(self, rows: int, columns: int) -> Tensor:
        """Return memory on the device."""
        return torch.empty(rows, columns, dtype=torch.float32, device=self._device)

    def full(self, count: int, value: float) -> Tensor:
        """Return equal values on the device."""
        return torch.full((count,), value, dtype=torch.float32, device=self._device)

    def fits(self, store: Held, rows: int, columns: int) -> bool:
        """Return whether a tensor is on this device and can hold so much."""
        here = isinstance(store, Tensor) and store.device.type == self._device.type
        return here and store.shape[1] == columns and len(store) >= rows

    def block(self, rows: int) -> int:
        """Return how many columns make a block worth the device's while."""
        return max(256, BLOCK_ELEMENTS // max(rows, 1))

    def lower_times(self, lower: Tensor, right: Tensor) -> Tensor:
        """Return the product."""
        return lower @ right

    def sum_of_squares(self, rows: Tensor) -> Tensor:
        """Return the sums, squaring in place."""
        return rows.square_().sum(dim=0)

    def covariance(self, shape: Shape, near: Tensor, far: Tensor, outputscale: float) -> Tensor:
        """Return the covariance; see `pool.Home.covariance`."""
        product = near @ far.T  # minus half the squared distance
        if shape == "rbf":
            return product.add_(math.log(outputscale)).exp_()
        root = product.mul_(-10.0).abs_().sqrt_()  # rounding can make a distance negative
        decay = torch.exp(math.log(outputscale) - root)
        return root.mul(1.0 / 3.0).add_(1.0).mul_(root).add_(1.0).mul_(decay)
