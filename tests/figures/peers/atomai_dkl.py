"""AtomAI's dklGPR on image patches, 200 training cycles anew at each decision, with expected improvement."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "stub"))  # AtomAI imports torchvision, of which dklGPR uses nothing

import atomai
import numpy as np
import peer_loop
from peer_loop import Array, Indices, Job
from scipy.stats import norm

CYCLES = 200
BATCH = 1000


class AtomAIDeepKernel:
    """Two embedding dimensions, learning rate and network by default; targets scaled to 0..1."""

    starts_random = True

    def __init__(self, job: Job) -> None:
        self._inputs = job.patches().astype(np.float32)
        self._seed = job.seed

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the expected improvement on the best value measured."""
        self._low, self._span = float(values.min()), float(np.ptp(values)) or 1.0
        known = ((values - self._low) / self._span).astype(np.float32)
        model = atomai.models.dklGPR(self._inputs.shape[1], embedim=2, seed=self._seed)
        model.fit(self._inputs[taken], known, training_cycles=CYCLES, print_loss=CYCLES + 1)
        mean, variance = model.predict(self._inputs, batch_size=BATCH)
        self._mean = np.asarray(mean, dtype=float)
        self._latent = np.maximum(np.asarray(variance, dtype=float), 1e-12)
        self._noise = float(model.likelihood.noise.mean())
        std = np.sqrt(self._latent)
        gain = self._mean - float(known.max())
        return np.asarray(gain * norm.cdf(gain / std) + std * norm.pdf(gain / std))

    def belief(self) -> tuple[Array, Array]:
        """Return the posterior of a measurement, learnt noise included."""
        return self._low + self._span * self._mean, self._span * np.sqrt(self._latent + self._noise)


if __name__ == "__main__":
    peer_loop.main(AtomAIDeepKernel, ("atomai", "gpytorch", "torch"))
