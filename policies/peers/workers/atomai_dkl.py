"""AtomAI's dklGPR on image patches, trained anew at each decision, with expected improvement."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.stats import norm
from wire import Array, Told, serve


def _stand_in(name: str, *names: str) -> None:
    """Register a module that holds names AtomAI imports at its top level and its deep kernel never uses."""
    module = ModuleType(name)
    vars(module).update(dict.fromkeys(names))
    sys.modules[name] = module


_stand_in("torchvision")  # AtomAI asks for it, but no build of it fits every build of torch
_stand_in("torchvision.models", "mobilenet_v2", "resnet50", "vgg16")
_stand_in("torchvision.utils", "make_grid")

import atomai  # noqa: E402

BATCH = 1000


class DeepKernel:
    """Learning rate and network by default; targets scaled to 0..1."""

    def __init__(self, inputs: Array, settings: dict[str, Any]) -> None:
        self._inputs, self._settings = inputs.astype(np.float32), settings
        torch.set_num_threads(1)

    def judge(self, taken: Any, values: Array, stds: Array, seed: int) -> Told:
        """Return the expected improvement on the best value measured, and the posterior of the noise-free target."""
        low, span = float(values.min()), float(np.ptp(values)) or 1.0
        known = ((values - low) / span).astype(np.float32)
        cycles = self._settings["cycles"]
        model = atomai.models.dklGPR(self._inputs.shape[1], embedim=self._settings["dimensions"], seed=seed)
        model.fit(self._inputs[taken], known, training_cycles=cycles, print_loss=cycles + 1)
        found, variance = model.predict(self._inputs, batch_size=BATCH)
        mean, std = np.asarray(found, dtype=float), np.sqrt(np.maximum(np.asarray(variance, dtype=float), 1e-12))
        gain = mean - float(known.max())
        return gain * norm.cdf(gain / std) + std * norm.pdf(gain / std), low + span * mean, span * std


if __name__ == "__main__":
    serve(DeepKernel, ("atomai", "gpytorch", "torch"))
