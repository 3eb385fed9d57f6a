"""Looks of any dose as comparable rates, pooled place by place, with the noise of their electrons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoscope.acquisition.exposure_choice import CountingNoise

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Target = Literal["counts", "intensive"]


@dataclass(frozen=True)
class Looks:
    """Looks in their order, as comparable rates.

    Attributes
    ----------
    pixels : array of int64
        (n,); a pixel may be there many times.
    rates, stds : array
        (n,): value and its stated uncertainty, per useful electron for a counted target, as they are otherwise.
    doses_e : array
        Useful electrons of each look, (n,).
    blurs : array of int64
        Which defocus each look had, (n,); 0 is in focus.
    """

    pixels: Indices
    rates: Array
    stds: Array
    doses_e: Array
    blurs: Indices

    @classmethod
    def of(cls, told: Mapping[str, list[Any]], kind: Target) -> Looks:
        """Return looks from lists named ``pixel``, ``value``, ``std``, ``useful_e`` and ``blur``."""
        doses = np.asarray(told["useful_e"], dtype=np.float64)
        unit = doses if kind == "counts" else np.ones(len(doses))
        pixels, blurs = (np.asarray(told[name], dtype=np.int64) for name in ("pixel", "blur"))
        return cls(pixels, np.asarray(told["value"]) / unit, np.asarray(told["std"]) / unit, doses, blurs)

    def first(self, n: int) -> Looks:
        """Return the first ``n`` looks."""
        return Looks(self.pixels[:n], self.rates[:n], self.stds[:n], self.doses_e[:n], self.blurs[:n])

    @property
    def mean_rate(self) -> float:
        """The rate of all looks together."""
        return float(self.rates @ self.doses_e / self.doses_e.sum())

    def noise(self) -> CountingNoise:
        """Return the noise learnt from what the looks state of themselves."""
        return CountingNoise.fit(self.rates, self.stds, self.doses_e)

    def pooled(self, noise: CountingNoise) -> Pooled:
        """Return one rate per pixel and defocus: looks there weighted by their electrons, which is by inverse variance.

        The stated uncertainty of few counts follows their luck, and weighting by it would draw rates down; the noise
        model at the rate, with one event of the mean rate added to it, does not.
        """
        seen, place = np.unique(np.stack([self.pixels, self.blurs], axis=1), axis=0, return_inverse=True)
        place = place.ravel()
        doses: Array = np.bincount(place, self.doses_e).astype(np.float64)
        rates = np.bincount(place, self.rates * self.doses_e) / doses
        mean = max(self.mean_rate, 0.0)
        one_event_e = noise.per_event / mean if mean > 0.0 else 0.0
        steady = (np.maximum(rates, 0.0) * doses + mean * one_event_e) / (doses + one_event_e)
        return Pooled(seen[:, 0], rates, noise.variance(steady, doses), doses, seen[:, 1])


@dataclass(frozen=True)
class Pooled:
    """One rate per measured pixel and defocus (p,), with its variance and its electrons."""

    pixels: Indices
    rates: Array
    variances: Array
    doses_e: Array
    blurs: Indices


@dataclass(frozen=True)
class Estimate:
    """What is believed of the field: offsets (m, 2), mean and std of the rate (m,)."""

    positions_m: Array
    mean: Array
    std: Array
