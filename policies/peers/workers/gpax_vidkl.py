"""GPax's viDKL on image patches, a new model at each decision, with the confidence bound of its documentation."""

from __future__ import annotations

from typing import Any

import gpax
import jax
import numpy as np
from wire import Array, Told, serve

BATCH = 1000


class ViDKL:
    """Defaults of the class, targets scaled to 0..1; prediction in batches, as all at once needs memory for m x m."""

    def __init__(self, inputs: Array, settings: dict[str, Any]) -> None:
        self._inputs, self._settings = inputs, settings

    def judge(self, taken: Any, values: Array, stds: Array, seed: int) -> Told:
        """Return the mean plus the root of beta times the variance, and the posterior of the noise-free target."""
        fit_key, predict_key = jax.random.split(jax.random.PRNGKey(seed), 2)
        low, span = float(values.min()), float(np.ptp(values)) or 1.0
        model = gpax.viDKL(self._inputs.shape[1])
        model.fit(
            fit_key,
            self._inputs[taken],
            (values - low) / span,
            num_steps=self._settings["steps"],
            step_size=self._settings["rate"],
            progress_bar=False,
            print_summary=False,
        )
        batch = min(BATCH, len(self._inputs))  # it fails on fewer candidates than a batch
        found = model.predict_in_batches(predict_key, self._inputs, batch)
        mean, noisy = (np.asarray(part, dtype=float) for part in found)
        scores = mean + np.sqrt(self._settings["beta"] * noisy)
        latent = np.maximum(noisy - float(model.kernel_params["noise"]), 1e-12)  # predictions hold the learnt noise
        return scores, low + span * mean, span * np.sqrt(latent)


if __name__ == "__main__":
    serve(ViDKL, ("gpax", "numpyro", "jax"))
