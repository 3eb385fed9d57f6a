"""Independent random streams from one seed, by name, so that adding one never disturbs another."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the generator for one named use of a run's seed.

    Examples
    --------
    >>> bool(stream(1, "policy").integers(1000) == stream(1, "policy").integers(1000))
    True
    """
    return np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:16]])


def state_digest(rng: np.random.Generator) -> str:
    """Return a sha256 of the generator's state, to be written into decisions."""
    text = json.dumps(rng.bit_generator.state, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
