"""Who knows what cannot be known: on shuffled labels nobody can beat chance, so whoever does has seen the truth.

The negative control gives each place the spectrum of another, drawn anew for each seed. Whatever a policy measured
before tells nothing about the rest, so the number of best places among its choices is hypergeometric, however clever
the choice. More of them than chance explains means that the policy reads what it was not told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from autoscope.benchmark.statistics import holm
from autoscope.benchmark.trace import Trace, Truth

Array = NDArray[np.float64]

ALPHA = 0.01
TOP = 0.05
"""Fraction of the pool that counts as best: enough places for chance to be narrow."""


@dataclass(frozen=True)
class Finding:
    """One policy on one negative control.

    Attributes
    ----------
    found, expected : float
        Best places found in all seeds together, and what chance finds on average.
    p : float
        Of so many or more by chance, corrected for all policies and controls looked at together.
    """

    policy: str
    environment: str
    seeds: int
    found: int
    expected: float
    p: float

    @property
    def caught(self) -> bool:
        """Whether chance does not explain it."""
        return self.p < ALPHA


def audit(campaigns: Iterable[tuple[str, str, Trace, Truth]]) -> list[Finding]:
    """Return what each policy found on shuffled labels, the least likely first.

    Parameters
    ----------
    campaigns : iterable of (policy, environment, trace, truth)
        Those on controls with shuffled labels only.
    """
    counted: dict[tuple[str, str], list[tuple[int, Array]]] = {}
    for policy, environment, trace, truth in campaigns:
        counted.setdefault((policy, environment), []).append(_counted(trace, truth))
    raw, rows = [], []
    for (policy, environment), parts in counted.items():
        found, chance = sum(n for n, _ in parts), _sum(chances for _, chances in parts)
        rows.append((policy, environment, len(parts), found, float(chance @ np.arange(chance.size))))
        raw.append(min(float(chance[found:].sum()), 1.0))
    findings = [Finding(*row, p=float(p)) for row, p in zip(rows, holm(raw), strict=True)]
    return sorted(findings, key=lambda finding: finding.p)


def _counted(trace: Trace, truth: Truth) -> tuple[int, Array]:
    """Return how many of the best places were measured, and the probabilities (k,) of each number by chance."""
    best = max(1, math.ceil(TOP * truth.values.size))
    threshold = np.partition(truth.values, -best)[-best]
    top = truth.values >= threshold
    places = np.unique(trace.chosen)
    chances = hypergeom.pmf(np.arange(len(places) + 1), truth.values.size, int(top.sum()), len(places))
    return int(top[places].sum()), np.asarray(chances, dtype=np.float64)


def _sum(distributions: Iterable[Array]) -> Array:
    """Return the distribution of a sum of independent counts."""
    total = np.ones(1)
    for chances in distributions:
        total = np.convolve(total, chances)
    return total
