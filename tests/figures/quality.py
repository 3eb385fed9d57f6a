"""How well measurements are chosen: our policies against other tools on every map of the arena, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.figures.arena.campaign import Campaign, digest
from tests.figures.arena.compare import Difference, difference
from tests.figures.arena.ours import remembered
from tests.figures.arena.sets import arena_set, names
from tests.figures.figure import Figure
from tests.figures.peers.recorded import METHODS, read, settings_of

SEARCH: tuple[tuple[str, Mapping[str, Any]], ...] = (("maximum", {"policy": "gp"}),)
"""Policies that look for the maximum; the first is the one compared."""
MAPPING: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("map", {"policy": "gp", "acquisition": {"name": "integrated_variance"}}),
)
"""Policies that map the field; the first is the one compared."""

SEEDS, LIMIT = range(20), 200
QUICK_SETS, QUICK_SEEDS, QUICK_LIMIT = ("CuZn", "nanocubes"), range(3), 50
PEERS = ("botorch_xy", "botorch_pca10", "gpytorch_dkl", "vidkl", "atomai_dklgpr")
SPACE_FILLING = ("random", "grid", "sobol")

Values = dict[int, float]


@dataclass(frozen=True)
class Metric:
    """A number of a campaign, and which way is better."""

    name: str
    lower_is_better: bool
    goal: str

    @property
    def statistic(self) -> Any:
        """Return how it is summed up over seeds: the median of counts, else the mean."""
        return np.median if self.name == "to_95" else np.mean


SEARCHED = (
    Metric("to_95", True, "maximum"),
    *(Metric(f"top@{n}", False, "maximum") for n in (50, 100, 200)),
)
MAPPED = (
    *(Metric(f"nrmse@{n}", True, "map") for n in (50, 100, 200)),
    *(Metric(f"rho@{n}", False, "map") for n in (50, 100, 200)),
)


def figures(slow: bool) -> Iterator[Figure]:
    """Yield the comparison: every set and 20 seeds with ``slow``, else a few seeds on two sets."""
    recorded = [c for c in read() if c.digest == _present(c)]
    sets = names() if slow else [name for name in names() if name in QUICK_SETS]
    seeds, limit = (SEEDS, LIMIT) if slow else (QUICK_SEEDS, QUICK_LIMIT)
    searching: list[Campaign] = []
    for goal, configs, metrics in (("maximum", SEARCH, SEARCHED), ("map", MAPPING, MAPPED)):
        for nth, (label, options) in enumerate(configs):
            for name in sets:
                ours = [remembered(name, label, options, seed, limit) for seed in seeds]
                theirs = [c for c in recorded if c.set == name]
                yield from _compared(name, label, ours, theirs, metrics)
                yield from _honest(name, label, ours)
                searching += ours if goal == "maximum" and nth == 0 else []
    yield from _ratio(searching, recorded)


def _present(campaign: Campaign) -> str:
    """Return the digest this campaign would get today; lines of older settings or sets are left out."""
    if campaign.method not in METHODS or campaign.set not in names():
        return ""
    return digest(settings_of(campaign.method, campaign.n), arena_set(campaign.set).recipe)


def values(campaigns: Sequence[Campaign], metric: str, limit: int | None = None) -> Values:
    """Return a metric by seed where it is known; counts beyond ``limit`` are ``limit + 1``.

    Examples
    --------
    >>> values([], "to_95")
    {}
    """
    found = {c.seed: c.value(metric) for c in campaigns}
    known = {seed: value for seed, value in found.items() if value is not None}
    return known if limit is None else {seed: min(value, limit + 1.0) for seed, value in known.items()}


def _fair(ours: Sequence[Campaign], theirs: Sequence[Campaign], metric: Metric) -> tuple[Values, Values, int]:
    """Return both sides' values, censored alike at the shorter campaign, and that length."""
    limit = min((c.n for c in (*ours, *theirs)), default=0)
    cut = limit if metric.name == "to_95" else None
    return values(ours, metric.name, cut), values(theirs, metric.name, cut), limit


