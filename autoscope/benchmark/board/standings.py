"""Numbers of a leaderboard: means with intervals, places, and ties where nothing can be told apart."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoscope.benchmark.board.results import Results, Run
from autoscope.benchmark.config import SeedsConfig
from autoscope.benchmark.ranking import Place, Ranking, performance_profile, places, rank
from autoscope.benchmark.statistics import ALPHA, Comparison, Interval, compare, mean_interval
from autoscope.benchmark.stopping import StoppingPlan, judge
from autoscope.benchmark.trace import Array, Metric

BySeed = dict[str, dict[int, float]]
"""Policy -> repetition -> value."""
ORDER = (
    "best_so_far",
    "top",
    "measurements_to",
    "time_to",
    "dose_to",
    "simple_regret",
    "inference_regret",
    "map_nrmse",
    "map_rmse",
    "map_rank",
    "map_crps",
    "map_calibration",
    "map_coverage",
    "map_sharpness",
    "target_coverage",
)
"""Beginnings of metrics' names in the order in which they are shown; others follow."""
EFFORT = ("travel", "instrument_time", "dose", "latency", "peak_memory")
"""Metrics of cost, by how their names begin: they are told, and policies are not ranked by them."""


@dataclass(frozen=True)
class Entry:
    """One policy in one metric of one comparison.

    Attributes
    ----------
    interval : Interval or None
        Mean over seeds with its 95 % interval; None where it has no value.
    missed : int
        Seeds in which the level was never reached; they enter the mean with all that was spent.
    place : Place or None
        None where it cannot be compared, for example with too few seeds.
    """

    policy: str
    interval: Interval | None
    missed: int
    place: Place | None


@dataclass(frozen=True)
class Standing:
    """All policies in one metric of one comparison.

    Attributes
    ----------
    seeds : int
        Most seeds that any two policies share.
    """

    label: str
    metric: Metric
    entries: tuple[Entry, ...]
    comparisons: tuple[Comparison, ...]
    seeds: int

    @property
    def enough(self) -> bool:
        """Whether any difference at all could be told with so many seeds."""
        return any(one.tested for one in self.comparisons)

    def entry(self, policy: str) -> Entry | None:
        """Return the entry of a policy."""
        return next((entry for entry in self.entries if entry.policy == policy), None)


@functools.lru_cache(maxsize=64)
def standings(results: Results, environment: str, budget: str) -> tuple[Standing, ...]:
    """Return every metric of one comparison: success before cost, and what is asked first before the rest."""
    runs = [run for run in results.of(environment, budget) if not run.failed]
    seeds = results.config.seeds
    found = (
        standing(label, metric, runs, plan_of(seeds) if label == seeds.metric else None)
        for label, metric in results.metrics.items()
    )
    return tuple(sorted((each for each in found if each is not None), key=_shown_at))


def _shown_at(standing: Standing) -> tuple[bool, int]:
    name = standing.metric.name
    at = next((k for k, beginning in enumerate(ORDER) if name.startswith(beginning)), len(ORDER))
    return is_effort(standing.label, standing.metric), at


def best_first(found: Sequence[Standing], policies: Sequence[str]) -> list[str]:
    """Return policies by their mean in the first metric shown, the best first; those without one last, as given."""
    if not found:
        return list(policies)
    sign = -1.0 if found[0].metric.better == "higher" else 1.0
    entries = {policy: found[0].entry(policy) for policy in policies}
    mean = {policy: e.interval.value for policy, e in entries.items() if e is not None and e.interval is not None}
    return sorted(policies, key=lambda policy: sign * mean[policy] if policy in mean else math.inf)


