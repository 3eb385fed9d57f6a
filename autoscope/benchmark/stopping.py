"""When further seeds can change nothing any more: group-sequential comparison with alpha spending.

Looking again and again at growing data and stopping at the first significant difference finds one sooner or later even
where there is none. So each look may spend only a part of ``alpha``, by the O'Brien-Fleming-like spending function of
Lan & DeMets, Biometrika 70, 659 (1983): little at first, most at the end. At each look all pairs of policies of an
environment are tested at the part of that look by Holm's method; by the union bound over looks the chance of any false
claim stays below ``alpha``, whatever the looks have in common.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from autoscope.benchmark.statistics import ALPHA, holm, signed_rank_p

Array = NDArray[np.float64]
Values = Mapping[str, Mapping[int, float]]
"""Policy -> repetition -> value."""


@dataclass(frozen=True)
class StoppingPlan:
    """Numbers of seeds at which is looked, the last of them the most there can be.

    Attributes
    ----------
    looks : tuple of int
        Rising.
    alpha : float
        Chance of any false claim in one comparison of all policies.
    margin : float, optional
        Differences smaller than this matter to nobody: policies shown to differ by less are decided as well, as equal.
        Without it, policies that are alike are compared to the last look.
    """

    looks: tuple[int, ...]
    alpha: float = ALPHA
    margin: float | None = None

    def part(self, look: int) -> float:
        """Return what the look of that number (from 0) may spend.

        Examples
        --------
        >>> plan = StoppingPlan((10, 20, 40))
        >>> [round(plan.part(k), 4) for k in range(3)]
        [0.0001, 0.0055, 0.0444]
        """
        before = spent(self.looks[look - 1] / self.looks[-1], self.alpha) if look else 0.0
        return spent(self.looks[look] / self.looks[-1], self.alpha) - before


def spent(share: float, alpha: float = ALPHA) -> float:
    """Return the part of alpha spent when that share of the seeds is known (Lan & DeMets 1983, first function).

    Examples
    --------
    >>> round(spent(1.0, 0.05), 6)
    0.05
    """
    return float(2 - 2 * stats.norm.cdf(stats.norm.ppf(1 - alpha / 2) / math.sqrt(share)))


@dataclass(frozen=True)
class Verdict:
    """What is known of a comparison at the present look.

    Attributes
    ----------
    higher : mapping of (a, b) to seeds
        Pairs told apart, the policy of higher values first, and after how many seeds.
    equal : mapping of (a, b) to seeds
        Pairs shown to differ by less than the margin.
    undecided : tuple of (a, b)
        All others.
    """

    higher: Mapping[tuple[str, str], int]
    equal: Mapping[tuple[str, str], int]
    undecided: tuple[tuple[str, str], ...]

    @property
    def decided(self) -> bool:
        """Whether nothing is left to find out."""
        return not self.undecided


def judge(values: Values, plan: StoppingPlan) -> Verdict:
    """Return what all looks so far have shown, walked again from the first; the same whenever it is asked.

    Parameters
    ----------
    values : mapping of policy to values by repetition
        Repetitions that not all policies have are left out; the others are taken in their order.
    """
    shared = sorted(set.intersection(*(set(v) for v in values.values()))) if values else []
    table = {policy: np.array([v[s] for s in shared]) for policy, v in values.items()}
    open_ = list(itertools.combinations(values, 2))
    higher: dict[tuple[str, str], int] = {}
    equal: dict[tuple[str, str], int] = {}
    for look, seeds in enumerate(plan.looks):
        if seeds > len(shared) or not open_:
            break
        level, known = plan.part(look), {policy: v[:seeds] for policy, v in table.items()}
        for pair in _apart(known, open_, level):
            higher[pair] = seeds
        open_ = [pair for pair in open_ if pair not in higher and pair[::-1] not in higher]
        if plan.margin is not None:
            equal |= dict.fromkeys(_alike(known, open_, plan.margin, level), seeds)
            open_ = [pair for pair in open_ if pair not in equal]
    return Verdict(higher, equal, tuple(open_))


def _apart(known: Mapping[str, Array], pairs: Sequence[tuple[str, str]], level: float) -> list[tuple[str, str]]:
    """Return the pairs told apart at that level, corrected for each other, higher values first.

    Pairs told apart at an earlier look are claims already made, so Holm's method goes on with those left.
    """
    corrected = holm([signed_rank_p(known[a], known[b]) for a, b in pairs])
    found = []
    for (a, b), p in zip(pairs, corrected, strict=True):
        if p < level:
            with np.errstate(invalid="ignore"):
                gaps = known[a] - known[b]
            found.append((a, b) if np.nansum(np.sign(gaps)) >= 0 else (b, a))
    return found


def _alike(
    known: Mapping[str, Array], pairs: Sequence[tuple[str, str]], margin: float, level: float
) -> list[tuple[str, str]]:
    """Return the pairs shown to differ by less than the margin: two one-sided tests (Schuirmann 1987), by Holm."""
    if not pairs:
        return []
    corrected = holm([_equivalence_p(known[a] - known[b], margin) for a, b in pairs])
    return [pair for pair, p in zip(pairs, corrected, strict=True) if p < level]


def _equivalence_p(gaps: Array, margin: float) -> float:
    if not np.isfinite(gaps).all():
        return 1.0
    above = stats.wilcoxon(gaps + margin, alternative="greater", zero_method="pratt", method="asymptotic").pvalue
    below = stats.wilcoxon(gaps - margin, alternative="less", zero_method="pratt", method="asymptotic").pvalue
    return float(max(above, below))
