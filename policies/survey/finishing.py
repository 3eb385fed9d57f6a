"""What is left to do when every particle was looked at: the best finds confirmed, what was given up tried once more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoscope.protocols import JsonValue
from policies.survey.catalogue import MAX_TRIES, Catalogue
from policies.survey.config import FinishConfig
from policies.survey.ranking import outstanding
from policies.survey.spectrum import Reading

CONFIRM, AGAIN = "confirmation", "once_more"
"""Errands of a travel decision, told as its ``acquisition``."""


@dataclass(frozen=True)
class Sum:
    """The spectra of one find: how many, and the mean target with its standard uncertainty."""

    count: int
    mean: float
    std: float

    @property
    def snr(self) -> float:
        """Return the mean over its uncertainty; infinite where that is zero."""
        return self.mean / self.std if self.std > 0 else math.inf

    def plus(self, value: float, std: float) -> Sum:
        """Return the sum with one more spectrum of the same dwell."""
        n = self.count + 1
        mean = (self.count * self.mean + value) / n
        return Sum(n, mean, math.hypot(self.count * self.std, std) / n)


class Finishing:
    """Keeps which finds are confirmed and how surely; a fold over what was told.

    Parameters
    ----------
    config : FinishConfig
        How many finds, to which signal to noise, with how many spectra at most.
    """

    def __init__(self, config: FinishConfig) -> None:
        self._config = config
        self._sums: dict[int, Sum] = {}
        self._missed: dict[int, int] = {}
        self.tried_again = False
        """Whether what had been given up was taken up once more."""

    def sum_of(self, particle: int, catalogue: Catalogue) -> Sum:
        """Return all spectra of full dwell of a measured particle."""
        return self._sums.get(particle) or Sum(1, *catalogue.value(particle))

    def finds(self, catalogue: Catalogue) -> list[int]:
        """Return the best particles that stand out, the highest first: those worth confirming."""
        return self.best(catalogue)[: self._config.confirm]

    def best(self, catalogue: Catalogue) -> list[int]:
        """Return all particles that stand out, the highest first."""
        numbers, values, stds = catalogue.measured()
        full = catalogue.is_full(numbers) if len(numbers) else np.zeros(0, dtype=bool)
        numbers, values, stds = numbers[full], values[full], stds[full]
        if len(numbers) == 0:
            return []
        stands_out = outstanding(values, stds)
        order = np.argsort(-values, kind="stable")
        return [int(numbers[k]) for k in order if stands_out[k]]

    def unsure(self, catalogue: Catalogue) -> list[int]:
        """Return the finds that more spectra would make surer, the highest first."""
        return [particle for particle in self.finds(catalogue) if self._is_unsure(particle, catalogue)]

    def _is_unsure(self, particle: int, catalogue: Catalogue) -> bool:
        known = self.sum_of(particle, catalogue)
        enough = known.snr >= self._config.snr or known.count > self._config.spectra
        return not enough and self._missed.get(particle, 0) < MAX_TRIES

    def reason(self, particle: int, catalogue: Catalogue, target: str) -> str:
        """Return why a find is measured again, as a sentence with its numbers."""
        known, finds = self.sum_of(particle, catalogue), self.finds(catalogue)
        rank = f"find {finds.index(particle) + 1} of {len(finds)}" if particle in finds else "a find"
        return (
            f"confirms {rank}: {target} {known.mean:.4g} ± {known.std:.2g} from {known.count} so far, "
            f"signal to noise {known.snr:.3g} of {self._config.snr:g} wanted"
        )

    def told(self, particle: int, reading: Reading, catalogue: Catalogue) -> None:
        """Take in one more spectrum of a find."""
        if reading.value is None:
            self.missed(particle)
            return
        self._sums[particle] = self.sum_of(particle, catalogue).plus(reading.value, reading.std)
        self._missed.pop(particle, None)

    def missed(self, particle: int) -> None:
        """Count a spectrum that came to nothing; after `MAX_TRIES` one after the other the find is left as it is."""
        self._missed[particle] = self._missed.get(particle, 0) + 1

    def may_try_again(self) -> bool:
        """Return whether what was given up may be taken up once more."""
        return self._config.try_again and not self.tried_again

    def summary(self, catalogue: Catalogue) -> str:
        """Return how many finds are confirmed, as a clause; empty where there are none to confirm."""
        finds = self.finds(catalogue)
        sure = sum(self.sum_of(p, catalogue).snr >= self._config.snr for p in finds)
        wanted = f"a signal to noise of {self._config.snr:g}"
        return f", {sure} of the {len(finds)} best finds confirmed to {wanted}" if finds else ""

    def state(self) -> dict[str, JsonValue]:
        """Return what was learnt as plain data."""
        return {
            "sums": [[particle, s.count, s.mean, s.std] for particle, s in self._sums.items()],
            "missed": [list(item) for item in self._missed.items()],
            "tried_again": self.tried_again,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._sums = {int(p): Sum(int(n), float(mean), float(std)) for p, n, mean, std in state["sums"]}
        self._missed = {int(p): int(n) for p, n in state["missed"]}
        self.tried_again = bool(state["tried_again"])
