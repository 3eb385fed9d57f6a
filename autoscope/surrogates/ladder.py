"""When a model fails, the next simpler one decides; when all fail, space is filled. The run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autoscope.errors import ModelError
from autoscope.protocols import JsonValue
from autoscope.records import FitSummary
from autoscope.surrogates.prior import Features
from autoscope.surrogates.surrogate import Surrogate

Array = NDArray[np.float64]

SPACE_FILLING = "space_filling"


class FitLadder:
    """Surrogates in order of preference; ``fit`` stops at the first that succeeds.

    Parameters
    ----------
    rungs : sequence of (name, surrogate)
        Best first. A summary's ``rung`` is "ok" for the first, the name of a fallback otherwise, and
        "space_filling" when no model could be fitted.
    """

    def __init__(self, rungs: Sequence[tuple[str, Surrogate]]) -> None:
        self._rungs = tuple(rungs)
        self._at_: int | None = None

    @property
    def model(self) -> Surrogate | None:
        """The surrogate that carries the last fit, or None when space must be filled."""
        return None if self._at_ is None else self._rungs[self._at_][1]

    def attach(self, pool: Features) -> None:
        """Attach the same pool (m, d) to every rung."""
        for _, surrogate in self._rungs:
            surrogate.attach(pool)

    def fit(self, x: Features, y: Array, noise_std: Array) -> FitSummary:
        """Fit the first rung that can be fitted; never raises for what a model does."""
        for at, (name, surrogate) in enumerate(self._rungs):
            try:
                summary = surrogate.fit(x, y, noise_std)
            except ModelError:  # the summary's rung tells; the next rung is the remedy
                continue
            self._at_ = at
            return summary.replace(rung="ok" if at == 0 else name)
        self._at_ = None
        return FitSummary(model=SPACE_FILLING, n=len(y), rung=SPACE_FILLING)

    def state(self) -> dict[str, JsonValue]:
        """Return which rung carries, and what every rung has learnt, as JSON data."""
        return {"at": self._at_, "rungs": [surrogate.state() for _, surrogate in self._rungs]}

    def recall(self, state: Mapping[str, JsonValue], x: Features, y: Array, noise_std: Array) -> None:
        """Take up a state with the data of its fit."""
        at, rungs = state["at"], state["rungs"]
        self._at_ = at if isinstance(at, int) else None
        learnt = rungs if isinstance(rungs, list) else []
        for (_, surrogate), one in zip(self._rungs, learnt, strict=True):
            if one["prior"] is not None:
                surrogate.recall(one, x, y, noise_std)