def standing(label: str, metric: Metric, runs: Sequence[Run], plan: StoppingPlan | None = None) -> Standing | None:
    """Return one metric of one comparison; None where no campaign has it.

    Parameters
    ----------
    plan : StoppingPlan, optional
        Where the seeds were stopped by this metric: claims are then those of the plan, as a test that does not know of
        it would make too many.
    """
    bounded, ranked = by_seed(runs, label, bounded=True), by_seed(runs, label, bounded=False)
    if not bounded:
        return None
    compared = compare(bounded, ranked=ranked) if is_ranked(metric) else []
    if plan is not None:
        compared = _by_plan(compared, ranked, plan)
    tested = [one for one in compared if one.tested]
    known = {policy for one in tested for policy in (one.a, one.b)}
    standing_of = {place.policy: place for place in places(tested, list(bounded), metric.better)}
    entries = tuple(
        Entry(
            policy=policy,
            interval=mean_interval(list(values.values())),
            missed=sum(math.isinf(v) for v in ranked[policy].values()),
            place=standing_of[policy] if policy in known else None,
        )
        for policy, values in bounded.items()
    )
    seeds = max((c.difference.n for c in compared), default=0)
    return Standing(label, metric, entries, tuple(compared), seeds)


def by_seed(runs: Sequence[Run], label: str, *, bounded: bool) -> BySeed:
    """Return the values of a metric; campaigns without one are left out, and what is not finite where ``bounded``."""
    found: BySeed = {}
    for run in runs:
        value = (run.bounded if bounded else run.values)[label]
        if value is not None and not math.isnan(value) and (math.isfinite(value) or not bounded):
            found.setdefault(run.policy, {})[run.repetition] = value
    return found


def plan_of(seeds: SeedsConfig) -> StoppingPlan | None:
    """Return how seeds were to be stopped, or None where all of them were wanted.

    Examples
    --------
    >>> plan_of(SeedsConfig(count=20, at_least=10, batch=4, stop="decided")).looks
    (10, 14, 18, 20)
    """
    if seeds.stop != "decided":
        return None
    looks = [*range(min(seeds.at_least, seeds.count), seeds.count, seeds.batch), seeds.count]
    return StoppingPlan(tuple(looks), alpha=ALPHA, margin=seeds.margin)


def _by_plan(compared: Sequence[Comparison], ranked: BySeed, plan: StoppingPlan) -> list[Comparison]:
    told = judge(ranked, plan).higher
    return [replace(one, distinguishable=(one.a, one.b) in told or (one.b, one.a) in told) for one in compared]


def is_ranked(metric: Metric) -> bool:
    """Return whether policies are compared by a metric; some only tell something, such as the coverage of intervals."""
    return bool(getattr(metric, "ranked", True))


def is_effort(label: str, metric: Metric) -> bool:
    """Return whether a metric tells cost rather than success."""
    return metric.name.startswith(EFFORT) or label in EFFORT


def overall(results: Results, label: str) -> Ranking | None:
    """Return the ranking over all comparisons, a block for each seed of each; None where policies share none.

    Policies with less than half the blocks of the others are left out, or there would be few blocks that all share.
    """
    table = _shared(results, label)
    return rank(table, results.metrics[label].better) if len(table) > 1 else None


def profile(results: Results, label: str) -> tuple[Array, dict[str, Array]] | None:
    """Return the performance profile of a metric that counts what was spent; None where policies share no problem."""
    table = _shared(results, label) if hasattr(results.metrics[label], "horizon") else {}
    return performance_profile(table) if table else None


def _shared(results: Results, label: str) -> dict[str, list[float]]:
    """Return policy -> values over the blocks in which all of them stand; empty where there is none."""
    blocks = list(_blocks(results, label).values())
    stood = Counter(policy for block in blocks for policy in block)
    kept = [policy for policy in results.policies if 2 * stood[policy] >= max(stood.values(), default=0) > 0]
    rows = [block for block in blocks if all(policy in block for policy in kept)]
    return {policy: [row[policy] for row in rows] for policy in kept} if rows else {}


def _blocks(results: Results, label: str) -> dict[tuple[str, str, int], dict[str, float]]:
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for run in results.runs:
        value = run.values[label]
        if not run.control and not run.failed and value is not None and not math.isnan(value):
            found.setdefault((run.environment, run.budget, run.repetition), {})[run.policy] = value
    return found
