"""Independent random streams from one seed, by name, so that adding one never disturbs another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

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


def chance_to_plain(rng: np.random.Generator) -> Any:
    """Return the state of a generator as plain data.

    Examples
    --------
    >>> rng, other = stream(1, "a"), stream(2, "b")
    >>> restore_chance(other, chance_to_plain(rng))
    >>> bool(rng.random() == other.random())
    True
    """
    return _plain(rng.bit_generator.state)


def restore_chance(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put a generator of the same kind where `chance_to_plain` found one."""
    rng.bit_generator.state = _numbers(state)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return {"uint64": value.tolist()} if isinstance(value, np.ndarray) else value


def _numbers(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"uint64"}:
        return np.array(value["uint64"], dtype=np.uint64)
    return {name: _numbers(part) for name, part in value.items()}
