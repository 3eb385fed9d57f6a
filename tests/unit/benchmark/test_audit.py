"""Negative controls: chance is not accused, knowledge of the truth is."""

import numpy as np
import pytest
from scipy import stats

from autoscope.benchmark.audit import audit
from autoscope.benchmark.trace import Trace, Truth


def campaign(policy, order, seed, n=40):
    rng = np.random.default_rng(seed)
    truth = Truth("hill [shuffled_labels]", rng.permutation(400.0 + np.arange(400)), np.zeros((400, 2)), (20, 20))
    chosen, one = order(truth.values, rng)[:n], np.ones(n)
    return policy, truth.name, Trace(chosen, one, one, one, one, one, one, one, one), truth


def chance(values, rng):
    return rng.permutation(values.size)


def peeking(values, rng):
    """Measure one of the better places, now and then only."""
    order = rng.permutation(values.size)
    order[::8] = np.argsort(-values)[: len(order[::8])]
    return np.array(list(dict.fromkeys(order.tolist())))


def test_a_policy_that_peeks_now_and_then_is_caught_and_chance_is_not():
    found = audit(
        [campaign("chance", chance, s) for s in range(10)] + [campaign("peek", peeking, s) for s in range(10)]
    )
    assert [(one.policy, one.caught) for one in found] == [("peek", True), ("chance", False)]
    assert found[0].found > found[0].expected == pytest.approx(10 * 40 * 20 / 400)


def test_the_tail_of_one_campaign_is_that_of_the_hypergeometric_distribution():
    policy, name, trace, truth = campaign("chance", chance, 3)
    (one,) = audit([(policy, name, trace, truth)])
    hits = int((truth.values[trace.chosen] >= np.sort(truth.values)[-20]).sum())
    assert one.found == hits
    assert one.p == pytest.approx(stats.hypergeom.sf(hits - 1, 400, 20, 40))


def test_chance_is_accused_as_rarely_as_promised():
    accused = sum(audit([campaign("chance", chance, 1000 * k + s) for s in range(4)])[0].caught for k in range(100))
    assert stats.binomtest(accused, 100, 0.01, alternative="greater").pvalue > 0.01


def test_where_every_place_is_as_good_nobody_is_accused():
    flat = Truth("flat", np.ones(50), np.zeros((50, 2)), (5, 10))
    one = np.ones(10)
    trace = Trace(np.arange(10), one, one, one, one, one, one, one, one)
    assert audit([("any", "flat", trace, flat)])[0].p == 1.0
    assert audit([]) == []
