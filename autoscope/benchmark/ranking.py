"""Who is ahead of whom: average ranks, ties where nothing can be told apart, and how often one is close to the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from autoscope.benchmark.statistics import ALPHA, Comparison, holm, signed_rank_p
from autoscope.errors import DataError

Array = NDArray[np.float64]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Ranking:
    """Policies over many blocks; a block is one seed of one environment, in which all of them stood.

    Attributes
    ----------
    policies : tuple of str
        The best average rank first.
    ranks : tuple of float
        Average rank over the blocks, 1 the best; equal values share the average of their ranks.
    groups : tuple of (int, int)
        First and last position of policies none of which can be told apart; only groups that lie in no other.
    friedman_p : float
        That all are the same; 1 with fewer than three policies.
    critical : float
        Nemenyi's critical difference of average ranks.
    blocks : int
        How many there were.
    """

    policies: tuple[str, ...]
    ranks: tuple[float, ...]
    groups: tuple[tuple[int, int], ...]
    friedman_p: float
    critical: float
    blocks: int


@dataclass(frozen=True)
class Place:
    """Where a policy stands in one comparison.

    Attributes
    ----------
    place : int
        1 plus the number of policies that are distinguishably better.
    tied : tuple of str
        Policies it cannot be told apart from.
    """

    policy: str
    place: int
    tied: tuple[str, ...]

    @property
    def label(self) -> str:
        """Return ``2``, or ``2=`` where it is tied."""
        return f"{self.place}=" if self.tied else str(self.place)


def places(comparisons: Sequence[Comparison], policies: Sequence[str], better: Better) -> list[Place]:
    """Return the place of each policy, in the order given; whoever cannot be told apart is tied."""
    ahead: dict[str, int] = dict.fromkeys(policies, 0)
    tied: dict[str, list[str]] = {policy: [] for policy in policies}
    for one in comparisons:
        if not one.distinguishable:
            tied[one.a].append(one.b)
            tied[one.b].append(one.a)
        elif one.difference.value != 0.0:
            a_is_better = (one.difference.value > 0) == (better == "higher")
            ahead[one.b if a_is_better else one.a] += 1
    return [Place(policy, ahead[policy] + 1, tuple(tied[policy])) for policy in policies]


def rank(values: Mapping[str, Sequence[float]], better: Better, alpha: float = ALPHA) -> Ranking:
    """Return the ranking of policies over common blocks.

    Parameters
    ----------
    values : mapping of policy to values (blocks,)
        Infinity where a level was never reached.

    Raises
    ------
    DataError
        Policies have different numbers of blocks, or there is none.

    Notes
    -----
    Ranks and Friedman's test as in Demšar, J. Mach. Learn. Res. 7, 1 (2006). Who is told apart is decided by Wilcoxon
    tests corrected by Holm's method, because Nemenyi's verdict on two policies depends on who else took part (Benavoli
    et al., J. Mach. Learn. Res. 17, 1 (2016)); Nemenyi's difference is shown as a ruler.
    """
    table = np.array([np.asarray(v, dtype=np.float64) for v in values.values()]).T if values else np.empty((0, 0))
    if table.ndim != 2 or not table.size:
        raise DataError("a ranking needs every policy in every block", value=[len(v) for v in values.values()])
    signed = -table if better == "higher" else table
    average = np.mean([stats.rankdata(block) for block in signed], axis=0)
    order = np.argsort(average, kind="stable")
    names = [list(values)[k] for k in order]
    return Ranking(
        policies=tuple(names),
        ranks=tuple(float(average[k]) for k in order),
        groups=tied_groups(_told_apart(table[:, order], alpha)),
        friedman_p=friedman_p(table),
        critical=critical_difference(len(names), len(table), alpha),
        blocks=len(table),
    )


def _told_apart(table: Array, alpha: float) -> NDArray[np.bool_]:
    count = table.shape[1]
    above = np.triu_indices(count, 1)
    p = [signed_rank_p(table[:, i], table[:, j]) for i, j in zip(*above, strict=True)]
    apart = np.zeros((count, count), dtype=np.bool_)
    apart[above] = holm(p) < alpha
    return apart | apart.T


def tied_groups(apart: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """Return maximal runs of neighbours, two or more, none of whom can be told apart (first, last).

    Examples
    --------
    >>> apart = np.zeros((3, 3), dtype=bool)
    >>> apart[0, 2] = apart[2, 0] = True
    >>> tied_groups(apart)
    ((0, 1), (1, 2))
    """
    found: list[tuple[int, int]] = []
    for first in range(len(apart)):
        last = first
        while last + 1 < len(apart) and not apart[first : last + 1, last + 1].any():
            last += 1
        if last > first and not (found and found[-1][1] >= last):
            found.append((first, last))
    return tuple(found)


def friedman_p(table: Array) -> float:
    """Return the p-value of Friedman's test on blocks (n, k) that all columns are the same; 1 where it says nothing."""
    if table.shape[1] < 3 or len(table) < 2 or all(np.all(block == block[0]) for block in table):
        return 1.0
    finite = np.array([stats.rankdata(block) for block in table])
    return float(stats.friedmanchisquare(*finite.T).pvalue)


def critical_difference(policies: int, blocks: int, alpha: float = ALPHA) -> float:
    """Return by how much average ranks must differ to be told apart (Nemenyi 1963; Demšar 2006, section 3.2.2).

    Examples
    --------
    >>> round(critical_difference(5, 30), 2)
    1.11
    """
    q = float(stats.studentized_range.ppf(1 - alpha, policies, np.inf)) / math.sqrt(2)
    return q * math.sqrt(policies * (policies + 1) / (6 * blocks))


def performance_profile(costs: Mapping[str, Sequence[float]]) -> tuple[Array, dict[str, Array]]:
    """Return ratios (t,) and, for each policy, the share of problems it solved within that multiple of the best's cost.

    Parameters
    ----------
    costs : mapping of policy to costs (problems,)
        Positive; infinity for a problem not solved.

    Notes
    -----
    Dolan & Moré, Mathematical Programming 91, 201 (2002). Problems that nobody solved count for nobody.
    """
    table = np.array([np.asarray(c, dtype=np.float64) for c in costs.values()])
    best = table.min(axis=0)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(table), table / best, np.inf)
    finite = ratios[np.isfinite(ratios)]
    at = np.unique(np.concatenate([[1.0], finite])) if finite.size else np.array([1.0])
    return at, {name: np.array([np.mean(row <= t * (1 + 1e-12)) for t in at]) for name, row in zip(costs, ratios)}
