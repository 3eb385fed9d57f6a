"""GPax's viDKL on image patches, a new model at each decision, with the confidence bound of its documentation."""

from __future__ import annotations

import gpax
import jax
import numpy as np
import peer_loop
from peer_loop import Array, Indices, Job

BETA = 0.25
BATCH = 1000


class ViDKL:
    """Defaults of the class throughout (1000 steps of 0.005); targets scaled to 0..1; prediction in batches."""

    starts_random = True

    def __init__(self, job: Job) -> None:
        self._inputs = job.patches()
        self._keys = jax.random.split(jax.random.PRNGKey(job.seed), 2)

    def scores(self, taken: Indices, values: Array) -> Array:
        """Return the mean plus the root of beta times the variance."""
        fit_key, predict_key = self._keys
        self._low, self._span = float(values.min()), float(np.ptp(values)) or 1.0
        model = gpax.viDKL(self._inputs.shape[1])
        known = (values - self._low) / self._span
        model.fit(fit_key, self._inputs[taken], known, progress_bar=False, print_summary=False)
        mean, variance = model.predict_in_batches(predict_key, self._inputs, batch_size=BATCH)
        self._mean, self._variance = np.asarray(mean, dtype=float), np.asarray(variance, dtype=float)
        return self._mean + np.sqrt(BETA * self._variance)

    def belief(self) -> tuple[Array, Array]:
        """Return the posterior of a measurement; the library's variance holds the learnt noise already."""
        return self._low + self._span * self._mean, self._span * np.sqrt(np.maximum(self._variance, 0.0))


if __name__ == "__main__":
    peer_loop.main(ViDKL, ("gpax", "numpyro", "jax"))