def best_peer(
    ours: Sequence[Campaign], recorded: Sequence[Campaign], metric: Metric, methods: Sequence[str] = PEERS
) -> tuple[str, float, Difference] | None:
    """Return the method of the best value, that value, and ours minus it.

    A count that was not reached within its campaign is only a lower bound: it ranks after all that were, the longest
    campaign first.
    """
    found = []
    for method in methods:
        theirs = [c for c in recorded if c.method == method]
        mine, other, limit = _fair(ours, theirs, metric)
        gap = difference(mine, other, metric.statistic)
        if gap is not None:
            value = float(metric.statistic(list(other.values())))
            missed = metric.name == "to_95" and value > limit
            rank = -value if missed or not metric.lower_is_better else value
            found.append(((missed, rank), (method, value, gap)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _compared(
    name: str, label: str, ours: Sequence[Campaign], theirs: Sequence[Campaign], metrics: Sequence[Metric]
) -> Iterator[Figure]:
    for metric in metrics:
        against = [("best_peer", PEERS), ("random", ("random",))]
        against += [("space_filling", SPACE_FILLING)] if metric.name.startswith("nrmse") else []
        mine = values(ours, metric.name)
        if not mine:
            continue
        for word, methods in against:
            found = best_peer(ours, theirs, metric, methods)
            if found is not None:
                rivals = [c for c in theirs if c.method == found[0]]
                yield _figure(name, label, metric, word, ours, rivals, found)


def _figure(
    name: str,
    label: str,
    metric: Metric,
    word: str,
    ours: Sequence[Campaign],
    rivals: Sequence[Campaign],
    found: tuple[str, float, Difference],
) -> Figure:
    method, theirs, gap = found
    mine, _, limit = _fair(ours, rivals, metric)
    own = float(metric.statistic(list(mine.values())))
    missed = [sum(c.to_95 is None or c.to_95 > limit for c in side) for side in (ours, rivals)]
    censored = f"not within {limit}: {missed[0]} of {len(ours)} of ours, {missed[1]} of {len(rivals)} of theirs"
    notes = [
        f"{method} {theirs:.4g}",
        f"difference {gap.value:.4g}, 95 % interval [{gap.low:.4g}, {gap.high:.4g}]",
        f"{'paired over' if gap.paired else 'not paired,'} {gap.n} seeds of theirs",
        censored if metric.name == "to_95" else "",
        _conditions(name),
    ]
    return Figure(
        name=f"{metric.name} {name} {label} v. {word}",
        value=round(own, 4),
        unit="measurements" if metric.name == "to_95" else "",
        goal="not distinguishably worse",
        ok=not gap.worse(lower_is_better=metric.lower_is_better),
        n=len(mine),
        how="; ".join(note for note in notes if note),
    )


def _conditions(name: str) -> str:
    arena = arena_set(name)
    every = f"every {arena.stride}nd pixel for all methods" if arena.stride > 1 else "every pixel"
    return f"{len(arena.rows)} candidates, {every}" + (", image derived from the spectra" if arena.derived else "")


def _honest(name: str, label: str, ours: Sequence[Campaign]) -> Iterator[Figure]:
    for n in (50, 100, 200):
        z, covered = (values(ours, f"{what}@{n}") for what in ("z_std", "coverage"))
        if z:
            how = f"z of unmeasured pixels, measurement noise included: std {statistics.median(z.values()):.3g}"
            share = statistics.median(covered.values())
            yield Figure(f"coverage_90@{n} {name} {label}", round(share, 3), "", "about 0.9", None, len(z), how)


def _ratio(ours: Sequence[Campaign], recorded: Sequence[Campaign]) -> Iterator[Figure]:
    """Yield the median over sets of the best peer's measurements to 95 % over ours."""
    metric = SEARCHED[0]
    ratios: dict[str, tuple[float, str]] = {}
    random: dict[str, tuple[float, str]] = {}
    for name in dict.fromkeys(c.set for c in ours):
        mine = [c for c in ours if c.set == name]
        theirs = [c for c in recorded if c.set == name]
        for methods, into in ((PEERS, ratios), (("random",), random)):
            found = best_peer(mine, theirs, metric, methods)
            if found is not None:
                rivals = [c for c in theirs if c.method == found[0]]
                own, other, limit = _fair(mine, rivals, metric)
                pair = float(np.median(list(other.values()))), float(np.median(list(own.values())))
                into[name] = (
                    pair[0] / pair[1],
                    f"{found[0]} {pair[0]:g} / {pair[1]:g} ({len(other)} seeds, limit {limit})",
                )
    for word, found_, goal in (("best_peer", ratios, 2.0), ("random", random, 1.0)):
        if found_:
            median = statistics.median(ratio for ratio, _ in found_.values())
            how = "; ".join(f"{name}: {what}" for name, (_, what) in found_.items())
            label = f"to_95 {word} over ours, median over sets"
            yield Figure(label, round(median, 2), "x", f">= {goal:g}", median >= goal, len(found_), how)
