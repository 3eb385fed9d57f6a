"""Whether the statistics of a benchmark keep what they promise, by simulation where the truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from autoscope.benchmark.audit import audit
from autoscope.benchmark.statistics import holm, paired_difference, signed_rank_p
from autoscope.benchmark.stopping import StoppingPlan, judge
from autoscope.benchmark.trace import Trace, Truth
from tests.figures.figure import Figure

Array = NDArray[np.float64]
ALPHA = 0.05
SEEDS = 20


def figures(slow: bool) -> Iterator[Figure]:
    """Yield false claims, coverage of intervals, seeds saved, and who is caught on shuffled labels."""
    rounds = 4000 if slow else 400
    yield from _false_claims(rounds)
    yield _coverage(rounds)
    yield from _stopping(rounds)
    yield from _caught(rounds // 4)


def _rate(name: str, hits: int, rounds: int, goal: float, how: str, *, most: bool = True) -> Figure:
    """Return a rate with its exact interval; the goal is missed only where the whole interval lies beyond it."""
    interval = stats.binomtest(hits, rounds).proportion_ci(0.95)
    ok = interval.low <= goal if most else interval.high >= goal
    told = f"{how}; 95 % interval [{interval.low:.3f}, {interval.high:.3f}]"
    return Figure(name, round(hits / rounds, 4), "", f"{'<=' if most else '>='} {goal:g}", bool(ok), rounds, told)


DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.gamma(0.5, size=shape),
    "counts with ties": lambda rng, shape: rng.poisson(1.0, shape).astype(float),
    "censored": lambda rng, shape: np.where((x := rng.exponential(size=shape)) > 1.0, np.inf, x),
}


def _false_claims(rounds: int) -> Iterator[Figure]:
    for kind, draw in DRAWS.items():
        rng, hits = np.random.default_rng(1), 0
        for _ in range(rounds):
            table = draw(rng, (5, SEEDS)) if kind == "censored" else draw(rng, (5, SEEDS)) + rng.normal()
            p = [signed_rank_p(table[i], table[j]) for i, j in itertools.combinations(range(5), 2)]
            hits += bool((holm(p) < ALPHA).any())
        how = f"any of 10 pairs of 5 equal policies told apart, {SEEDS} seeds, values {kind}"
        yield _rate(f"false claims, {kind}", hits, rounds, ALPHA, how)


def _coverage(rounds: int) -> Figure:
    rng, hits = np.random.default_rng(2), 0
    for k in range(rounds // 4):
        a, b = rng.gamma(2.0, size=(2, SEEDS))
        found = paired_difference(dict(enumerate(a)), dict(enumerate(b)), seed=k)
        hits += found is not None and found.low <= 0.0 <= found.high
    how = f"95 % paired BCa interval holds the true difference of skewed values, {SEEDS} seeds; narrow at few seeds"
    return _rate("coverage of the paired interval", hits, rounds // 4, 0.92, how, most=False)


def _stopping(rounds: int) -> Iterator[Figure]:
    plan = StoppingPlan(tuple(range(8, 41, 4)))
    rng, hits, careless = np.random.default_rng(3), 0, 0
    for _ in range(rounds // 2):
        values = {name: dict(enumerate(rng.normal(size=40))) for name in "abc"}
        hits += bool(judge(values, plan).higher)
        looks = ({p: dict(list(v.items())[:n]) for p, v in values.items()} for n in plan.looks)
        careless += any(_any_apart(look) for look in looks)
    share = careless / (rounds // 2)
    how = f"3 equal policies, looked at after 8, 12, ..., 40 seeds; the same looks without a plan claim {share:.3f}"
    yield _rate("false claims of the sequential stop", hits, rounds // 2, ALPHA, how)
    used = [_seeds_used(np.random.default_rng(10_000 + k), plan) for k in range(rounds // 4)]
    median, late = float(np.median(used)), float(np.quantile(used, 0.9))
    how = f"two policies 1.5 standard deviations of their paired differences apart, at most 40 seeds; p90 {late:g}"
    yield Figure("seeds until decided, median", median, "seeds", "< 40", median < 40, len(used), how)


def _any_apart(values: Mapping[str, Mapping[int, float]]) -> bool:
    tables = {policy: np.array(list(known.values())) for policy, known in values.items()}
    p = [signed_rank_p(tables[a], tables[b]) for a, b in itertools.combinations(tables, 2)]
    return bool((holm(p) < ALPHA).any())


def _seeds_used(rng: np.random.Generator, plan: StoppingPlan) -> int:
    gaps = rng.normal(1.5, 1.0, 40)
    told = judge({"a": dict(enumerate(gaps)), "b": dict.fromkeys(range(40), 0.0)}, plan)
    return next(iter(told.higher.values()), plan.looks[-1])


def _caught(rounds: int) -> Iterator[Figure]:
    """Yield how often a policy that peeks now and then is caught, and how often an honest one is accused."""
    for every, goal in ((0, None), (20, None), (10, 0.9), (5, 0.99)):
        hits = sum(audit([_peek(every, 1000 * k + s) for s in range(SEEDS)])[0].caught for k in range(rounds))
        who = f"one of {every} choices is a best place read from the truth" if every else "nobody peeks"
        how = f"{SEEDS} seeds, 100 of 2500 places, {who}"
        name = f"caught on shuffled labels, {f'peeks at 1 of {every}' if every else 'honest'}"
        if every == 0:
            yield _rate(name, hits, rounds, 0.01, how)
        elif goal is not None:
            yield _rate(name, hits, rounds, goal, how, most=False)
        else:
            yield Figure(name, round(hits / rounds, 4), "", "", None, rounds, how)


def _peek(every: int, seed: int) -> tuple[str, str, Trace, Truth]:
    rng = np.random.default_rng(seed)
    truth = Truth("map [shuffled_labels]", rng.gamma(2.0, size=2500), np.zeros((2500, 2)), (50, 50))
    order = rng.permutation(2500)[:100]
    if every:
        best = rng.permutation(np.argsort(-truth.values)[:125])[: len(order[::every])]
        order[::every] = best
    one = np.ones(100)
    return "policy", truth.name, Trace(order, one, one, one, one, one, one, one, one), truth
