"""What is lost by relearning hyperparameters on our own schedule instead of after every measurement."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tests.figures.arena.campaign import Campaign
from tests.figures.arena.compare import Difference, difference
from tests.figures.arena.ours import remembered
from tests.figures.arena.sets import names
from tests.figures.figure import Figure
from tests.figures.quality import MAPPING, SEARCH, Metric, values

EVERY_STEP = {"refit_every": 1, "refit_growth": 0.0}
LIMIT = 100
SEEDS, QUICK_SEEDS, QUICK_SETS = range(10), range(3), ("CuZn", "nanocubes")
METRICS = {
    "maximum": (
        Metric("to_95", True, "maximum"),
        Metric("top@50", False, "maximum"),
        Metric("top@100", False, "maximum"),
    ),
    "map": (Metric("nrmse@50", True, "map"), Metric("nrmse@100", True, "map"), Metric("rho@100", False, "map")),
}


def figures(slow: bool) -> Iterator[Figure]:
    """Yield for each metric on how many sets the schedule is distinguishably worse, and the median gap."""
    sets = names() if slow else [name for name in names() if name in QUICK_SETS]
    seeds = SEEDS if slow else QUICK_SEEDS
    for label, options in (SEARCH[0], MAPPING[0]):
        pairs = [(name, *_both(name, label, options, seeds)) for name in sets]
        for metric in METRICS[label]:
            gaps = {name: _gap(metric, ours, every) for name, ours, every in pairs}
            yield _figure(metric, {name: gap for name, gap in gaps.items() if gap is not None}, len(seeds))
        seconds = [(sum(c.cpu_s or 0.0 for c in every), sum(c.cpu_s or 0.0 for c in ours)) for _, ours, every in pairs]
        ratio = statistics.median(every / ours for every, ours in seconds)
        how = "CPU seconds of all decisions, refits at every step over our schedule; median over sets"
        yield Figure(f"refits_at_every_step_cost {label}", round(ratio, 2), "x", "", None, len(sets), how)


def _both(
    name: str, label: str, options: Mapping[str, Any], seeds: Sequence[int]
) -> tuple[list[Campaign], list[Campaign]]:
    ours = [remembered(name, f"{label}_100", options, seed, LIMIT) for seed in seeds]
    every = [remembered(name, f"{label}_100_every", {**options, **EVERY_STEP}, seed, LIMIT) for seed in seeds]
    return ours, every


def _gap(metric: Metric, ours: Sequence[Campaign], every: Sequence[Campaign]) -> Difference | None:
    cut = LIMIT if metric.name == "to_95" else None
    return difference(values(ours, metric.name, cut), values(every, metric.name, cut), metric.statistic)


def _figure(metric: Metric, gaps: dict[str, Difference], seeds: int) -> Figure:
    def said(name: str) -> str:
        gap = gaps[name]
        return f"{name} {gap.value:.3g} [{gap.low:.3g}, {gap.high:.3g}]"

    worse = [name for name, gap in gaps.items() if gap.worse(lower_is_better=metric.lower_is_better)]
    middle = float(np.median([gap.value for gap in gaps.values()]))
    how = f"ours minus refits at every step: median over sets {middle:.3g}; " + "; ".join(map(said, gaps))
    name = f"schedule_loses {metric.goal} {metric.name}"
    return Figure(name, len(worse), f"of {len(gaps)} sets", "0", not worse, seeds, f"{how}; worse on {worse or 'none'}")
